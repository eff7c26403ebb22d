"""Raw columns as dense arrays, and back to the sparse tensors that preprocessing reads.

A served model takes one dense tensor a raw column. What is missing is a sentinel: :data:`MISSING_INT` in int64, NaN in
float32, the empty string in string. A scalar column is ``(batch,)``; a list column ``(batch, n)`` for any n, padded
with the sentinel. Inside, a missing value is an absent one, so :func:`dense_to_raw` drops sentinels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.errors import DataError
from features.spec import Column, Dataset

if TYPE_CHECKING:
    import tensorflow as tf

MISSING_INT = -(2**63)
MISSING: Mapping[str, Any] = {"int64": MISSING_INT, "float32": float("nan"), "string": b""}
"""Element type -> what stands for a missing value."""
_ARROW = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.binary()}
_NUMPY: Mapping[str, npt.DTypeLike] = {"int64": "int64", "float32": "float32", "string": "object"}


def raw_input_specs(dataset: Dataset) -> dict[str, tf.TensorSpec]:
    """The inputs of the ``raw`` signature: for each raw column a spec of shape ``(batch,)``, or ``(batch, n)`` of a list."""
    import tensorflow as tf

    columns = dataset.all_columns()
    return {
        name: tf.TensorSpec([None, None] if columns[name].is_list else [None], columns[name].element_type, name=name)
        for name in dataset.feature_columns()
    }


def dense_to_raw(dataset: Dataset, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.SparseTensor]:
    """Turns dense inputs into what ``preprocessing_fn`` reads.

    Args:
        dataset: the spec.
        inputs: for each raw column an int64, float32 or string tensor, ``(batch,)`` or ``(batch, n)``.

    Returns:
        For each column of `inputs` a SparseTensor without the sentinels: ``(batch, 1)``, or of a list ``(batch, longest)`` with its
        values left-aligned.

    Raises:
        DataError: if a raw column that the model needs is absent.
    """
    if absent := [name for name in dataset.feature_columns() if name not in inputs]:
        raise DataError(
            f"raw input lacks {', '.join(absent)}; received: {', '.join(inputs) or '(none)'}; "
            f"needed: {', '.join(dataset.feature_columns())}"
        )
    columns = dataset.all_columns()
    return {name: _sparse(inputs[name], columns[name]) for name in dataset.feature_columns()}


def is_present(values: tf.Tensor) -> tf.Tensor:
    """Where `values` (any shape) is no sentinel: a bool tensor of the same shape."""
    import tensorflow as tf

    if values.dtype == tf.string:
        return tf.not_equal(values, "")
    if values.dtype.is_floating:
        return tf.logical_not(tf.math.is_nan(values))
    return tf.not_equal(values, tf.constant(MISSING_INT, tf.int64))


def _sparse(dense: tf.Tensor, column: Column) -> tf.SparseTensor:
    import tensorflow as tf

    if not column.is_list:  # nothing to move to the left
        dense = tf.reshape(dense, [-1, 1])
        present = tf.where(is_present(dense))
        return tf.SparseTensor(present, tf.gather_nd(dense, present), tf.shape(dense, tf.int64))
    return tf.ragged.boolean_mask(dense, is_present(dense)).to_sparse()


def arrow_to_dense(batch: pa.RecordBatch | pa.Table, dataset: Dataset) -> dict[str, npt.NDArray[Any]]:
    """Turns rows, plain typed or list-typed, into the dense inputs of the ``raw`` signature.

    Args:
        batch: rows with at least the dataset's raw columns; a scalar column may be plain or a list of at most one value.
        dataset: the spec.

    Returns:
        For each raw column int64, float32 or object (bytes) values: ``(rows,)``, or ``(rows, longest list)`` of a list.

    Raises:
        DataError: if a column is absent, or a scalar column holds more than one value in a row.
    """
    columns = dataset.all_columns()
    names = batch.schema.names
    if absent := [name for name in dataset.feature_columns() if name not in names]:
        raise DataError(f"the rows lack column {', '.join(absent)}; they have: {', '.join(names)}")
    return {name: _dense(batch.column(names.index(name)), columns[name], name) for name in dataset.feature_columns()}


def _dense(array: pa.Array | pa.ChunkedArray, column: Column, name: str) -> npt.NDArray[Any]:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
        return _filled(array, column.element_type)
    lengths = np.asarray(array.value_lengths().fill_null(0)).astype(np.int64)
    values = _filled(array.flatten(), column.element_type)
    longest = int(lengths.max(initial=1))
    if not column.is_list and longest > 1:
        raise DataError(f"column '{name}' is a scalar in the spec; a row holds {longest} values; allowed: at most one")
    dense: npt.NDArray[Any] = np.full(
        (len(array), max(longest, 1)), MISSING[column.element_type], _NUMPY[column.element_type]
    )
    dense[np.arange(dense.shape[1]) < lengths[:, None]] = values
    return dense if column.is_list else dense[:, 0]


def _filled(array: pa.Array, element_type: str) -> npt.NDArray[Any]:
    array = array.cast(_ARROW[element_type])
    if element_type == "string":
        array = array.fill_null(b"")
    elif array.null_count:
        array = array.fill_null(pa.scalar(MISSING[element_type], _ARROW[element_type]))
    filled: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return filled
