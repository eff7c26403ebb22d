"""More rows than are held in memory at once: the same numbers as of all rows together, and as scikit-learn's."""

from __future__ import annotations

import dataclasses
import itertools
import resource
import signal
import tempfile

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from features.errors import DataError
from models import metrics
from pipeline.evaluation.measure import change_errors, measure
from pipeline.evaluation.rows import collect
from pipeline.evaluation.spool import Spool, bins_to_parts, divided
from pipeline.evaluation.task_rows import TaskRows, _group_bins
from tests.pipeline.evaluation import toy
from tests.pipeline.evaluation.test_measure import changed


class Columnwise:
    """Predicts the column `column` for every output."""

    def __init__(self, column="score"):
        self._column = column

    def predict(self, rows):
        score = rows.column(rows.schema.names.index(self._column)).to_numpy()
        return dict.fromkeys(("click", "like", "dwell", "up"), score)


def made(rows, seed=0, users=40):
    """Rows by chance; a tenth of the users, tabs and masks is missing, predictions tie often."""
    chance = np.random.default_rng(seed)
    score = np.round(chance.beta(1, 8, rows), 2).astype(np.float32)
    missing = chance.random(rows) < 0.1
    columns = {
        "user": pa.array(chance.integers(-users, users, rows), mask=missing),
        "item": pa.array(["i"] * rows),
        "score": pa.array(score),
        "second": pa.array(np.clip(score + chance.normal(0, 0.02, rows), 0, 1).astype(np.float32)),
        "tab": pa.array(chance.choice(["x", "y", "z"], rows, p=[0.7, 0.2, 0.1]), mask=chance.random(rows) < 0.1),
        "label_click": pa.array((chance.random(rows) < score).astype(np.float32)),
        "label_like": pa.array((chance.random(rows) < 0.3).astype(np.float32)),
        "mask_like": pa.array((chance.random(rows) < 0.8).astype(np.float32)),
        "label_dwell": pa.array(chance.exponential(5, rows).astype(np.float32)),
    }
    return pa.RecordBatch.from_pydict(columns)


def spooled(batch, model=None, size=700):
    """`batch` with predictions, in a file of blocks of `size` rows."""
    whole = collect([batch], toy.dataset(), model or Columnwise(), ["tab"])
    columns = whole.spool.columns(whole.spool.names)
    spool = Spool(1)
    for start in range(0, batch.num_rows, size):
        spool.add({name: values[start : start + size] for name, values in columns.items()})
    return dataclasses.replace(whole, spool=spool)


def near(found):
    """Numbers, to be compared but for the order of sums."""
    if isinstance(found, dict):
        return {key: near(value) for key, value in found.items()}
    if isinstance(found, list):
        return [near(value) for value in found]
    return pytest.approx(found, rel=1e-12, abs=1e-12) if isinstance(found, float) else found


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 4000), limit=st.integers(1, 4000), seed=st.integers(0, 99))
@example(rows=4000, limit=1, seed=0)
def test_all_numbers_are_those_of_all_rows_together(rows, limit, seed):
    whole = spooled(made(rows, seed))
    assert measure(whole, toy.dataset(), limit=limit) == near(measure(whole, toy.dataset()))


def test_the_numbers_are_scikit_learns():
    batch = made(5000)
    found = measure(spooled(batch), toy.dataset(), limit=300)
    label, score = (batch.column(batch.schema.names.index(name)).to_numpy() for name in ("label_click", "score"))
    click = found["tasks"]["click"]
    assert click["auc"] == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert click["log_loss"] == pytest.approx(log_loss(label, np.clip(score.astype(float), 1e-7, 1 - 1e-7)), rel=1e-9)
    users = batch.column(0)
    areas, weights = [], []
    for user in set(users.to_pylist()) - {None}:
        own = users.to_numpy(zero_copy_only=False) == user
        if 0 < label[own].sum() < own.sum():
            areas.append(roc_auc_score(label[own], score[own]))
            weights.append(own.sum())
    assert click["gauc_groups"] == len(areas)
    assert click["gauc"] == pytest.approx(np.average(areas, weights=weights), abs=1e-12)
    assert found["tasks"]["dwell"]["mae"] == pytest.approx(
        np.abs(batch.column(8).to_numpy().astype(float) - score).mean(), rel=1e-9
    )


