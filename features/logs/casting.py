"""Columns as the spec types them, a batch at a time; what does not fit is named, never guessed.

Fast path: one Arrow cast a column. Only a column in which some value does not fit is looked at more closely.
"""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.columns import arrow_type, list_array
from features.errors import DataError
from features.logs.quarantine import Faults, RawBatch
from features.spec import Column, Source

INT64_MIN = -(2**63)
"""Stands for a missing int64 in the served model's inputs, so it is no value."""
_DATE_UNITS = ("yyyymmdd", "iso8601")
_TIMESTAMP_UNITS = ("s", "ms", "us", "iso8601")
_INTEGER = r"^[+-]?[0-9]+(\.0*)?$"
_FLOAT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_EXACT = float(2**53)


@dataclass
class _Cast:
    """Typed values, null where missing or bad, and which are bad for what reason."""

    values: pa.Array
    faults: list[tuple[str, NDArray[Any]]] = field(default_factory=list)


def cast_column(
    name: str, column: Column, values: pa.Array, source: Source, faults: Faults, time_unit: str | None = None
) -> pa.Array:
    """Types one column and marks the rows whose value does not fit.

    Args:
        name: the column's name.
        column: its declaration.
        values: binary as written in CSV, or the native column of a typed file.
        source: which texts mean *missing*, whether blanks around values count.
        faults: gets ``bad_utf8``, ``bad_number``, ``out_of_bounds``, ``oversized_field`` and ``missing_value``.
        time_unit: of the column that is the dataset's time; Arrow dates and timestamps are read as it says.

    Returns:
        an array of the spec's type; null where the value is missing (or bad). An empty text is always missing.

    Raises:
        DataError: if values of this type can never become the spec's type or time unit; names the file.
    """
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        return _typed(name, column, values, source, faults, time_unit)
    except DataError as error:
        raise DataError(f"{faults.file}: {error}") from error


def check_type(file: str, name: str, column: Column, found: pa.DataType) -> None:
    """Whether a column of a file can become what the spec says; of times, whose unit it does not know, it says nothing.

    Raises:
        DataError: as of :func:`cast_column`.
    """
    if not (pa.types.is_date(found) or pa.types.is_timestamp(found) or isinstance(found, pa.BaseExtensionType)):
        nothing = np.zeros(0, dtype=np.int64)
        empty = pa.nulls(0, found)
        cast_column(name, column, empty, Source(files=file), Faults(RawBatch(file, {}, nothing, nothing, lambda _: "")))


def _typed(
    name: str, column: Column, values: pa.Array, source: Source, faults: Faults, time_unit: str | None
) -> pa.Array:
    _mark_oversized(name, values, source, faults)
    if not column.is_list:
        cast = _cast_values(name, column, _in_unit(name, values, time_unit), source)
        typed = cast.values
        for reason, bad in cast.faults:
            faults.mark(bad, reason, name, values)
    else:
        typed = _cast_list(name, column, values, source, faults)
    if column.required and typed.null_count:
        faults.mark(_mask(pc.is_null(typed)), "missing_value", name, values)
    return typed


def _mask(values: pa.Array) -> NDArray[Any]:
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), dtype=bool)


def _null_where(values: pa.Array, bad: NDArray[Any]) -> pa.Array:
    return pc.if_else(pa.array(bad), pa.scalar(None, values.type), values)


