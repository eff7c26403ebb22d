"""The synthetic log against its own written truth, and against naive loops."""

from __future__ import annotations

import collections
import datetime
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalog.synthetic import dataset_for
from features.errors import DataError
from features.logs import load_tables, read_log
from features.synthesis import LABELS, TASKS, SynthesisConfig, synthesize
from features.synthesis.history import RecentClicks

SMALL = SynthesisConfig(rows=3_001, users=50, items=40, days=3, positions=7, history_length=4)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthesis")
    synthesize(SynthesisConfig(rows=250_000, users=2_000, items=800, seed=3), folder)
    return folder


@pytest.fixture(scope="module")
def log(written: Path) -> pd.DataFrame:
    return _read(written / "log")


@pytest.fixture(scope="module")
def truth(written: Path) -> pd.DataFrame:
    return _read(written / "truth")


def _read(folder: Path) -> pd.DataFrame:
    frame: pd.DataFrame = pa.dataset.dataset(folder).to_table().to_pandas()
    return frame


# -- what was asked for -------------------------------------------------------------------------------------------


def test_rows_fall_on_the_days_that_the_config_names(log: pd.DataFrame) -> None:
    days = pd.to_datetime(log.time_ms, unit="ms").dt.date.value_counts().sort_index()
    assert list(days.index) == [datetime.date(2026, 1, 5) + datetime.timedelta(days=n) for n in range(7)]
    # 250,000 = 7 x 35,714 + 2
    assert list(days) == [35_715, 35_715, 35_714, 35_714, 35_714, 35_714, 35_714]


def test_requests_show_positions_in_order_and_days_go_on_in_time(log: pd.DataFrame) -> None:
    assert set(log.position) == set(range(1, 11))
    starts = log[log.position == 1].time_ms.to_numpy()
    assert (np.diff(starts) >= 0).all()
    inside = log.position.to_numpy()[1:] > 1
    assert (np.diff(log.user_id)[inside] == 0).all()


def test_truth_lies_beside_the_log_and_not_in_it(log: pd.DataFrame, truth: pd.DataFrame) -> None:
    assert set(log) == {"impression_id", "time_ms", "user_id", "item_id", "position", "device", "recent_clicks"} | set(
        LABELS.values()
    )
    assert set(truth) == {"impression_id", "up", "position_effect", *(f"p_{task}" for task in TASKS)}
    assert log.impression_id.is_unique
    assert (log.impression_id == truth.impression_id).all()
    spec = dataset_for(SynthesisConfig())
    assert "impression_id" not in spec.feature_columns()
    assert not set(truth) & set(spec.feature_columns())


def test_summary_counts_what_was_written(written: Path, log: pd.DataFrame) -> None:
    summary = synthesize(SynthesisConfig(rows=250_000, users=2_000, items=800, seed=3), written)
    assert summary.reused
    assert summary.rows == len(log) == 250_000
    assert summary.files == 7
    assert summary.rates == {task: log[label].sum() / 250_000 for task, label in LABELS.items()}


def test_tasks_go_from_a_third_down_to_a_thousandth(log: pd.DataFrame) -> None:
    assert 0.25 < log.clicked.mean() < 0.40
    assert 0.0005 < log.converted.mean() < 0.002
    assert log[log.clicked == 0].converted.sum() == 0


# -- the log against the truth ------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_labels_are_tosses_of_the_written_probabilities(task: str, log: pd.DataFrame, truth: pd.DataFrame) -> None:
    """In all, and in each fifth of UP: within 4.5 standard deviations of a sum of independent coins."""
    p, y = truth[f"p_{task}"].to_numpy(np.float64), log[LABELS[task]].to_numpy()
    fifth = np.searchsorted(np.quantile(truth.up, (0.2, 0.4, 0.6, 0.8)), truth.up)
    for rows in (np.ones(len(p), bool), *(fifth == k for k in range(5))):
        assert abs((y - p)[rows].sum()) < 4.5 * np.sqrt((p * (1 - p))[rows].sum())


def test_tasks_share_the_preference(log: pd.DataFrame, truth: pd.DataFrame) -> None:
    """Given UP, tasks still go together: all of them depend on the same toss of it."""
    together = (log.clicked * log.liked).sum()
    independent = (truth.p_click.astype(float) * truth.p_like).sum()
    assert together > independent + 4.5 * np.sqrt(independent)


