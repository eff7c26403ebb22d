"""The columns of an example, plain (one value a row) and as lists (what TFX reads), and the way between.

Plain: int64, float32, UTF-8 string or a list of these; a missing value is null. Lists: every column is
``list<int64|float|binary>``; a scalar has one element, a missing value is a null list. The Parquet files of
`Examples` hold lists, since ``tfx_bsl``'s ParquetTFXIO and TFDV read nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import DataError
from features.spec import (
    DAY,
    ROW_ID,
    ROW_WEIGHT,
    Bucketized,
    Categorical,
    Dataset,
    Numeric,
    label_column,
    mask_column,
    weight_column,
)


def arrow_type(name: str) -> pa.DataType:
    """Plain Arrow type of a spec type: ``list<int64>`` is a list of int64; strings are UTF-8."""
    if name.startswith("list<"):
        return pa.list_(arrow_type(name.removeprefix("list<").removesuffix(">")))
    return {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}[name]


def list_array(values: pa.Array, lengths: NDArray[Any], missing: NDArray[Any] | None = None) -> pa.Array:
    """Lists of the given lengths over consecutive values.

    Args:
        values: all elements, row after row.
        lengths: int (n,), elements of each row.
        missing: bool (n,), rows that are null instead of empty.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    if missing is None or not missing.any():
        return pa.ListArray.from_arrays(pa.array(offsets), values)
    return pa.ListArray.from_arrays(pa.array(offsets, mask=np.append(missing, False)), values)


def one_chunk(values: pa.ChunkedArray) -> pa.Array:
    """A column as one array; copies nothing if it is one already."""
    if values.num_chunks == 1:
        return values.chunk(0)
    return pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)


def kept_columns(dataset: Dataset) -> tuple[str, ...]:
    """Columns of the log, its tables and derivations that an example keeps, in the spec's order.

    All but outcomes, labels, masks, sample weights and what is derived from them; those too if the spec uses them as group, item,
    position or time. And but personal columns that are dropped, and those that are not `kept`.
    """
    used = {dataset.group, dataset.item, dataset.position, *dataset.feature_columns()}
    used.add(dataset.time.column if dataset.time else None)
    columns = dataset.all_columns()
    answers = {name for name, column in columns.items() if column.outcome}
    dropped = {name for name, column in columns.items() if column.personal == "drop" or not column.kept}
    for task in dataset.tasks.values():
        answers.update(name for name in (task.label, task.mask, task.sample_weight) if name is not None)
    for derived in dataset.derived:
        if answers.intersection(derived.inputs):
            answers.update(derived.outputs)
    return tuple(name for name in columns if name in used or name not in answers | dropped)


def drift_columns(dataset: Dataset) -> dict[str, str]:
    """Columns whose distribution should stay: name to ``categorical`` or ``numeric``.

    Ids, bags and sequences are left out: new users, items and histories are the nature of a feed. So is the time itself.
    """
    kinds: dict[str, str] = {}
    for name, feature in dataset.features.items():
        if isinstance(feature, Categorical):
            kinds[dataset.feature_column(name)] = "categorical"
        elif isinstance(feature, Numeric | Bucketized):
            kinds.setdefault(dataset.feature_column(name), "numeric")
    if dataset.time is not None:
        kinds.pop(dataset.time.column, None)
    return kinds


def plain_schema(dataset: Dataset, labels: bool = True, weights: bool = True) -> pa.Schema:
    """Names and plain types of an example's columns: kept columns, labels, masks and weights (float32), row id, day (int64).

    Args:
        dataset: the spec.
        labels: whether there are labels, masks and weights.
        weights: whether there are weights where there are labels; only training reads them.
    """
    columns = dataset.all_columns()
    fields = [pa.field(name, arrow_type(columns[name].type)) for name in kept_columns(dataset)]
    if labels:
        fields += [pa.field(label_column(name), pa.float32()) for name in dataset.tasks]
        fields += [pa.field(mask_column(name), pa.float32()) for name, task in dataset.tasks.items() if task.mask]
    if labels and weights:
        weighted = [name for name, task in dataset.tasks.items() if task.sample_weight]
        fields += [pa.field(weight_column(name), pa.float32()) for name in weighted]
        fields += [pa.field(ROW_WEIGHT, pa.float32())] if dataset.weighs_rows else []
    fields.append(pa.field(ROW_ID, pa.int64()))
    if dataset.time is not None:
        fields.append(pa.field(DAY, pa.int64()))
    return pa.schema(fields)


def list_schema(dataset: Dataset, labels: bool = True) -> pa.Schema:
    """The same columns as lists."""
    return pa.schema([pa.field(f.name, _list_type(f.type)) for f in plain_schema(dataset, labels)])


def _list_type(plain: pa.DataType) -> pa.DataType:
    value = plain.value_type if pa.types.is_list(plain) else plain
    return pa.list_(pa.binary() if pa.types.is_string(value) else value)


def to_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Plain columns to list columns; strings become binary (the same bytes).

    Args:
        batch: any plain columns of types int64, float32, string, or lists of them.
    """
    ones = pa.array(np.arange(batch.num_rows + 1, dtype=np.int32))
    arrays = [_to_list(column, ones) for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _to_list(column: pa.Array, ones: pa.Array) -> pa.Array:
    """`ones`: offsets of lists of one value each."""
    if pa.types.is_list(column.type):
        lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False))
        missing = np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False))
        return list_array(_as_binary(pc.list_flatten(column)), lengths, missing)
    if not column.null_count:
        return pa.ListArray.from_arrays(ones, _as_binary(column))
    valid = np.asarray(pc.is_valid(column).to_numpy(zero_copy_only=False))
    return list_array(_as_binary(pc.drop_null(column)), valid.astype(np.int64), ~valid)


def _as_binary(values: pa.Array) -> pa.Array:
    return values.cast(pa.binary()) if pa.types.is_string(values.type) else values


def from_lists(batch: pa.RecordBatch, dataset: Dataset) -> pa.RecordBatch:
    """List columns back to plain ones, the inverse of :func:`to_lists`.

    Args:
        batch: list columns; those that are no columns of an example of `dataset` keep their name and are unwrapped, too.
        dataset: says which columns are lists by nature.

    Raises:
        DataError: if a row of a scalar column holds more than one value, or a text is not UTF-8.
    """
    types = {f.name: f.type for f in plain_schema(dataset)}
    arrays = [_from_list(f.name, batch.column(i), types.get(f.name)) for i, f in enumerate(batch.schema)]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _from_list(name: str, column: pa.Array, plain: pa.DataType | None) -> pa.Array:
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        return column
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False))
    values = pc.list_flatten(column)
    try:
        values = values.cast(pa.string()) if pa.types.is_binary(values.type) else values
    except pa.ArrowInvalid as error:
        raise DataError(f"column '{name}' holds text that is not UTF-8: {error}") from error
    if plain is not None and pa.types.is_list(plain):
        missing = np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False))
        return list_array(values.cast(plain.value_type), lengths, missing)
    if len(lengths) and lengths.max() > 1:
        raise DataError(f"column '{name}' has {lengths.max()} values in one row; a scalar column has at most one")
    if len(values) < len(lengths):
        places = np.cumsum(lengths) - 1
        values = values.take(pa.array(places, mask=lengths == 0))
    return values if plain is None else values.cast(plain)
