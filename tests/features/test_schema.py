"""The curated schema against the spec, and its round trip to a parsing spec."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils

from features.columns import list_schema
from features.schema import build_schema, feature_spec, schema_feature
from features.spec import DAY, ROW_ID, Dataset

KINDS = {
    "int64": ["id", "categorical", "numeric", "bucketized"],
    "float32": ["numeric", "bucketized"],
    "string": ["id", "categorical"],
    "list<int64>": ["bag", "sequence"],
    "list<string>": ["bag", "sequence"],
}


def _spec(**changes: Any) -> dict[str, Any]:
    return {
        "name": "toy",
        "source": {"files": "log.csv"},
        "columns": {
            "user": {"type": "int64", "required": True},
            "tab": "int64",
            "city": "string",
            "price": {"type": "float32", "minimum": 0, "maximum": 9.5},
            "age": {"type": "int64", "minimum": 0},
            "tags": "list<string>",
            "ts": "int64",
            "slot": "int64",
            "watched": {"type": "float32", "outcome": True},
            "click": "int64",
            "stars": "float32",
            "asked": "int64",
        },
        "time": {"column": "ts", "unit": "yyyymmdd"},
        "position": "slot",
        "features": {
            "user": "id",
            "tab": {"kind": "categorical", "values": [0, 1]},
            "city": {"kind": "categorical", "values": ["a", "b"]},
            "price": "numeric",
            "age": "bucketized",
            "tags": "bag",
            "hour": {"kind": "numeric", "column": "ts"},
        },
        "tasks": {"click": {"label": "click"}, "stars": {"label": "stars", "kind": "regression", "mask": "asked"}},
        "split": {
            "by": "time",
            "train": ["2024-01-01", "2024-01-02"],
            "validation": ["2024-01-03", "2024-01-03"],
            "test": ["2024-01-04", "2024-01-04"],
        },
    } | changes


def test_columns_are_those_of_the_examples() -> None:
    dataset = Dataset.model_validate(_spec())
    names = [feature.name for feature in build_schema(dataset).feature]
    assert sorted(names) == sorted(list_schema(dataset).names)
    assert {"watched", "click", "stars", "asked"}.isdisjoint(names)
    assert {"label_click", "label_stars", "mask_stars", ROW_ID, DAY} <= set(names)


def test_types_presence_and_counts() -> None:
    schema = build_schema(Dataset.model_validate(_spec()))
    user, tags, slot = (schema_feature(schema, name) for name in ("user", "tags", "slot"))
    assert (user.type, user.presence.min_fraction, user.presence.min_count) == (schema_pb2.INT, 1.0, 1)
    assert (user.value_count.min, user.value_count.max) == (1, 1)
    assert (tags.type, tags.presence.min_fraction, tags.presence.min_count) == (schema_pb2.BYTES, 0.0, 1)
    assert not tags.HasField("value_count")
    assert not slot.HasField("presence")
    for name in ("label_click", "mask_stars", "label_stars"):
        feature = schema_feature(schema, name)
        assert (feature.type, feature.presence.min_fraction) == (schema_pb2.FLOAT, 1.0)


def test_domains() -> None:
    schema = build_schema(Dataset.model_validate(_spec()))
    assert schema_feature(schema, "tab").int_domain.is_categorical
    assert list(schema_feature(schema, "city").string_domain.value) == ["a", "b"]
    price, age = schema_feature(schema, "price").float_domain, schema_feature(schema, "age").int_domain
    assert (price.min, price.max) == (0.0, 9.5)
    assert age.min == 0
    assert not age.HasField("max")
    click, stars = (schema_feature(schema, name).float_domain for name in ("label_click", "label_stars"))
    assert (click.min, click.max, click.disallow_nan) == (0.0, 1.0, True)
    assert not stars.HasField("max")


def test_weights_and_labels_of_losses_for_times_are_not_below_0() -> None:
    tasks = {
        "click": {"label": "click", "sample_weight": "stars"},
        "time": {"label": "watched", "kind": "regression", "loss": {"kind": "mse", "transform": "log1p"}},
        "stay": {"label": "asked", "kind": "regression", "loss": "weighted_logistic"},
    }
    dataset = Dataset.model_validate(_spec(tasks=tasks))
    schema = build_schema(dataset)
    for name in ("weight_click", "label_time", "label_stay"):
        domain = schema_feature(schema, name).float_domain
        assert domain.HasField("min")
        assert (domain.min, domain.HasField("max")) == (0.0, False)
    assert {"stars", "watched", "asked"}.isdisjoint(feature.name for feature in schema.feature)
    assert sorted(feature.name for feature in schema.feature) == sorted(list_schema(dataset).names)


def test_parsing_spec_reads_an_example() -> None:
    dataset = Dataset.model_validate(_spec())
    example = tf.train.Example()
    example.features.feature["user"].int64_list.value.append(3)
    example.features.feature["tags"].bytes_list.value.extend([b"x", b"y"])
    parsed = tf.io.parse_example([example.SerializeToString()], feature_spec(dataset))
    assert parsed["user"].values.numpy().tolist() == [3]
    assert parsed["tags"].values.numpy().tolist() == [b"x", b"y"]
    assert parsed["price"].values.shape == (0,)
    assert not [name for name in parsed if name.startswith(("label_", "mask_"))]


@st.composite
def _datasets(draw: st.DrawFn) -> Dataset:
    names = draw(st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), min_size=1, max_size=6, unique=True))
    columns: dict[str, Any] = {"answer_": "int64"}
    features: dict[str, Any] = {}
    for name in names:
        column_type = draw(st.sampled_from(list(KINDS)))
        low = draw(st.none() | st.integers(-(2**40), 2**40))
        ranged = column_type in ("int64", "float32") and low is not None
        columns[name] = {"type": column_type, "required": draw(st.booleans())}
        columns[name] |= {"minimum": low, "maximum": draw(st.none() | st.integers(low, 2**41))} if ranged else {}
        features[name] = {"kind": draw(st.sampled_from(KINDS[column_type]))}
    return Dataset.model_validate(
        {
            "name": "drawn",
            "source": {"files": "log.csv"},
            "columns": columns,
            "features": features,
            "tasks": {"answer": {"label": "answer_"}},
            "split": {"by": "random"},
        }
    )


@settings(max_examples=60, deadline=None)
@given(_datasets())
def test_schema_survives_text_and_means_the_parsing_spec(dataset: Dataset) -> None:
    schema = build_schema(dataset)
    read = text_format.Parse(text_format.MessageToString(schema), schema_pb2.Schema())
    assert read == schema
    parsed = schema_utils.schema_as_feature_spec(read).feature_spec
    ours = feature_spec(dataset)
    assert {name: parsed[name] for name in ours} == ours
    for name, column in dataset.all_columns().items():
        if name in dataset.feature_columns() and column.minimum is not None:
            feature = schema_feature(read, name)
            domain = feature.float_domain if column.type == "float32" else feature.int_domain
            rounded = np.float32 if column.type == "float32" else int
            assert domain.min == rounded(column.minimum)
            assert domain.HasField("max") == (column.maximum is not None)
            assert column.maximum is None or domain.max == rounded(column.maximum)


def test_integer_ranges_are_whole_and_fit() -> None:
    columns = {"a": {"type": "int64", "minimum": 0.5, "maximum": 1e30}, "click": "int64"}
    spec = _spec(
        columns=columns, features={"a": "numeric"}, tasks={"click": {"label": "click"}}, time=None, position=None
    )
    domain = schema_feature(build_schema(Dataset.model_validate(spec | {"split": {"by": "random"}})), "a").int_domain
    assert (domain.min, domain.max) == (1, 2**63 - 1)