def test_interactions_without_preference_stay_below_half_of_the_rate(log: pd.DataFrame, truth: pd.DataFrame) -> None:
    """DLEN, section 3.1: P(task | not UP) is bounded by 0.1 to 0.5 of the task's own rate. Where UP is below 2 %, at
    most that and the little that UP adds is left."""
    cold = (truth.up < 0.02).to_numpy()
    assert cold.sum() > 1_000
    for task in ("click", "like", "share"):
        assert truth[f"p_{task}"][cold].mean() < 0.5 * log[LABELS[task]].mean()


def test_habits_differ_between_users(log: pd.DataFrame) -> None:
    """The conflict: of those who interact, one likes and another comments. If all users had one habit, the chi-square
    of users x way of showing would be about its degrees of freedom."""
    ways = ["liked", "commented", "shared", "followed"]
    sums = log.groupby("user_id")[ways].sum()
    table = sums[sums.sum(axis=1) >= 8].to_numpy(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    chi_square = ((table - expected) ** 2 / expected).sum()
    freedom = (len(table) - 1) * (len(ways) - 1)
    assert len(table) > 200
    assert chi_square > 1.5 * freedom


def test_position_effect_is_recovered_where_preference_is_known(log: pd.DataFrame, truth: pd.DataFrame) -> None:
    """Clicks at position k are examination(k) times what the truth says of the impression itself: the ratio estimates
    k ** -0.25 within 4.5 standard errors. Rates alone exaggerate it, since an earlier ranker put better items first."""
    shown = truth.p_click / truth.position_effect
    by = log.position
    estimate = log.clicked.groupby(by).sum() / shown.groupby(by).sum()
    error = np.sqrt((truth.p_click * (1 - truth.p_click)).groupby(by).sum()) / shown.groupby(by).sum()
    law = np.arange(1, 11) ** -0.25
    assert (abs(estimate - law) < 4.5 * error).all()
    rate = log.clicked.groupby(by).mean()
    assert rate[10] / rate[1] < law[9] - 4.5 * error[10] / law[0]


def test_popularity_is_skewed_and_moves(log: pd.DataFrame, tmp_path: Path) -> None:
    shares = np.sort(log.item_id.value_counts(normalize=True))[::-1]
    # Zipf with exponent 0.8 over 800 items: the first tenth gets 57 % of the mass; moving weights leave it near that.
    assert 0.45 < shares[:80].sum() < 0.70
    first, last = (log[day].item_id.value_counts() for day in _ends(log))
    moved = np.corrcoef(*np.log1p([c.reindex(range(1, 801)).fillna(0) for c in (first, last)]))[0, 1]
    synthesize(SynthesisConfig(rows=250_000, users=2_000, items=800, seed=3, drift=0), tmp_path)
    still_log = _read(tmp_path / "log")
    first, last = (still_log[day].item_id.value_counts() for day in _ends(still_log))
    still = np.corrcoef(*np.log1p([c.reindex(range(1, 801)).fillna(0) for c in (first, last)]))[0, 1]
    assert moved < still - 0.03


def _ends(log: pd.DataFrame) -> tuple[Any, Any]:
    day = log.time_ms // 86_400_000
    return day == day.min(), day == day.max()


def test_observed_attributes_tell_about_preference(written: Path, log: pd.DataFrame, truth: pd.DataFrame) -> None:
    """An item of the category that a user named first is preferred far more often than one of no named category."""
    users = pd.read_parquet(written / "users.parquet").set_index("user_id").interests
    items = pd.read_parquet(written / "items.parquet").set_index("item_id").category
    first = users.dropna().map(lambda names: names[0])
    named = log.user_id.map(first) == log.item_id.map(items)
    assert truth.up[named].mean() > truth.up[~named].mean() + 0.1


# -- no look into the future --------------------------------------------------------------------------------------


def test_recent_clicks_are_those_of_earlier_days(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"rows": 6_000})
    synthesize(config, tmp_path)
    log = _read(tmp_path / "log")
    day = pd.to_datetime(log.time_ms, unit="ms").dt.date
    clicked: dict[int, list[int]] = collections.defaultdict(list)
    compared = 0
    for date in config.dates:
        rows = log[day == date]
        for user, recent in zip(rows.user_id, rows.recent_clicks, strict=True):
            if len(clicked[user]) >= config.history_length:
                assert list(recent) == clicked[user][-config.history_length :]
                compared += 1
        for user, item, click in zip(rows.user_id, rows.item_id, rows.clicked, strict=True):
            clicked[user] += [item] if click else []
    assert compared > 3_000


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), max_size=12), max_size=6))
def test_ring_holds_each_users_last_clicks(batches: list[list[tuple[int, int]]]) -> None:
    clicks = RecentClicks.empty(users=4, length=3)
    queues: list[collections.deque[int]] = [collections.deque(maxlen=3) for _ in range(4)]
    for batch in batches:
        clicks.add(np.array([u for u, _ in batch], np.int64), np.array([i for _, i in batch], np.int64))
        for user, item in batch:
            queues[user].append(item + 1)
    assert clicks.of(np.arange(4)).to_pylist() == [list(queue) or None for queue in queues]


