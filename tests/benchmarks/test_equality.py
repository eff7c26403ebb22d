"""The comparisons with stock TFX can fail; and, slow, all of them on a small log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.equality.compared import Compared, table
from benchmarks.equality.learned import rank_error
from benchmarks.equality.scores import shared_buckets, worst
from benchmarks.equality.statistics import same_ranking


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
def test_all_agree_on_a_small_log(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.equality", "--rows", "6000", "--folder", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("| synthetic |") == 24
