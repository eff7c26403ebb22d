from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import DataError
from models import metrics
from pipeline.components.evaluate import evaluate_split
from pipeline.config import EvaluateConfig
from pipeline.evaluation.rows import collect
from pipeline.evaluation.truth import against_truth, find_truth, key_column
from tests.pipeline.evaluation import toy
from tests.pipeline.evaluation.test_measure import Known

UP = {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.2, "e": 0.7, "zz": 0.3}
"""By item; the log's item f has no truth, the truth's item zz is not in the log."""


@pytest.fixture
def truth(tmp_path):
    items = list(UP)
    for place, part in enumerate((items[:2], items[2:])):
        folder = tmp_path / "truth" / f"dt=2022-04-2{place}"
        folder.mkdir(parents=True)
        columns = {
            "item": part,
            "up": pa.array([UP[item] for item in part], pa.float32()),
            "p_click": [0.5] * len(part),
        }
        pq.write_table(pa.table(columns), folder / "part-0.parquet")
    return find_truth(tmp_path)


def test_scores_are_compared_with_the_truth_of_their_own_rows(truth):
    rows = collect([toy.rows()], toy.dataset(), Known(), key="item")
    found = against_truth(rows, toy.dataset(), truth, key_column(truth, toy.dataset()))
    up, scores = np.array([UP[item] for item in "abcde"]), np.array(toy.SCORES[:5])
    expected = metrics.expected_auc(up, scores)
    assert found["rows"] == 5
    assert found["auc"] == pytest.approx({"up": expected, "sum": expected, "click": expected, "like": expected})
    assert found["ceiling"] == pytest.approx(metrics.expected_auc(up, up))
    assert found["ceiling"] > expected


def test_an_exported_model_against_the_truth(truth, tmp_path):
    split = toy.write_split(tmp_path / "split", toy.rows())
    model = str(toy.export(tmp_path / "model"))
    found = evaluate_split(str(split), toy.dataset(), EvaluateConfig(), model, truth=truth)
    assert found["truth"]["auc"]["up"] == pytest.approx(
        metrics.expected_auc(np.array([UP[item] for item in "abcde"]), np.array(toy.SCORES[:5]))
    )


def test_a_truth_about_other_rows_says_nothing(tmp_path):
    (tmp_path / "truth").mkdir()
    pq.write_table(pa.table({"item": ["zz"], "up": [0.5]}), tmp_path / "truth" / "part.parquet")
    rows = collect([toy.rows()], toy.dataset(), Known(), key="item")
    found = against_truth(rows, toy.dataset(), str(tmp_path / "truth"), "item")
    assert (found["rows"], found["auc"]["up"]) == (0, None)


def test_a_log_without_truth(tmp_path):
    assert find_truth(tmp_path) == ""


def test_a_truth_without_a_key_is_named(tmp_path):
    pq.write_table(pa.table({"other": [1], "up": [0.5]}), tmp_path / "part.parquet")
    with pytest.raises(DataError, match="has columns other, up; allowed: 'up' and exactly one column of the log"):
        key_column(str(tmp_path), toy.dataset())
