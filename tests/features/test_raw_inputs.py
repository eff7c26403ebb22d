"""Dense raw inputs with sentinels, from Arrow and to sparse tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from features.errors import DataError
from features.raw_inputs import MISSING_INT, arrow_to_dense, dense_to_raw, raw_input_specs
from features.spec import Dataset


def _dataset() -> Dataset:
    spec: dict[str, Any] = {
        "name": "toy",
        "source": {"files": "log.csv"},
        "columns": {
            "user": "int64",
            "price": "float32",
            "city": "string",
            "tags": "list<string>",
            "seen": "list<int64>",
            "click": "int64",
        },
        "features": {
            "user": {"kind": "id"},
            "price": {"kind": "numeric"},
            "city": {"kind": "categorical"},
            "tags": {"kind": "bag"},
            "seen": {"kind": "sequence"},
        },
        "tasks": {"click": {"label": "click"}},
        "split": {"by": "random"},
    }
    return Dataset.model_validate(spec)


ROWS: dict[str, list[Any]] = {
    "user": [7, None, -3],
    "price": [0.5, None, -1.5],
    "city": [b"Bonn", None, b"K\xc3\xb6ln"],
    "tags": [[b"a", b"b"], [], None],
    "seen": [[1], [], [5, 4, 3]],
}
TYPES = {
    "user": pa.int64(),
    "price": pa.float32(),
    "city": pa.binary(),
    "tags": pa.list_(pa.binary()),
    "seen": pa.list_(pa.int64()),
}


def _batch(list_typed: bool) -> pa.RecordBatch:
    arrays = []
    for name, values in ROWS.items():
        if list_typed and name in ("user", "price", "city"):
            arrays.append(pa.array([None if v is None else [v] for v in values], pa.list_(TYPES[name])))
        else:
            arrays.append(pa.array(values, TYPES[name]))
    return pa.RecordBatch.from_arrays(arrays, list(ROWS))


@pytest.mark.parametrize("list_typed", [False, True])
@pytest.mark.parametrize("sliced", [False, True])
def test_arrow_becomes_dense_with_sentinels(list_typed: bool, sliced: bool) -> None:
    batch = _batch(list_typed)
    if sliced:
        batch = pa.RecordBatch.from_arrays([pa.concat_arrays([c, c]) for c in batch.columns], batch.schema.names)
        batch = batch.slice(3, 3)
    dense = arrow_to_dense(batch, _dataset())
    assert dense["user"].tolist() == [7, MISSING_INT, -3]
    assert dense["price"].dtype == np.float32
    np.testing.assert_array_equal(dense["price"], np.array([0.5, np.nan, -1.5], np.float32))
    assert dense["city"].tolist() == [b"Bonn", b"", "Köln".encode()]
    assert dense["tags"].tolist() == [[b"a", b"b"], [b"", b""], [b"", b""]]
    assert dense["seen"].tolist() == [[1] + [MISSING_INT] * 2, [MISSING_INT] * 3, [5, 4, 3]]


def test_dense_becomes_sparse_without_sentinels() -> None:
    sparse = dense_to_raw(_dataset(), {k: tf.constant(v) for k, v in arrow_to_dense(_batch(True), _dataset()).items()})
    for name, values in ROWS.items():
        rows: list[list[Any]] = [[] for _ in values]
        for (row, _), value in zip(sparse[name].indices.numpy(), sparse[name].values.numpy().tolist(), strict=True):
            rows[row].append(value)
        assert rows == [v if isinstance(v, list) else [] if v is None else [v] for v in values]
        assert sparse[name].dense_shape[0] == len(values)


def test_sentinels_inside_a_list_close_up() -> None:
    dense = {k: tf.constant(v) for k, v in arrow_to_dense(_batch(True), _dataset()).items()}
    dense["tags"] = tf.constant([["", "x"], ["y", ""], ["", ""]])
    tags = dense_to_raw(_dataset(), dense)["tags"]
    assert tags.indices.numpy().tolist() == [[0, 0], [1, 0]]


def test_works_in_a_graph_with_the_declared_inputs() -> None:
    dataset = _dataset()
    count = tf.function(lambda inputs: {k: tf.size(v.values) for k, v in dense_to_raw(dataset, inputs).items()})
    concrete = count.get_concrete_function(raw_input_specs(dataset))
    sizes = concrete(**{k: tf.constant(v) for k, v in arrow_to_dense(_batch(False), dataset).items()})
    assert {k: int(v) for k, v in sizes.items()} == {"user": 2, "price": 2, "city": 2, "tags": 2, "seen": 4}


def test_empty_batch() -> None:
    dense = arrow_to_dense(_batch(True).slice(0, 0), _dataset())
    assert dense["user"].shape == (0,)
    assert dense["seen"].shape == (0, 1)


def test_errors_name_the_column() -> None:
    with pytest.raises(DataError, match="lack column user"):
        arrow_to_dense(pa.RecordBatch.from_arrays(_batch(True).columns[1:], _batch(True).schema.names[1:]), _dataset())
    with pytest.raises(DataError, match="lacks user"):
        dense_to_raw(_dataset(), {"price": tf.constant([1.0])})
    arrays = _batch(True).columns
    arrays[0] = pa.array([[1, 2], None, [3]], pa.list_(pa.int64()))
    with pytest.raises(DataError, match=r"'user' is a scalar.*2 values"):
        arrow_to_dense(pa.RecordBatch.from_arrays(arrays, list(ROWS)), _dataset())


def test_inputs_of_all_allowed_names_can_be_exported(tmp_path: Path) -> None:
    names = ["user-id", "user.id2", "a/b", "2x", "x-", "y.", "If", "a_1"]
    spec = {
        "columns": dict.fromkeys([*names, "click"], "int64"),
        "features": {f"f_{place}": {"kind": "numeric", "column": name} for place, name in enumerate(names)},
    }
    dataset = Dataset.model_validate(_dataset().model_dump(mode="json") | spec)
    raw = tf.function(lambda inputs: {"sum": tf.add_n([inputs[name] for name in names])}, autograph=False)
    tf.saved_model.save(
        tf.Module(), str(tmp_path), signatures={"raw": raw.get_concrete_function(raw_input_specs(dataset))}
    )
    exported = tf.saved_model.load(str(tmp_path)).signatures["raw"]
    answers = exported(**{name: tf.constant([2**place], tf.int64) for place, name in enumerate(names)})
    assert answers["sum"].numpy().tolist() == [255]
