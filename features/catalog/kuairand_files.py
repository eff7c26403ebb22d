"""From KuaiRand's official logs to the files that the catalog's `kuairand`, `kuairand_1k` and `kuairand_27k` read.

    python -m features.catalog.kuairand_files data/kuairand

reads ``log_standard_4_08_to_4_21_*.csv`` and ``log_standard_4_22_to_5_08_*.csv`` there. Of Pure it writes, beside them, the
days 04-25 to 04-30 as ``log_standard_4_25_to_4_30_pure.csv`` and what each user did before as ``user_history_upto_0424.parquet``;
of 1K and 27K, whose later log is read as it is, what each user did in the earlier one as ``user_history_upto_0421.parquet``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from features.errors import DataError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FIRST_DAY, LAST_DAY = 20220425, 20220430
"""Days of Pure's log that is written; all before them is history."""
LENGTH = 50
"""Items at most in each list of the history."""
_PERIODS = ("4_08_to_4_21", "4_22_to_5_08")
_READ = ("user_id", "video_id", "time_ms", "is_like", "long_view")
_PART = re.compile(r"_part(\d+)$")
_BLOCK_BYTES = 256 << 20


def prepare(directory: Path) -> tuple[Path, ...]:
    """Writes the users' earlier history, of Pure also the log of the catalog's days.

    Args:
        directory: holds the official standard logs of one version (pure, 1k or 27k; in parts or whole).

    Returns:
        What was written: the log (Pure alone) and the history.

    Raises:
        DataError: if a period's log is missing, or logs of several versions are there.
    """
    periods = [_official(directory, period) for period in _PERIODS]
    versions = {file.stem.split("_")[7] for files in periods for file in files}
    if len(versions) != 1:
        raise DataError(f"{directory} holds logs of versions {', '.join(sorted(versions))}; keep those of one version")
    for files in periods:
        _check_whole(directory, files)
    if "pure" in versions:
        return _prepare_pure(directory, [file for files in periods for file in files])
    target = directory / "user_history_upto_0421.parquet"
    pq.write_table(history(block for file in periods[0] for block in _blocks(file)), target)
    return (target,)


def _prepare_pure(directory: Path, files: list[Path]) -> tuple[Path, Path]:
    log = pa.concat_tables([pacsv.read_csv(file) for file in files])
    written, earlier = directory / "log_standard_4_25_to_4_30_pure.csv", directory / "user_history_upto_0424.parquet"
    days = log["date"]
    pacsv.write_csv(log.filter(pc.and_(pc.greater_equal(days, FIRST_DAY), pc.less_equal(days, LAST_DAY))), written)
    pq.write_table(history([log.filter(pc.less(days, FIRST_DAY))]), earlier)
    return written, earlier


def _blocks(file: Path) -> Iterator[pa.Table]:
    options = pacsv.ConvertOptions(include_columns=_READ, column_types=dict.fromkeys(_READ, pa.int64()), null_values=[])
    for batch in pacsv.open_csv(file, pacsv.ReadOptions(block_size=_BLOCK_BYTES), convert_options=options):
        yield pa.Table.from_batches([batch])


def history(logs: Iterable[pa.Table]) -> pa.Table:
    """What each user did in a log, which may come in parts: only what the lists can hold stays in memory.

    Args:
        logs: impressions with ``user_id, video_id, time_ms, is_like, long_view``, in any order; of the same time, the later
            one counts as later.

    Returns:
        One row a user: ``user_id``, ``history_len`` (impressions), ``last_time_ms``, and the last `LENGTH` videos watched,
        liked and watched long as ``watch_seq``, ``like_seq``, ``long_watch_seq``, oldest first.
    """
    latest, counts = _Latest(*np.zeros((len(_READ), 0), np.int64)), []
    for log in logs:
        new = _Latest(*(log[name].to_numpy() for name in _READ))
        latest = _Latest(*map(np.concatenate, zip(latest, new, strict=True))).cut()
        counts.append(np.unique(new.user, return_counts=True))
    users, row_user = np.unique(latest.user, return_inverse=True)
    lengths = np.zeros(len(users), np.int64)
    for some, rows in counts:
        lengths[np.searchsorted(users, some)] += rows
    last = np.searchsorted(row_user, np.arange(len(users)), side="right") - 1
    names = ("watch_seq", "like_seq", "long_watch_seq")
    return pa.table(
        {
            "user_id": users,
            "history_len": lengths,
            "last_time_ms": latest.time[last],
            **{
                name: _last(latest.video[kept], row_user[kept], len(users))
                for name, kept in zip(names, latest.kinds(), strict=True)
            },
        }
    )


class _Latest(NamedTuple):
    """Impressions, one value each, int64."""

    user: Ints
    video: Ints
    time: Ints
    like: Ints
    long: Ints

    def kinds(self) -> tuple[Bools, Bools, Bools]:
        """Which were watched, liked, watched long."""
        return np.ones(len(self.user), bool), self.like == 1, self.long == 1

    def cut(self) -> _Latest:
        """Those that are among the last `LENGTH` of their user and kind, ordered by user, then time, then as they came."""
        order = np.lexsort((self.time, self.user))
        ordered = _Latest(*(values[order] for values in self))
        ends = np.flatnonzero(np.append(ordered.user[1:] != ordered.user[:-1], True)[: len(order)])
        wanted = np.zeros(len(order), bool)
        for kind in ordered.kinds():
            seen = np.cumsum(kind)
            of_user = np.repeat(seen[ends], np.diff(ends, prepend=-1))
            wanted |= kind & (of_user - seen < LENGTH)
        return _Latest(*(values[wanted] for values in ordered))


def _last(videos: Ints, users: Ints, number: int) -> pa.ListArray:
    """The last `LENGTH` videos of each user; both arrays are ordered by user, then time."""
    counts = np.bincount(users, minlength=number)
    ends = np.cumsum(counts)
    kept = np.arange(len(videos)) >= (ends - LENGTH)[users]
    offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, LENGTH))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(videos[kept], pa.int64()))


def _official(directory: Path, period: str) -> list[Path]:
    files = sorted(directory.glob(f"log_standard_{period}_*.csv"))
    if not files:
        there = ", ".join(sorted(path.name for path in directory.glob("*.csv"))) or "no CSV file"
        raise DataError(f"no log_standard_{period}_*.csv in {directory}, which holds {there}")
    return files


def _check_whole(directory: Path, files: list[Path]) -> None:
    """Of a period in parts both must be there."""
    parts = {found[0] for file in files if (found := _PART.findall(file.stem))}
    if parts and parts != {"1", "2"}:
        raise DataError(
            f"{directory} holds {', '.join(file.name for file in files)} of that log's two parts; allowed: both, or the log as a whole"
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m features.catalog.kuairand_files DIRECTORY")
    try:
        print(*prepare(Path(sys.argv[1])), sep="\n")
    except DataError as error:
        sys.exit(f"error: {error}")
