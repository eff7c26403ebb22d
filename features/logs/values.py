"""Values of files that give no types, as Arrow: what becomes of one row never depends on its neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.columns import list_array
from features.logs.quarantine import RawBatch, Reject
from features.spec import Column

_NEAR_ROWS = 500


class Fault(NamedTuple):
    """Why a row is refused."""

    reason: str
    column: str = ""
    value: str = ""


def by_column(objects: Iterable[Mapping[str, Any] | None], columns: Iterable[str]) -> dict[str, list[Any]]:
    """The values of objects by key, None where an object, or its key, is not there.

    Objects that are made one by one are taken apart some hundred at a time, while they are in the processor's cache.
    """
    rest, found = iter(objects), {column: list[Any]() for column in columns}
    while near := [{} if of_row is None else of_row for of_row in itertools.islice(rest, _NEAR_ROWS)]:
        for column, values in found.items():
            values.extend([of_row.get(column) for of_row in near])
    return found


def column_of(values: Sequence[Any], column: Column) -> tuple[pa.Array, NDArray[Any]]:
    """One column, in whatever type `features.logs.casting` reads without loss, and the rows that have no such value.

    Numbers stay numbers where all of them are of the column's kind; else all are texts, and so are booleans: ``1`` and ``0``. Texts
    take integers, but no float: an id of more than 64 bits would be read as one, and ids that differ would become one.
    A text in a column of lists is split at ``column.separator``, a null in a list is left out later.

    Args:
        values: None, bool, int, float, str, bytes, list or dict for each row.
        column: what the spec says of it.

    Returns:
        The array, null where there is no value, and bool (rows,): lists and objects where the column holds single values, objects
        and single numbers where it holds lists, floats where it holds texts.
    """
    refused = (list, dict, float) if column.element_type == "string" else (list, dict)
    if not column.is_list:
        if set(refused).isdisjoint(map(type, values)):  # half of the time of asking each whether it is one
            return _scalars(values, column.element_type), np.zeros(len(values), dtype=bool)
        misfits = _where(values, refused)
        return _scalars(_without(values, misfits), column.element_type), misfits
    lists: Sequence[Any] = [
        _split(value, column.separator) if isinstance(value, str | bytes) else value for value in values
    ]
    misfits = ~_where(lists, (list, type(None)))
    lists = _without(lists, misfits)
    lengths = np.fromiter((len(value or ()) for value in lists), np.int64, len(lists))
    elements: Sequence[Any] = [element for value in lists if value for element in value]
    if (bad := _where(elements, refused)).any():
        misfits[np.repeat(np.arange(len(lists)), lengths)[bad]] = True
        elements = _without(elements, bad)
    missing = np.fromiter((value is None for value in lists), bool, len(lists))
    return list_array(_scalars(elements, column.element_type), lengths, missing), misfits


def batch_of(
    name: str,
    arrays: Mapping[str, pa.Array],
    faults: Mapping[int, Fault],
    places: tuple[int, NDArray[Any]],
    raw: Callable[[int], str],
) -> RawBatch:
    """The rows without a fault, and a dead letter for each of the others.

    Args:
        name: the file's name in dead letters.
        arrays: the columns of all rows.
        faults: by row, from 0.
        places: the first row's number in the file, and int64 (rows,), the physical line of each row, -1 where there are none.
        raw: gives the text of a row, from 0.
    """
    first_row, lines = places
    good = np.setdiff1d(np.arange(len(lines)), np.fromiter(faults, dtype=np.int64, count=len(faults)))
    rejects = [
        Reject(name, first_row + row, int(lines[row]), fault.column, fault.reason, fault.value, raw(row))
        for row, fault in sorted(faults.items())
    ]
    kept = {column: array.take(pa.array(good)) if faults else array for column, array in arrays.items()}
    return RawBatch(name, kept, good + first_row, lines[good], lambda i: raw(int(good[i])), rejects)


def _scalars(values: Sequence[Any], kind: str) -> pa.Array:
    kinds = set(map(type, values)) - {type(None)}
    if kind == "int64" and kinds == {int}:
        try:
            return pa.array(values, pa.int64())
        except (OverflowError, pa.ArrowInvalid):
            pass  # one is too large: as text it is refused alone
    if kind == "float32" and kinds <= {float}:
        return pa.array(values, pa.float64())
    if kind == "float32" and kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kind == "string" and kinds <= {str}:
        return pa.array(values, pa.string())
    if kind == "float32":  # as a dead letter shows it that has numbers alone beside it
        values = [float(value) if type(value) is int else value for value in values]
    return pa.array([_text(value) for value in values], pa.binary())


def _text(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return (str(int(value)) if isinstance(value, bool) else str(value)).encode()


def _split(value: str | bytes, separator: str) -> list[Any] | None:
    """As a text of a CSV is split: blanks around an element do not belong to it, and no text is no list."""
    parts = value.split(separator) if isinstance(value, str) else value.split(separator.encode())
    return [part.strip() for part in parts] if value else None


def _where(values: Sequence[Any], kinds: tuple[type, ...]) -> NDArray[Any]:
    return np.fromiter((isinstance(value, kinds) for value in values), bool, len(values))


def _without(values: Sequence[Any], misfits: NDArray[Any]) -> Sequence[Any]:
    return [None if bad else value for value, bad in zip(values, misfits, strict=True)] if misfits.any() else values
