from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from features.errors import DataError
from pipeline.evaluation.measure import measure
from pipeline.evaluation.rows import MISSING, collect, read_split
from tests.pipeline.evaluation import toy
from tests.pipeline.evaluation.test_measure import Known


def changed(rows, name, column):
    """`rows` with another column `name`."""
    return pa.RecordBatch.from_pydict(dict(zip(rows.schema.names, rows.columns, strict=True)) | {name: column})


def test_examples_come_back_as_they_were_written(tmp_path):
    [batch] = read_split(toy.write_split(tmp_path / "split", toy.rows()), toy.dataset())
    assert batch.to_pydict() == toy.rows().to_pydict()


def test_columns_of_all_batches_in_order():
    batch = toy.rows()
    found = collect([batch.slice(0, 2), batch.slice(2, 0), batch.slice(2)], toy.dataset(), Known(), ["tab"])
    assert found.count == 6
    assert found.labels["click"].tolist() == [1, 0, 0, 0, 1, 1]
    assert found.masks["like"].tolist() == [True, True, True, False, True, True]
    assert found.groups.tolist() == [0, 0, 0, 1, 1, -1]
    assert [found.slices["tab"].values[code] for code in found.slices["tab"].codes] == [
        "x",
        "x",
        "x",
        "y",
        MISSING,
        "x",
    ]
    assert found.predictions["click"].tolist() == pytest.approx(toy.SCORES)


def test_labels_of_0_and_1_groups_and_slices_are_held_in_few_bytes():
    found = collect([toy.rows()], toy.dataset(), Known(), ["tab"])
    kinds = [
        found.labels["click"].dtype,
        found.masks["like"].dtype,
        found.groups.dtype,
        found.slices["tab"].codes.dtype,
    ]
    assert kinds == ["bool", "bool", "int32", "uint8"]
    assert found.labels["dwell"].dtype == found.predictions["click"].dtype == "float32"


def test_what_no_metric_reads_is_not_held():
    class Talkative:
        def predict(self, rows):
            return Known().predict(rows) | {"click_and_up": np.zeros(rows.num_rows, np.float32)}

    found = collect([toy.rows()], toy.dataset(), Talkative())
    assert set(found.predictions) == {"click", "like", "dwell", "up"}
    assert "click_and_up" in found.outputs


def test_a_label_that_is_neither_0_nor_1_is_not_taken_for_one():
    batch = toy.rows()
    wrong = changed(batch, "label_click", pa.array([1, 0, 2, 0, 1, 1], pa.float32()))
    found = collect([batch, wrong], toy.dataset(), Known())
    with pytest.raises(ValueError, match="a label is 2; allowed: 0 or 1"):
        measure(found, toy.dataset())


def test_users_of_many_batches_are_told_apart_by_their_names():
    """Each batch knows other users, and some in another order."""
    parts = [["b", "a", None], ["a", "c", "c"], [None, "c", "b"]]
    batches = [changed(toy.rows().slice(0, 3), "user", pa.array(users)) for users in parts]
    spec = toy.dataset(columns={**{n: c.model_dump() for n, c in toy.dataset().columns.items()}, "user": "string"})
    found = collect(batches, spec, Known(), ["user"])
    names = [name for part in parts for name in part]
    assert [found.slices["user"].values[code] for code in found.slices["user"].codes] == [
        name or MISSING for name in names
    ]
    assert [code < 0 for code in found.groups] == [name is None for name in names]
    assert len(set(zip(found.groups.tolist(), names, strict=True))) == len(set(names)) == 4


def test_no_row_is_an_error():
    with pytest.raises(DataError, match="no row to evaluate"):
        collect([toy.rows().slice(0, 0)], toy.dataset(), Known())


def test_an_absent_column_is_named():
    batch = toy.rows()
    with pytest.raises(DataError, match="lack column nowhere; they have: user, item"):
        collect([batch], toy.dataset(), Known(), ["nowhere"])


def test_an_empty_split_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no file"):
        list(read_split(tmp_path, toy.dataset()))