def test_parts_rise_and_hold_no_more_than_the_limit_and_one_bin():
    batch = made(5000)
    part = TaskRows.of(spooled(batch), "click", limit=500)
    parts = list(part.by_class())
    sizes = [len(each.positives) + len(each.negatives) for each in parts]
    ties = max(np.unique(batch.column(2).to_numpy(), return_counts=True)[1])
    assert sum(sizes) == 5000
    assert max(sizes) <= 500 + ties
    joined = [np.sort(np.concatenate((each.positives, each.negatives))) for each in parts]
    assert all(one[-1] < other[0] for one, other in itertools.pairwise(joined))


def test_rows_without_a_group_fill_no_part() -> None:
    batch = made(5000)
    users = batch.column(0).to_numpy(zero_copy_only=False).copy()
    users[np.arange(5000) % 10 < 6] = np.nan
    whole = spooled(changed(batch, "user", pa.array(users, from_pandas=True).cast(pa.int64())))
    part = TaskRows.of(whole, "click", limit=300)
    sizes = [len(block["label"]) for block in part._parts(("label", "prediction", "group"), _group_bins, 16)]
    _, of_users = np.unique(users[~np.isnan(users)], return_counts=True)
    assert sum(sizes) == of_users.sum()
    assert max(sizes) < 300 + of_users.max()
    assert part.gauc()._asdict() == near(TaskRows.of(whole, "click").gauc()._asdict())


def test_a_full_disk_is_told_with_its_place() -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    spool = Spool(1)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(
            DataError, match=f"do not fit into a temporary file in '{tempfile.gettempdir()}': File too large"
        ):
            spool.add({"number": np.zeros(20_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_the_error_of_a_change_is_that_of_exact_ranks_to_three_digits():
    batch = made(5000)
    now, before = spooled(batch), spooled(batch, Columnwise("second"))
    exact = change_errors(now, before, toy.dataset())
    label = batch.column(5).to_numpy()
    naive = metrics.auc_difference_error(label, batch.column(2).to_numpy(), batch.column(3).to_numpy())
    assert exact["click"] == pytest.approx(naive, rel=1e-12)
    dwell, predicted, second = (batch.column(n).to_numpy().astype(float) for n in (8, 2, 3))
    changes = (predicted - dwell) ** 2 - (second - dwell) ** 2
    assert exact["dwell"] == pytest.approx(scipy.stats.sem(changes), rel=1e-9)
    binned = change_errors(now, before, toy.dataset(), limit=100)
    assert binned == {name: pytest.approx(error, rel=2e-3) for name, error in exact.items()}
    assert change_errors(now, now, toy.dataset(), limit=100) == {"click": 0.0, "like": 0.0, "dwell": 0.0}


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=40), limit=st.integers(1, 100))
def test_bins_make_parts_of_the_limit_and_at_most_one_more_bin(counts, limit):
    parts, number = bins_to_parts(np.array(counts), limit)
    filled = [(count, part) for count, part in zip(counts, parts, strict=True) if count]
    assert sorted({part for _, part in filled}) == list(range(number))
    assert all(0 <= later - part <= 1 for (_, part), (_, later) in itertools.pairwise(filled))
    for part in range(number):
        own = [count for count, place in filled if place == part]
        assert sum(own[:-1]) < limit
        assert part == number - 1 or sum(count for count, place in filled if place <= part) >= limit * (part + 1)


@given(st.lists(st.lists(st.integers(-1, 3), max_size=30), max_size=8), st.integers(1, 40))
def test_a_spool_gives_back_what_it_was_given_and_divides_it(batches, size):
    spool = Spool(size)
    for batch in batches:
        spool.add({"part": np.array(batch, np.int16), "square": np.array(batch, float) ** 2})
    every = [value for batch in batches for value in batch]
    blocks = list(spool.blocks(["part", "square"]))
    assert [value for block in blocks for value in block["part"]] == every
    assert [value for block in blocks for value in block["square"]] == [value**2 for value in every]
    found = divided(blocks, 4, lambda block: block["part"])
    for part in range(4):
        values = [value for block in found[part].blocks(["part"]) for value in block["part"]]
        assert values == [value for value in every if value == part]
