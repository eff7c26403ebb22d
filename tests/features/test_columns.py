"""Plain columns to lists and back."""

from __future__ import annotations

import pyarrow as pa
import pytest

from features.columns import drift_columns, from_lists, kept_columns, list_schema, plain_schema, to_lists
from features.errors import DataError
from features.spec import Bag, Bucketized, Categorical, Column, Derived, Id, Numeric, Task
from tests.features.logs.small_log import COLUMNS, dataset

SPEC = dataset(columns=COLUMNS | {"watched": Column(type="float32", outcome=True)})


def _batch() -> pa.RecordBatch:
    schema = plain_schema(SPEC)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([1, None, 3]),
            pa.array([1, 2, 3]),
            pa.array([None, 0.5, 1], pa.float32()),
            pa.array(["ż", None, "b"]),
            pa.array([[1, 2], None, []], pa.list_(pa.int64())),
            pa.array([20240101] * 3),
            *[pa.array([0, 1, 0], pa.float32())] * 3,
            pa.array([5, 6, 7]),
            pa.array([20240101] * 3),
        ],
        schema=schema,
    )


def test_drift_is_not_measured_of_ids_lists_and_the_time() -> None:
    features = {
        "user": Id(),
        "tags": Bag(),
        "item": Categorical(),
        "name": Categorical(),
        "score": Numeric(),
        "score_bucket": Bucketized(column="score"),
        "seen": Bucketized(),
        "when": Numeric(column="day"),
    }
    assert drift_columns(dataset(features=features, tasks={"click": Task(label="click")})) == {
        "item": "categorical",
        "name": "categorical",
        "score": "numeric",
        "seen": "numeric",
    }


def test_kept_columns_are_all_but_answers() -> None:
    assert kept_columns(SPEC) == ("user", "item", "score", "name", "tags", "day")
    assert plain_schema(SPEC).names == [
        "user", "item", "score", "name", "tags", "day", "label_click", "label_like", "mask_like", "feedrank_row_id", "feedrank_day",
    ]  # fmt: skip
    assert plain_schema(SPEC, labels=False).names == [
        "user",
        "item",
        "score",
        "name",
        "tags",
        "day",
        "feedrank_row_id",
        "feedrank_day",
    ]


def test_what_is_derived_from_an_answer_is_an_answer() -> None:
    derived = [
        Derived(function="a.b:c", inputs=(source,), outputs={f"from_{source}": Column(type="int64")})
        for source in ("user", "watched", "click", "from_watched")
    ]
    spec = SPEC.model_copy(update={"derived": tuple(derived)})
    assert kept_columns(spec) == ("user", "item", "score", "name", "tags", "day", "from_user")


@pytest.mark.parametrize("start", [0, 1])
def test_there_and_back(start: int) -> None:
    batch = _batch().slice(start)
    lists = to_lists(batch)
    assert lists.schema == list_schema(SPEC)
    assert lists.to_pydict()["name"] == [["ż".encode()], None, [b"b"]][start:]
    assert lists.to_pydict()["user"] == [[1], None, [3]][start:]
    assert lists.to_pydict()["tags"] == [[1, 2], None, []][start:]
    assert from_lists(lists, SPEC).to_pydict() == batch.to_pydict()
    assert from_lists(lists, SPEC).schema == batch.schema


def test_an_empty_batch() -> None:
    batch = _batch().slice(0, 0)
    assert to_lists(batch).schema == list_schema(SPEC)
    assert from_lists(to_lists(batch), SPEC).equals(batch)


def test_two_values_in_a_scalar_column() -> None:
    two = pa.RecordBatch.from_arrays([pa.array([[1, 2]])], names=["user"])
    with pytest.raises(DataError, match="column 'user' has 2 values in one row"):
        from_lists(two, SPEC)
