"""Raw rows as serialised ``tf.Example`` records, the input of the ``serving_default`` signature."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import tensorflow as tf

from features.errors import DataError
from features.spec import Dataset


def to_examples(rows: pa.RecordBatch | pa.Table, dataset: Dataset) -> list[bytes]:
    """Encodes rows; a missing value, and an empty list, is an absent feature.

    Args:
        rows: with at least the dataset's raw columns, plain or list-typed.
        dataset: the spec.

    Returns:
        One serialised ``tf.Example`` per row.

    Raises:
        DataError: if a raw column is absent.
    """
    names = rows.schema.names
    if absent := [name for name in dataset.feature_columns() if name not in names]:
        raise DataError(f"the rows lack column {', '.join(absent)}; they have: {', '.join(names)}")
    types = {name: dataset.all_columns()[name].element_type for name in dataset.feature_columns()}
    columns = [rows.column(names.index(name)).to_pylist() for name in types]
    return [_example(zip(types.items(), values, strict=True)) for values in zip(*columns, strict=True)]


def _example(named: Iterable[tuple[tuple[str, str], Any]]) -> bytes:
    features = {}
    for (name, element_type), value in named:
        values = value if isinstance(value, list) else [value]
        if present := [element for element in values if element is not None]:
            features[name] = _feature(element_type, present)
    encoded: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return encoded


def _feature(element_type: str, values: list[Any]) -> tf.train.Feature:
    if element_type == "int64":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    if element_type == "float32":
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
