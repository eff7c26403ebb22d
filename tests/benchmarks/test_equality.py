"""The comparisons with stock TFX can fail; and, slow, TFMA agrees with the evaluation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from benchmarks.equality import scores
from benchmarks.equality.compared import Compared, table
from benchmarks.equality.learned import rank_error
from benchmarks.equality.scores import shared_buckets, worst
from benchmarks.equality.statistics import same_ranking
from pipeline.evaluation.measure import measure
from pipeline.evaluation.rows import collect
from tests.pipeline.evaluation import toy


def compared(difference: float, allowed: float = 0.1) -> Compared:
    return Compared("log", "what", "1", "2", difference, allowed, "why")


@pytest.mark.parametrize(("difference", "agrees"), [(0.1, True), (0.11, False), (float("nan"), False)])
def test_what_is_not_allowed_is_marked(difference, agrees):
    one = compared(difference)
    assert one.agrees == agrees
    assert ("**differs**" in table([one])) != agrees


def test_the_worst_is_the_nearest_to_what_is_allowed():
    kinds = [compared(0.05, 1.0), compared(0.01, 0.02), compared(0.0)]
    assert worst(kinds) is kinds[1]
    assert worst([*kinds, broken := compared(float("nan"))]) is broken


def test_rank_error_by_hand():
    ordered = np.array([1.0, 1, 1, 2, 3, 4, 5, 6, 7, 8])
    # Quartiles are between ranks 2 and 3 (1), 5 (3 or 4) and 7 and 8 (6).
    assert rank_error(ordered, np.array([1.0, 3, 6])) == 0
    # 7 lies above 8 of 10 rows and is asked for at 7.5.
    assert rank_error(ordered, np.array([1.0, 3, 7])) == pytest.approx(0.05)
    # 1 is at most 3 of 10 rows, and is asked for at 5.
    assert rank_error(ordered, np.array([1.0, 1, 6])) == pytest.approx(0.2)


def test_values_of_one_count_may_stand_in_any_order():
    ours = [("a", 3.0), ("b", 2.0), ("c", 2.0), ("d", 1.0)]
    assert same_ranking(ours, [("a", 3.0), ("c", 2.0), ("b", 2.0), ("e", 1.0)])
    assert not same_ranking(ours, [("b", 3.0), ("a", 2.0), ("c", 2.0), ("d", 1.0)])
    assert not same_ranking(ours, [("a", 3.0), ("b", 2.0), ("c", 1.0), ("d", 1.0)])


def test_pairs_that_share_a_bucket_by_hand():
    labels, predictions = np.array([1, 1, 0, 0]), np.array([0.00001, 0.5, 0.00015, 0.9])
    # Of four pairs one is in buckets 0 and 1.
    assert shared_buckets(labels, predictions) == 1 / 4


@pytest.mark.slow
def test_tfma_and_scikit_learn_say_what_the_evaluation_says():
    random, rows = np.random.default_rng(4), 3000
    frame = pd.DataFrame(
        {
            "user": random.integers(0, 100, rows),
            "tab": random.choice(["x", "y"], rows),
            "score": np.round(0.001 + 0.998 * random.random(rows) ** 3, 3),  # many equal, none 0 (TFMA: NaN)
        }
    )
    frame["label_click"] = (random.random(rows) < frame["score"]).astype(np.float32)
    frame["click"] = frame["score"].astype(np.float32)
    spec = toy.dataset(tasks={"click": {"label": "clicked"}})
    batch = pa.RecordBatch.from_pandas(frame, preserve_index=False)
    found = measure(collect([batch.slice(0, 1000), batch.slice(1000)], spec, Answers(), ["tab"]), spec)
    result = [
        *scores.compare("log", found, frame, ["click"], "user"),
        *scores.of_slices("log", found, frame, "click", "tab"),
    ]
    assert len(result) == 10
    assert all(one.agrees for one in result), table(result)
    found["tasks"]["click"] |= {
        name: found["tasks"]["click"][name] * 1.01 for name in ("auc", "log_loss", "calibration")
    }
    again = scores.compare("log", found, frame, ["click"], "user")
    assert {one.what.split(",")[0] for one in again if not one.agrees} == {
        "AUC",
        "AUC of ranks",
        "log loss",
        "calibration",
    }


class Answers:
    """Predicts what the rows hold."""

    def predict(self, rows):
        return {"click": rows.column(rows.schema.names.index("click")).to_numpy()}
