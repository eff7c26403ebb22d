"""From KuaiRand's official logs to the two files that the catalog's `kuairand` reads.

    python -m features.catalog.kuairand_files data/kuairand

reads ``log_standard_4_08_to_4_21_*.csv`` and ``log_standard_4_22_to_5_08_*.csv`` there and writes, beside them, the days
04-25 to 04-30 as ``log_standard_4_25_to_4_30_<version>.csv`` and what each user did before as
``user_history_upto_0424.parquet``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from features.errors import DataError

FIRST_DAY, LAST_DAY = 20220425, 20220430
"""Days of the log that is written; all before them is history."""
HISTORY = "user_history_upto_0424.parquet"
LENGTH = 50
"""Items at most in each list of the history."""
_PERIODS = ("4_08_to_4_21", "4_22_to_5_08")


def prepare(directory: Path) -> tuple[Path, Path]:
    """Writes the log of the catalog's days and the users' earlier history.

    Args:
        directory: holds the official standard logs of one version (pure, 1k or 27k; in parts or whole).

    Returns:
        The log and the history.

    Raises:
        DataError: if a period's log is missing, or logs of several versions are there.
    """
    files = [file for period in _PERIODS for file in _official(directory, period)]
    versions = {file.stem.split("_")[7] for file in files}
    if len(versions) != 1:
        raise DataError(f"{directory} holds logs of versions {', '.join(sorted(versions))}; keep those of one version")
    log = pa.concat_tables([pacsv.read_csv(file) for file in files])
    target = directory / f"log_standard_4_25_to_4_30_{versions.pop()}.csv"
    days = log["date"]
    pacsv.write_csv(log.filter(pc.and_(pc.greater_equal(days, FIRST_DAY), pc.less_equal(days, LAST_DAY))), target)
    earlier = history(log.filter(pc.less(days, FIRST_DAY)))
    pq.write_table(earlier, directory / HISTORY)
    return target, directory / HISTORY


def history(log: pa.Table) -> pa.Table:
    """What each user did in a log.

    Args:
        log: impressions with ``user_id, video_id, time_ms, is_like, long_view``.

    Returns:
        One row a user: ``user_id``, ``history_len`` (impressions), ``last_time_ms``, and the last `LENGTH` videos watched,
        liked and watched long as ``watch_seq``, ``like_seq``, ``long_watch_seq``, oldest first.
    """
    log = log.sort_by([("user_id", "ascending"), ("time_ms", "ascending")])
    users, first, counts = np.unique(log["user_id"].to_numpy(), return_index=True, return_counts=True)
    row_user = np.repeat(np.arange(len(users)), counts)
    videos = log["video_id"].to_numpy()
    kinds = {
        "watch_seq": np.ones(len(videos), bool),
        "like_seq": log["is_like"].to_numpy() == 1,
        "long_watch_seq": log["long_view"].to_numpy() == 1,
    }
    return pa.table(
        {
            "user_id": users,
            "history_len": counts,
            "last_time_ms": log["time_ms"].to_numpy()[first + counts - 1],
            **{name: _last(videos[kept], row_user[kept], len(users)) for name, kept in kinds.items()},
        }
    )


def _last(videos: np.ndarray[Any, Any], users: np.ndarray[Any, Any], number: int) -> pa.ListArray:
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


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m features.catalog.kuairand_files DIRECTORY")
    try:
        print(*prepare(Path(sys.argv[1])), sep="\n")
    except DataError as error:
        sys.exit(f"error: {error}")