# -- the same again -----------------------------------------------------------------------------------------------


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "synthesis.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        synthesize(SMALL.model_copy(update={"seed": seed}), tmp_path / name)
    assert _hashes(tmp_path / "a") == _hashes(tmp_path / "b")
    assert not set(_hashes(tmp_path / "a").values()) & set(_hashes(tmp_path / "c").values())


def test_rows_do_not_depend_on_how_they_are_cut_into_files(tmp_path: Path) -> None:
    one = synthesize(SMALL, tmp_path / "one")
    many = synthesize(SMALL.model_copy(update={"rows_per_file": 300}), tmp_path / "many")
    # 3,001 rows are 1,001 + 1,000 + 1,000; files of 300 rows: 4 a day.
    assert (one.files, many.files) == (3, 12)
    for part in ("log", "truth"):
        pd.testing.assert_frame_equal(_read(tmp_path / "one" / part), _read(tmp_path / "many" / part))


def test_csv_holds_what_parquet_holds(tmp_path: Path) -> None:
    tables = {}
    for kind in ("csv", "parquet"):
        config = SMALL.model_copy(update={"format": kind})
        synthesize(config, tmp_path / kind)
        spec = dataset_for(config)
        batches = list(read_log(spec, str(tmp_path / kind), load_tables(spec, str(tmp_path / kind))))
        assert sum(batch.quarantined.num_rows for batch in batches) == 0
        tables[kind] = pa.Table.from_batches([batch.rows for batch in batches]).drop(["feedrank_row_id"])
    assert tables["csv"].num_rows == 3_001
    assert tables["csv"].equals(tables["parquet"])


def test_what_is_there_is_kept_and_nothing_else_is_overwritten(tmp_path: Path) -> None:
    first = synthesize(SMALL, tmp_path)
    assert not first.reused
    before = (tmp_path / "users.parquet").stat().st_mtime_ns
    assert synthesize(SMALL, tmp_path) == first.model_copy(update={"reused": True})
    assert (tmp_path / "users.parquet").stat().st_mtime_ns == before
    other = SMALL.model_copy(update={"seed": 9})
    with pytest.raises(DataError, match=r"another synthetic log .*seed=0"):
        synthesize(other, tmp_path)
    assert not synthesize(other, tmp_path, overwrite=True).reused
    (tmp_path / "synthesis.json").unlink()
    with pytest.raises(DataError, match=r"no synthetic log of feedrank: log, truth.*--overwrite"):
        synthesize(other, tmp_path)


_KILLED = """
import os, sys
from features.synthesis import SynthesisConfig, synthesize, writing
writing.report = lambda *args, **counts: os._exit(9)  # as if killed after the first block
synthesize(SynthesisConfig.model_validate_json(sys.argv[1]), sys.argv[2])
"""


def test_an_interrupted_log_is_started_over(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-c", _KILLED, SMALL.model_copy(update={"seed": 5}).model_dump_json(), str(killed)]
    assert subprocess.run(command, check=False).returncode == 9
    assert list(killed.rglob("part-*.parquet"))
    assert not synthesize(SMALL, killed).reused
    synthesize(SMALL, whole)
    assert _hashes(killed) == _hashes(whole)
    assert synthesize(SMALL, killed).reused


def test_the_error_names_the_command_that_overwrites(tmp_path: Path) -> None:
    synthesize(SMALL, tmp_path)
    with pytest.raises(DataError) as caught:
        synthesize(SynthesisConfig(rows=700, seed=2), tmp_path)
    assert f"feedrank data synth {tmp_path} --overwrite --set rows=700 --set seed=2" in str(caught.value)


_PEAK = """
import resource, sys
from features.synthesis import SynthesisConfig, synthesize
synthesize(SynthesisConfig(rows=int(sys.argv[1]), days=3), sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    """Four times the rows, each size already several blocks a day: the peak may differ by noise, not by 900,000 rows of
    about 200 bytes (log and truth), which would be 180 MB."""
    peaks = []
    for rows in (300_000, 1_200_000):
        command = [sys.executable, "-c", _PEAK, str(rows), str(tmp_path / str(rows))]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024)
    assert peaks[1] < peaks[0] + 60
