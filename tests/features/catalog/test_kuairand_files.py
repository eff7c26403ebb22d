"""The official logs cut into the catalog's days and the history before them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from features.catalog.kuairand_files import history, prepare
from features.errors import DataError

HEADER = "user_id,video_id,date,time_ms,is_like,long_view\n"


def test_days_are_split_and_each_list_is_cut_on_its_own(tmp_path):
    early = ["7,1,20220421,10,1,0", "3,2,20220421,20,0,1"]
    late = ["7,5,20220424,30,0,1", "7,6,20220425,40,1,1", "3,8,20220430,50,0,0", "3,9,20220501,60,0,0"]
    (tmp_path / "log_standard_4_08_to_4_21_pure.csv").write_text(HEADER + "\n".join(early) + "\n")
    (tmp_path / "log_standard_4_22_to_5_08_pure.csv").write_text(HEADER + "\n".join(late) + "\n")
    log, earlier = prepare(tmp_path)
    assert log.name == "log_standard_4_25_to_4_30_pure.csv"
    assert pacsv.read_csv(log)["video_id"].to_pylist() == [6, 8]
    assert pq.read_table(earlier).to_pylist() == [
        {"user_id": 3, "history_len": 1, "last_time_ms": 20, "watch_seq": [2], "like_seq": [], "long_watch_seq": [2]},
        {
            "user_id": 7,
            "history_len": 2,
            "last_time_ms": 30,
            "watch_seq": [1, 5],
            "like_seq": [1],
            "long_watch_seq": [5],
        },
    ]


def test_lists_keep_the_last_fifty_oldest_first():
    count = 120
    log = pa.table(
        {
            "user_id": [1] * count,
            "video_id": list(range(count)),
            "time_ms": list(range(count, 0, -1)),
            "is_like": [video % 60 == 0 for video in range(count)],
            "long_view": [0] * count,
        }
    )
    (row,) = history(log.set_column(3, "is_like", log["is_like"].cast(pa.int64()))).to_pylist()
    assert row["history_len"] == count
    assert row["last_time_ms"] == count
    assert row["watch_seq"] == list(range(49, -1, -1))
    assert row["like_seq"] == [60, 0]
    assert row["long_watch_seq"] == []


def test_missing_logs_are_named(tmp_path):
    (tmp_path / "other.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"no log_standard_4_08_to_4_21_\*\.csv in .* holds other\.csv"):
        prepare(tmp_path)
