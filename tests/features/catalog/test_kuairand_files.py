"""The official logs cut into the catalog's days and the history before them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalog import kuairand_files
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
    (row,) = history([log.set_column(3, "is_like", log["is_like"].cast(pa.int64()))]).to_pylist()
    assert row["history_len"] == count
    assert row["last_time_ms"] == count
    assert row["watch_seq"] == list(range(49, -1, -1))
    assert row["like_seq"] == [60, 0]
    assert row["long_watch_seq"] == []


IMPRESSIONS = st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 9), st.integers(0, 1), st.integers(0, 1))


@given(rows=st.lists(st.lists(IMPRESSIONS, max_size=8), max_size=5))
def test_a_log_in_parts_is_that_of_one_row_after_the_other(rows: list[list[tuple[int, ...]]]) -> None:
    whole = sorted((row for part in rows for row in part), key=lambda row: row[2])  # stable
    expected = []
    for user in sorted({row[0] for row in whole}):
        own = [row for row in whole if row[0] == user]
        lists = [[row[1] for row in own if kept(row)][-3:] for kept in (lambda r: True, lambda r: r[3], lambda r: r[4])]
        expected.append((user, len(own), own[-1][2], *lists))
    names = ("user_id", "video_id", "time_ms", "is_like", "long_view")
    parts = [
        pa.table({name: pa.array([row[at] for row in part], pa.int64()) for at, name in enumerate(names)})
        for part in rows
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kuairand_files, "LENGTH", 3)
        found = history(parts)
    assert [tuple(row.values()) for row in found.to_pylist()] == expected


@pytest.mark.parametrize("parts", [("_1k",), ("_27k_part1", "_27k_part2")])
def test_the_larger_versions_keep_their_later_log(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(kuairand_files, "_BLOCK_BYTES", 64)
    first, second = ["7,1,20220421,10,1,0", "3,2,20220421,20,0,1"], ["7,4,20220420,5,0,0", "7,5,20220421,30,0,1"]
    halves = [first, second] if len(parts) == 2 else [first + second]
    for part, lines in zip(parts, halves, strict=True):
        (tmp_path / f"log_standard_4_08_to_4_21{part}.csv").write_text(HEADER + "\n".join(lines) + "\n")
        (tmp_path / f"log_standard_4_22_to_5_08{part}.csv").write_text(f"{HEADER}7,6,20220425,40,1,1\n")
    before = set(tmp_path.iterdir())
    (earlier,) = prepare(tmp_path)
    assert set(tmp_path.iterdir()) - before == {tmp_path / "user_history_upto_0421.parquet"} == {earlier}
    assert [(row["user_id"], row["history_len"], row["watch_seq"]) for row in pq.read_table(earlier).to_pylist()] == [
        (3, 1, [2]),
        (7, 3, [4, 1, 5]),
    ]


def test_versions_are_not_mixed(tmp_path):
    for name in ("4_08_to_4_21_1k", "4_22_to_5_08_27k_part1"):
        (tmp_path / f"log_standard_{name}.csv").write_text(HEADER)
    with pytest.raises(DataError, match="logs of versions 1k, 27k; keep those of one version"):
        prepare(tmp_path)


def test_missing_logs_are_named(tmp_path):
    (tmp_path / "other.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"no log_standard_4_08_to_4_21_\*\.csv in .* holds other\.csv"):
        prepare(tmp_path)
