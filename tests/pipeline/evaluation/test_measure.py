"""The numbers of an evaluation, by hand."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from pipeline.evaluation.measure import any_interaction, measure, without_nan
from pipeline.evaluation.rows import collect
from tests.pipeline.evaluation import toy


class Known:
    """Predicts the score itself, but for the outputs that it is given."""

    def __init__(self, **given):
        self._given = given

    def predict(self, rows):
        score = rows.column(rows.schema.names.index("score")).to_numpy()
        return {"click": score, "like": score, "dwell": score, "up": score} | self._given


def changed(rows, name, column):
    """`rows` with another column `name`."""
    return pa.RecordBatch.from_pydict(dict(zip(rows.schema.names, rows.columns, strict=True)) | {name: column})


def collected(copies=1, **changes):
    return collect([toy.rows(copies)], toy.dataset(**changes), Known(), ["tab"])


def test_a_binary_task_by_hand():
    found = measure(collected(), toy.dataset())["tasks"]["click"]
    assert (found["rows"], found["positives"], found["rate"]) == (6, 3, 0.5)
    # Positives .9 .4 .1 against negatives .8 .2 .6: .9 wins 3, .4 wins 1, .1 wins 0.
    assert found["auc"] == pytest.approx(4 / 9)
    # User 1: .9 beats .8 and .2, AUC 1 on 3 rows; user 2: .4 loses to .6, AUC 0 on 2 rows; the row without user is out.
    assert found["gauc"] == pytest.approx(3 / 5)
    assert found["gauc_groups"] == 2
    assert found["calibration"] == pytest.approx(3.0 / 3)
    assert sum(part["rows"] for part in found["calibration_bins"]) == 6


def test_masked_rows_do_not_count():
    found = measure(collected(), toy.dataset())["tasks"]["like"]
    assert (found["rows"], found["positives"], found["auc"]) == (5, 1, 1.0)


def test_a_regression_by_hand():
    found = measure(collected(), toy.dataset())["tasks"]["dwell"]
    errors = np.array(toy.SCORES) - [1, 0, 0, 1, 0, 0]
    assert found["mse"] == pytest.approx((errors**2).mean())
    assert found["mae"] == pytest.approx(np.abs(errors).mean())
    assert "auc" not in found


def test_up_against_any_interaction():
    rows = collected()
    # click: rows 0 4 5; like: row 0 (row 3 is masked).
    columns = rows.spool.columns(rows.spool.names)
    assert any_interaction(columns, ["click", "like"]).tolist() == [True, False, False, False, True, True]
    found = measure(rows, toy.dataset(), ["like"])["up"]
    assert found["interactions"] == ["like"]
    assert (found["auc_any_interaction"], found["positives"]) == (1.0, 1)
    assert measure(rows, toy.dataset())["up"]["interactions"] == ["click", "like"]


def test_slices_with_few_rows_are_counted_not_judged():
    found = measure(collected(), toy.dataset())["slices"]["tab"]
    assert {value: part["rows"] for value, part in found.items()} == {"x": 4, "y": 1, "(missing)": 1}
    assert found["x"]["tasks"]["click"]["positives"] == 2
    assert found["x"]["tasks"]["click"]["auc"] is None


def test_slices_with_enough_rows_equal_the_metrics_of_those_rows():
    found = measure(collected(copies=20), toy.dataset())["slices"]["tab"]["x"]["tasks"]["click"]
    # Positives .9 .1 against negatives .8 .2: .9 wins both, .1 none.
    assert found["auc"] == pytest.approx(0.5)


def test_more_values_than_are_listed_are_counted_in_a_note():
    tabs = pa.array([str(row % 40) for row in range(120)])
    rows = collect([changed(toy.rows(copies=20), "tab", tabs)], toy.dataset(), Known(), ["tab"])
    found = measure(rows, toy.dataset())
    assert len(found["slices"]["tab"]) == 30
    assert "slices by 'tab': 10 more values with 30 rows are not listed" in found["notes"]


def test_undefined_numbers_are_none_and_explained():
    none = changed(toy.rows(), "label_click", pa.array([0] * 6, pa.float32()))
    found = measure(collect([none], toy.dataset(), Known()), toy.dataset())
    assert found["tasks"]["click"]["auc"] is None
    assert found["tasks"]["click"]["log_loss"] is not None
    assert "task 'click': some metrics are undefined: no positive among 6 rows" in found["notes"]


def test_predictions_that_are_no_numbers_are_named():
    broken = Known(click=np.array([np.nan, np.inf, 0.1, 0.2, 0.3, 0.4]))
    found = measure(collect([toy.rows()], toy.dataset(), broken), toy.dataset())
    assert found["tasks"]["click"]["auc"] is None
    assert "task 'click': 2 of 6 predictions are not finite" in found["notes"]


def test_only_the_tasks_own_metrics_and_the_auc():
    tasks = {"click": {"label": "clicked", "metrics": ["log_loss"]}}
    found = measure(collected(tasks=tasks), toy.dataset(tasks=tasks))["tasks"]["click"]
    assert {"auc", "log_loss"} <= set(found)
    assert not {"gauc", "calibration", "normalized_entropy"} & set(found)


def test_a_regression_has_its_own_metrics_and_the_mse_by_which_the_gate_compares():
    tasks = {"dwell": {"label": "seconds", "kind": "regression", "metrics": ["mae"]}}
    rows = collected(tasks=tasks)
    found = measure(rows, toy.dataset(tasks=tasks))["tasks"]["dwell"]
    errors = np.array(toy.SCORES) - [1, 0, 0, 1, 0, 0]
    assert (found["mae"], found["mse"]) == (
        pytest.approx(np.abs(errors).mean()),
        pytest.approx((errors**2).mean()),
    )
    rows = collect([toy.rows()], toy.dataset(tasks=tasks), Known(dwell=np.full(6, np.nan)))
    found = measure(rows, toy.dataset(tasks=tasks))["tasks"]["dwell"]
    assert {name: found[name] for name in ("mse", "mae")} == {"mse": None, "mae": None}


def test_json_knows_no_nan():
    assert json.loads(json.dumps(without_nan({"a": [float("nan"), 1.0], "b": (float("inf"),)}), allow_nan=False)) == {
        "a": [None, 1.0],
        "b": [None],
    }