def is_text(kind: pa.DataType) -> bool:
    """Whether values are texts, as UTF-8 or as bytes."""
    return any(
        is_kind(kind)
        for is_kind in (pa.types.is_binary, pa.types.is_string, pa.types.is_large_binary, pa.types.is_large_string)
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _mark_oversized(name: str, values: pa.Array, source: Source, faults: Faults) -> None:
    """CSV lines were measured before parsing; this is for texts in other formats."""
    if is_text(values.type) and values.nbytes > source.max_field_bytes:
        faults.mark(
            _mask(pc.greater(pc.binary_length(values), source.max_field_bytes)), "oversized_field", name, values
        )


def _in_unit(name: str, values: pa.Array, unit: str | None) -> pa.Array:
    """Dates and timestamps as the spec's time unit writes them; all else as it is."""
    is_date, is_timestamp = pa.types.is_date(values.type), pa.types.is_timestamp(values.type)
    if unit is None or not (is_date or is_timestamp):
        return values
    allowed = _DATE_UNITS if is_date else _TIMESTAMP_UNITS
    if unit not in allowed:
        raise DataError(
            f"time column '{name}' is {values.type} in the file, which is not read by unit {unit}; "
            f"allowed: {', '.join(allowed)}"
        )
    if unit == "yyyymmdd":
        return pc.add(pc.add(pc.multiply(pc.year(values), 10_000), pc.multiply(pc.month(values), 100)), pc.day(values))
    if unit == "iso8601":
        # Without its zone a timestamp is in UTC, as a text without one.
        return values.cast(pa.date32() if is_date else pa.timestamp("us"), safe=False).cast(pa.string())
    return values.cast(pa.timestamp(unit, values.type.tz), safe=False).cast(pa.int64())


# -- lists ------------------------------------------------------------------------------------------------------


def _cast_list(name: str, column: Column, values: pa.Array, source: Source, faults: Faults) -> pa.Array:
    """Lists, element by element; missing elements are left out, a missing or empty text is a null list."""
    lists = values
    if is_text(values.type):
        cast = _to_text(values, source)
        for reason, bad in cast.faults:
            faults.mark(bad, reason, name, values)
        lists = pc.split_pattern(cast.values, column.separator)
    elif pa.types.is_null(values.type):
        return pa.nulls(len(values), arrow_type(column.type))
    elif not _is_list(values.type):
        raise DataError(f"column '{name}' is {values.type} in the file; {column.type} is read from a list or from text")
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    rows = np.repeat(np.arange(len(lists)), lengths)
    elements = pc.list_flatten(lists)
    if pa.types.is_dictionary(elements.type):
        elements = elements.dictionary_decode()
    if is_text(values.type):
        elements = pc.ascii_trim_whitespace(elements)
    cast = _cast_values(
        name, Column(type=column.element_type, minimum=column.minimum, maximum=column.maximum), elements, source
    )
    for reason, bad in cast.faults:
        of_rows = np.zeros(len(lists), dtype=bool)
        of_rows[rows[bad]] = True
        faults.mark(of_rows, reason, name, values)
    kept = np.bincount(rows[_mask(pc.is_valid(cast.values))], minlength=len(lists))
    return list_array(pc.drop_null(cast.values), kept, _mask(pc.is_null(lists)))


# -- scalars ----------------------------------------------------------------------------------------------------


def _cast_values(name: str, column: Column, values: pa.Array, source: Source) -> _Cast:
    if pa.types.is_null(values.type):
        return _Cast(pa.nulls(len(values), arrow_type(column.type)))
    if column.type == "string":
        if pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
            values = values.cast(pa.string())
        elif not is_text(values.type):
            raise _impossible(name, column, values.type, "text or integers")
        return _to_text(values, source)
    if column.type == "int64" and (whole := _plain_integers(values, source)) is not None:
        numbers = _Cast(whole)
    elif is_text(values.type):
        text = _to_text(values, source)
        numbers = _text_to_int(text.values) if column.type == "int64" else _text_to_double(text.values)
        numbers.faults = text.faults + numbers.faults
    else:
        numbers = _number_to_int(name, column, values) if column.type == "int64" else _to_double(name, column, values)
    _check_bounds(column, numbers)
    if column.type == "float32":
        numbers.values = numbers.values.cast(pa.float32(), safe=False)
    return numbers


def _impossible(name: str, column: Column, found: pa.DataType, allowed: str) -> DataError:
    return DataError(f"column '{name}' is {found} in the file; {column.type} is read from {allowed}")


def _to_text(values: pa.Array, source: Source) -> _Cast:
    """UTF-8 text without the texts that mean *missing*."""
    cast = _Cast(values)
    if not (pa.types.is_binary(values.type)):
        values = values.cast(pa.binary())
    try:
        text = values.cast(pa.string())
    except pa.ArrowInvalid:
        bad = _not_utf8(values)
        cast.faults.append(("bad_utf8", bad))
        text = _null_where(values, bad).cast(pa.string())
    if source.strip_spaces:
        text = pc.ascii_trim_whitespace(text)
    cast.values = text
    missing = sorted({"", *source.null_values})
    if _shortest(text) <= max(len(value.encode()) for value in missing):
        nulls = pc.is_in(text, value_set=pa.array(missing))
        cast.values = pc.if_else(nulls, pa.scalar(None, pa.string()), text) if pc.any(nulls).as_py() else text
    return cast


def _shortest(text: pa.Array) -> int:
    """Bytes of the shortest text, 0 where there is none."""
    return pc.min(pc.binary_length(text)).as_py() or 0


def _not_utf8(values: pa.Array) -> NDArray[Any]:
    """Which values are no UTF-8: looks one by one at those that are not plain ASCII."""
    bad = np.zeros(len(values), dtype=bool)
    ascii_only = _mask(pc.string_is_ascii(_as_unchecked_string(values)))
    for index in np.flatnonzero(~ascii_only).tolist():
        value = values[index].as_py()
        try:
            _ = value is None or value.decode("utf-8")
        except UnicodeDecodeError:
            bad[index] = True
    return bad


def _as_unchecked_string(values: pa.Array) -> pa.Array:
    return pa.Array.from_buffers(pa.string(), len(values), values.buffers(), values.null_count, values.offset)


def _plain_integers(values: pa.Array, source: Source) -> pa.Array | None:
    """What :func:`_text_to_int` gives for texts that are decimal integers all; None if one is not, or may be a null value."""
    if not pa.types.is_binary(values.type) or any(map(str.isdigit, "".join(source.null_values))):
        return None
    if _may_be_hexadecimal(values):
        return None
    try:
        numbers = _as_unchecked_string(values).cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return None if pc.min(numbers).as_py() == INT64_MIN else numbers


def _may_be_hexadecimal(text: pa.Array) -> bool:
    """Arrow's own cast reads hexadecimal, which no log means."""
    data = text.buffers()[2]
    written = b"" if data is None else data.to_pybytes()
    return b"x" in written or b"X" in written


def _text_to_int(text: pa.Array) -> _Cast:
    """Decimal integers; ``12.0`` is one, too. ``1.5``, ``0x10``, ``1e3`` and what overflows int64 are bad numbers."""
    if not _may_be_hexadecimal(text):
        try:
            return _without_minimum(text.cast(pa.int64()))
        except pa.ArrowInvalid:
            pass  # some value needs the closer look below
    shaped = pc.match_substring_regex(text, _INTEGER)
    digits = pc.replace_substring_regex(pc.if_else(shaped, text, None), r"^\+|\.0*$", "")
    ok = _mask(shaped)
    for index in np.flatnonzero(_mask(pc.greater(pc.binary_length(digits), 18))).tolist():
        ok[index] = (
            len(digits[index].as_py().lstrip("-0")) <= 19 and INT64_MIN < int(digits[index].as_py()) < -INT64_MIN
        )
    bad = ~ok & _mask(pc.is_valid(text))
    return _Cast(_null_where(digits, ~ok).cast(pa.int64()), [("bad_number", bad)])


def _without_minimum(numbers: pa.Array) -> _Cast:
    if pc.min(numbers).as_py() != INT64_MIN:
        return _Cast(numbers)
    bad = _mask(pc.equal(numbers, INT64_MIN))
    return _Cast(_null_where(numbers, bad), [("bad_number", bad)])


def _text_to_double(text: pa.Array) -> _Cast:
    """Finite decimal numbers that fit into float32; ``nan`` and ``inf`` are bad unless they are null values."""
    try:
        return _finite(text.cast(pa.float64()), missing_nan=False)
    except pa.ArrowInvalid:
        ok = _mask(pc.match_substring_regex(text, _FLOAT))
    bad = ~ok & _mask(pc.is_valid(text))
    numbers = pc.replace_substring_regex(_null_where(text, ~ok), r"^\+", "").cast(pa.float64())
    cast = _finite(numbers, missing_nan=False)
    cast.faults.insert(0, ("bad_number", bad))
    return cast


def _finite(numbers: pa.Array, missing_nan: bool) -> _Cast:
    """NaN is a missing value among numbers, and no number in a text."""
    plain = numbers.to_numpy(zero_copy_only=False)
    nan = np.isnan(plain) & _mask(pc.is_valid(numbers))
    with np.errstate(invalid="ignore"):
        bad = np.abs(plain) > _FLOAT32_MAX
    if not missing_nan:
        bad |= nan
    if not bad.any() and not nan.any():
        return _Cast(numbers)
    return _Cast(_null_where(numbers, bad | nan), [("bad_number", bad)])


def _to_double(name: str, column: Column, values: pa.Array) -> _Cast:
    kind = values.type
    if not (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        raise _impossible(name, column, kind, "numbers or text")
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    return _finite(values.cast(pa.float64(), safe=False), missing_nan=True)


def _number_to_int(name: str, column: Column, values: pa.Array) -> _Cast:
    kind = values.type
    if pa.types.is_boolean(kind):
        return _Cast(values.cast(pa.int8()).cast(pa.int64()))
    if pa.types.is_uint64(kind):
        bad = _mask(pc.greater(values, pa.scalar(2**63 - 1, pa.uint64())))
        return _Cast(_null_where(values, bad).cast(pa.int64()), [("bad_number", bad)])
    if pa.types.is_integer(kind):
        return _without_minimum(values.cast(pa.int64()))
    if pa.types.is_decimal(kind):
        return _decimal_to_int(values)
    doubles = _to_double(name, column, values)
    plain = np.nan_to_num(doubles.values.to_numpy(zero_copy_only=False))
    bad = (plain != np.floor(plain)) | (np.abs(plain) > _EXACT)
    whole = np.where(bad, 0, plain).astype(np.int64)
    missing = _mask(pc.is_null(doubles.values))
    return _Cast(pa.array(whole, mask=missing | bad), [*doubles.faults, ("bad_number", bad & ~missing)])


def _decimal_to_int(values: pa.Array) -> _Cast:
    """Exact beyond 2**53, too."""
    whole = pc.trunc(values)
    limit = pa.scalar(decimal.Decimal(-INT64_MIN), pa.decimal256(76, 0))
    wide = whole.cast(pa.decimal256(76, 0))
    beyond = pc.or_(pc.greater_equal(wide, limit), pc.less_equal(wide, pc.negate(limit)))
    bad = _mask(pc.or_(beyond, pc.not_equal(values, whole)))
    return _Cast(_null_where(wide, bad).cast(pa.int64()), [("bad_number", bad)])


def _check_bounds(column: Column, cast: _Cast) -> None:
    """Bounds are checked before a float32 is rounded; int64 bounds compare as they are."""
    values = cast.values
    compared = []
    if column.minimum is not None:
        compared.append((pc.less, pc.min, _bound(column.minimum, values.type)))
    if column.maximum is not None:
        compared.append((pc.greater, pc.max, _bound(column.maximum, values.type)))
    beyond = [(test, bound) for test, extreme, bound in compared if test(extreme(values), bound).as_py()]
    if beyond:
        outside = np.any([_mask(test(values, bound)) for test, bound in beyond], axis=0)
        cast.faults.append(("out_of_bounds", outside))


def _bound(bound: float, kind: pa.DataType) -> pa.Scalar:
    return (
        pa.scalar(int(bound), kind)
        if bound == int(bound) and abs(bound) < _EXACT * 2
        else pa.scalar(float(bound), pa.float64())
    )


def numbers_in(texts: pa.Array, kind: Literal["int64", "float32"]) -> tuple[pa.Array, NDArray[Any]]:
    """Texts as numbers, by the rules of a column that is written as text.

    Args:
        texts: string (n,) without nulls.
        kind: int64 gives int64; float32 gives float64 of a number that fits into float32.

    Returns:
        the numbers, null where a text is none; bool (n,) where that is.
    """
    cast = _text_to_int(texts) if kind == "int64" else _text_to_double(texts)
    return cast.values, _mask(pc.is_null(cast.values))


def tokens(values: Sequence[str] | Sequence[int], kind: pa.DataType) -> pa.Array:
    """Values named in a spec as an array of a column's type.

    Raises:
        DataError: if they are not of that type.
    """
    try:
        return (
            pa.array([str(v) for v in values]).cast(kind)
            if not pa.types.is_string(kind)
            else pa.array([str(v) for v in values])
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"values {list(values)} are compared with a column of type {kind}: {error}") from error
