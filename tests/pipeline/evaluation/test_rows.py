from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from features.errors import DataError
from pipeline.evaluation.measure import measure
from pipeline.evaluation.rows import MISSING, NO_GROUP, collect, read_split
from tests.pipeline.evaluation import toy
from tests.pipeline.evaluation.test_measure import Known, changed


def test_examples_come_back_as_they_were_written(tmp_path):
    [batch] = read_split(toy.write_split(tmp_path / "split", toy.rows()), toy.dataset())
    assert batch.to_pydict() == toy.rows().to_pydict()


def test_columns_of_all_batches_in_order():
    batch = toy.rows()
    found = collect([batch.slice(0, 2), batch.slice(2, 0), batch.slice(2)], toy.dataset(), Known(), ["tab"])
    assert found.count == 6
    columns = found.spool.columns(found.spool.names)
    assert columns["label click"].tolist() == [1, 0, 0, 0, 1, 1]
    assert columns["mask like"].tolist() == [True, True, True, False, True, True]
    assert columns["label like"].tolist() == [True, False, False, False, False, False]  # the mask hides the fourth
    one, two, none = 0, 3, 5
    assert [columns["group"].tolist().index(group) for group in columns["group"]] == [one, one, one, two, two, none]
    assert columns["group"][none] == NO_GROUP
    assert [found.slices["tab"][code] for code in columns["slice tab"]] == ["x", "x", "x", "y", MISSING, "x"]
    assert columns["prediction click"].tolist() == found.predictions("click").tolist() == pytest.approx(toy.SCORES)


def test_a_row_takes_few_bytes():
    found = collect([toy.rows()], toy.dataset(), Known(), ["tab"])
    kinds = {name: str(column.dtype) for name, column in found.spool.columns(found.spool.names).items()}
    assert kinds == {
        **dict.fromkeys(["label click", "label like", "mask like"], "bool"),
        **dict.fromkeys(
            ["label dwell", *(f"prediction {name}" for name in ("click", "like", "dwell", "up"))], "float32"
        ),
        "slice tab": "int32",
        "group": "uint64",
    }


def test_what_no_metric_reads_is_not_held():
    class Talkative:
        def predict(self, rows):
            return Known().predict(rows) | {"click_and_up": np.zeros(rows.num_rows, np.float32)}

    found = collect([toy.rows()], toy.dataset(), Talkative())
    assert set(found.predicted) == {"click", "like", "dwell", "up"}
    assert "prediction click_and_up" not in found.spool.names
    assert "click_and_up" in found.outputs


def test_a_label_that_is_neither_0_nor_1_is_not_taken_for_one():
    batch = toy.rows()
    wrong = changed(batch, "label_click", pa.array([1, 0, 2, 0, 1, 1], pa.float32()))
    with pytest.raises(DataError, match="task 'click': a label is 2; allowed: 0 or 1"):
        collect([batch, wrong], toy.dataset(), Known())


def test_a_label_that_the_mask_hides_may_be_anything():
    hidden = changed(toy.rows(), "label_like", pa.array([1, 0, 0, 7, 0, 0], pa.float32()))
    found = measure(collect([hidden], toy.dataset(), Known()), toy.dataset())
    assert (found["tasks"]["like"]["rows"], found["tasks"]["like"]["positives"]) == (5, 1)


def test_users_of_many_batches_are_told_apart_by_their_names():
    """Each batch knows other users, and some in another order."""
    parts = [["b", "a", None], ["a", "c", "c"], [None, "c", "b"]]
    batches = [changed(toy.rows().slice(0, 3), "user", pa.array(users)) for users in parts]
    spec = toy.dataset(columns={**{n: c.model_dump() for n, c in toy.dataset().columns.items()}, "user": "string"})
    found = collect(batches, spec, Known(), ["user"])
    names = [name for part in parts for name in part]
    columns = found.spool.columns(found.spool.names)
    assert [found.slices["user"][code] for code in columns["slice user"]] == [name or MISSING for name in names]
    assert [group == NO_GROUP for group in columns["group"]] == [name is None for name in names]
    assert len(set(zip(columns["group"].tolist(), names, strict=True))) == len(set(names)) == 4


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
