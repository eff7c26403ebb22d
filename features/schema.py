"""From the spec to TensorFlow Metadata: what a healthy table of examples looks like, and how an example is parsed."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2

from features.columns import kept_columns
from features.losses import needs_nonnegative
from features.spec import (
    DAY,
    ROW_ID,
    ROW_WEIGHT,
    Categorical,
    Column,
    Dataset,
    label_column,
    mask_column,
    weight_column,
)

_TYPES = {"int64": schema_pb2.INT, "float32": schema_pb2.FLOAT, "string": schema_pb2.BYTES}
_DTYPES = {"int64": tf.int64, "float32": tf.float32, "string": tf.string}


def build_schema(dataset: Dataset) -> schema_pb2.Schema:
    """Returns the curated schema of a dataset's examples.

    Feature columns must be there (required ones in every row), labels, masks and weights in every row. Other columns are described
    but may be absent. Values keep to the spec's ranges, closed categories to their values.
    """
    schema = schema_pb2.Schema()
    columns, features = dataset.all_columns(), set(dataset.feature_columns())
    for name in kept_columns(dataset):
        column = columns[name]
        feature = _feature(schema, name, column)
        if column.required:
            feature.presence.min_fraction = 1.0
        if column.required or name in features:
            feature.presence.min_count = 1
        _set_domain(feature, column)
        _as_sparse(schema, name)
    for name in dataset.features:
        _close_category(schema, dataset, name)
    for name in answer_columns(dataset):
        _add_answer(schema, name, *_answer_range(dataset, name))
    for name in (ROW_ID, DAY) if dataset.time is not None else (ROW_ID,):
        _as_sparse(schema, _feature(schema, name, Column(type="int64")).name)
    return schema


def feature_spec(dataset: Dataset) -> dict[str, Any]:
    """How ``tf.io.parse_example`` reads a raw example: the columns that the model needs."""
    columns = dataset.all_columns()
    return {name: tf.io.VarLenFeature(_DTYPES[columns[name].element_type]) for name in dataset.feature_columns()}


def answer_columns(dataset: Dataset) -> tuple[str, ...]:
    """The float32 label of every task, then the masks and the sample weights of those that have one, and the row's weight."""
    masked = [name for name, task in dataset.tasks.items() if task.mask is not None]
    weighted = [name for name, task in dataset.tasks.items() if task.sample_weight is not None]
    of_rows = (ROW_WEIGHT,) if dataset.weighs_rows else ()
    return (*map(label_column, dataset.tasks), *map(mask_column, masked), *map(weight_column, weighted), *of_rows)


def _feature(schema: schema_pb2.Schema, name: str, column: Column) -> schema_pb2.Feature:
    feature: schema_pb2.Feature = schema.feature.add(name=name, type=_TYPES[column.element_type])
    if not column.is_list:
        feature.value_count.min = feature.value_count.max = 1
    return feature


def _set_domain(feature: schema_pb2.Feature, column: Column) -> None:
    if column.minimum is None and column.maximum is None:
        return
    if column.element_type == "float32":
        low, high = column.minimum, column.maximum
        domain: Any = feature.float_domain
    elif column.element_type == "int64":
        low = None if column.minimum is None else max(math.ceil(column.minimum), -(2**63))
        high = None if column.maximum is None else min(math.floor(column.maximum), 2**63 - 1)
        domain = feature.int_domain
    else:
        return
    if low is not None:
        domain.min = low
    if high is not None:
        domain.max = high


def _close_category(schema: schema_pb2.Schema, dataset: Dataset, name: str) -> None:
    """Names a category's values. An integer category is marked as one, so that its statistics count the values."""
    feature = dataset.features[name]
    if not isinstance(feature, Categorical):
        return
    column = schema_feature(schema, dataset.feature_column(name))
    if column.type == schema_pb2.INT:
        column.int_domain.is_categorical = True
    elif feature.values is not None:
        column.string_domain.name = column.name
        del column.string_domain.value[:]
        column.string_domain.value.extend(str(value) for value in feature.values)


def schema_feature(schema: schema_pb2.Schema, name: str) -> schema_pb2.Feature:
    """The schema's entry of that name."""
    return next(feature for feature in schema.feature if feature.name == name)


def _answer_range(dataset: Dataset, name: str) -> tuple[float | None, float | None]:
    """Lowest and highest value: masks and binary labels are 0 or 1, weights and labels that a loss takes as times >= 0."""
    if name in (ROW_WEIGHT, *map(weight_column, dataset.tasks)):
        return 0.0, None
    regressions = {label_column(task): spec for task, spec in dataset.tasks.items() if spec.kind == "regression"}
    if name in regressions:
        return (0.0 if needs_nonnegative(regressions[name].objective) else None), None
    return 0.0, 1.0


def _add_answer(schema: schema_pb2.Schema, name: str, low: float | None, high: float | None) -> None:
    feature = schema.feature.add(name=name, type=schema_pb2.FLOAT)
    feature.presence.min_fraction = 1.0
    feature.presence.min_count = 1
    feature.shape.SetInParent()
    feature.float_domain.disallow_nan = feature.float_domain.disallow_inf = True
    if low is not None:
        feature.float_domain.min = low
    if high is not None:
        feature.float_domain.max = high
    representation = schema.tensor_representation_group[""].tensor_representation[name]
    representation.dense_tensor.column_name = name
    representation.dense_tensor.shape.SetInParent()


def _as_sparse(schema: schema_pb2.Schema, name: str) -> None:
    group = schema.tensor_representation_group[""]
    group.tensor_representation[name].varlen_sparse_tensor.column_name = name
