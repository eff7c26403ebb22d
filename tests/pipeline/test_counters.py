"""Whole ingests that count: by hand, with all that a log may be, and KuaiRand's days beside pandas."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from features.columns import from_lists
from features.errors import DataError
from features.logs import Pseudonyms, kafka_reader
from features.logs.kafka_reader import Identity
from features.spec import DAY, SPLITS, Dataset
from pipeline.components import joining
from pipeline.components.ingest import Folders, ingest
from pipeline.config import Budget, DataConfig

HEADER = "user,item,day,click,note"
COUNTERS = {
    "items": {
        "by": "item",
        "days": 2,
        "days_before": "optional",
        "columns": {
            "shown": "count",
            "clicks": {"of": "click"},
            "rate": {"take": "rate", "of": "click", "prior": 0.5, "strength": 2},
            "unclicked": {"take": "days_since", "of": "click"},
        },
    },
    "pairs": {"by": ["user", "item"], "days": 1, "days_before": "optional", "columns": {"met": "count"}},
}
GIVEN = ["shown", "clicks", "rate", "unclicked", "met"]


def spec(**changes: Any) -> Dataset:
    columns = dict.fromkeys(["user", "item", "day", "click", "note"], "int64")
    return Dataset.model_validate(
        {
            "name": "feed",
            "source": "log/{day}.csv",
            "columns": columns | {"user": "string"},
            "time": {"column": "day", "unit": "yyyymmdd"},
            "counters": COUNTERS,
            "features": {"item": "id", **dict.fromkeys(GIVEN, "numeric")},
            "tasks": {"click": "click"},
            "split": {"train": "2024-01-03", "validation": "2024-01-04", "test": "2024-01-05"},
        }
        | changes
    )


DAYS = {
    1: [
        "u,7,20240101,1,0"
    ],  # before the two days that the first row of the split looks at? No: 01-01 is two before 01-03.
    2: ["u,7,20240102,0,0", "v,7,20240102,1,0", "v,7,20240102,5,0", "v,,20240102,1,0"],
    3: ["u,7,20240103,1,1", "u,7,20240103,1,2", "w,9,20240103,0,3"],
    4: ["u,7,20240104,0,4", "v,9,20240104,1,5"],
    5: ["u,7,20240105,1,6", "u,8,20240105,1,7", "v,,20240105,0,8"],
}
"""A file a day. One row of 01-02 has a click of 5, which no label may be."""
BY_HAND = {
    # note: shown, clicks, rate, days since a click, the pair's yesterday
    1: (3, 2, 3 / 5, 1, 1),
    2: (3, 2, 3 / 5, 1, 1),
    3: (0, 0, 1 / 2, None, 0),
    4: (4, 3, 4 / 6, 1, 2),
    5: (1, 0, 1 / 3, None, 0),
    6: (3, 2, 3 / 5, 2, 1),
    7: (0, 0, 1 / 2, None, 0),
    8: (None, None, None, None, None),
}


def write(path: Path, days: dict[int, list[str]] = DAYS) -> Path:
    (path / "log").mkdir()
    for day, rows in days.items():
        (path / "log" / f"2024-01-0{day}.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def run(dataset: Dataset, path: Path, out: str = "out", **data: Any) -> tuple[dict[str, Any], Folders]:
    folders = Folders(*[str(path / out / name / "7") for name in ("examples", "quarantine", "manifest", "tables")])
    config = DataConfig(path=str(path), budget=Budget(max_share=data.pop("max_share", 0.9)), **data)
    return ingest(dataset, config, folders, beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))), folders


def found(dataset: Dataset, folders: Folders) -> dict[int, tuple[Any, ...]]:
    """The counters of every row that was kept, by its note."""
    rows = [
        row
        for split in SPLITS
        for batch in pq.read_table(f"{folders.examples}/Split-{split}").to_batches()
        for row in from_lists(batch, dataset).to_pylist()
    ]
    return {row["note"]: tuple(row[name] for name in GIVEN) for row in rows}


def approximately(expected: dict[int, tuple[Any, ...]]) -> dict[int, tuple[Any, ...]]:
    return {n: tuple(pytest.approx(v) if isinstance(v, float) else v for v in row) for n, row in expected.items()}


def test_counters_by_hand_with_files_of_earlier_days(tmp_path: Path) -> None:
    manifest, folders = run(spec(), write(tmp_path))
    assert found(spec(), folders) == approximately(BY_HAND)
    assert manifest["counters"]["earlier_files"] == ["log/2024-01-01.csv", "log/2024-01-02.csv"]
    assert manifest["counters"]["absent_days"] == []
    assert manifest["counters"]["entries"] == {"items": 8, "pairs": 9}
    # Rows of the days before the split are counted by counters alone, and the bad one is nobody's dead letter.
    assert (manifest["rows_read"], manifest["quarantined"]["rows"]) == (8, 0)


def test_shards_and_pieces_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "PIECE_BYTES", 40)
    manifest, folders = run(spec(), write(tmp_path), shards=3)
    assert found(spec(), folders) == approximately(BY_HAND)
    assert len([*Path(folders.tables).glob("feedrank_counter-pairs-*.parquet")]) > 1
    assert manifest["counters"]["entries"] == {"items": 8, "pairs": 9}


def test_without_earlier_days_the_first_rows_know_less(tmp_path: Path) -> None:
    path = write(tmp_path, {day: rows for day, rows in DAYS.items() if day > 2})
    manifest, folders = run(spec(), path)
    assert manifest["counters"]["absent_days"] == ["2024-01-01", "2024-01-02"]
    rows = found(spec(), folders)
    assert rows[1] == (0, 0, pytest.approx(0.5), None, 0)
    assert rows[4] == (2, 2, pytest.approx(3 / 4), 1, 2)
    assert rows[6] == approximately(BY_HAND)[6]


def test_duplicates_that_are_dropped_are_not_counted(tmp_path: Path) -> None:
    days = DAYS | {1: DAYS[1] * 2, 4: [*DAYS[4], DAYS[4][0]]}
    path = write(tmp_path, days)
    manifest, folders = run(spec(duplicates="drop"), path)
    assert manifest["duplicates"] == 1
    assert found(spec(), folders) == approximately(BY_HAND)
    _, kept = run(spec(), path, "kept")
    assert found(spec(), kept)[1] == (4, 3, pytest.approx(4 / 6), 1, 1)


def test_rows_that_are_sampled_out_are_counted(tmp_path: Path) -> None:
    many = [f"u,7,20240103,0,{note}" for note in range(100, 200)]
    path = write(tmp_path, DAYS | {3: [*DAYS[3], *many]})
    sampled = spec(downsample={"keep": 0.1})
    manifest, folders = run(sampled, path)
    assert manifest["sampled_out"] > 50
    assert found(sampled, folders)[4] == (104, 3, pytest.approx(4 / 106), 1, 102)


def test_hashed_keys_count_as_the_values_would(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(range(32)))
    columns = {name: column.model_dump() for name, column in spec().columns.items()}
    hashed = spec(columns=columns | {"user": {"type": "string", "personal": "hash"}})
    _, folders = run(hashed, write(tmp_path), hash_key=str(tmp_path / "key"))
    assert found(hashed, folders) == approximately(BY_HAND)
    (kept,) = Path(folders.tables).glob("feedrank_counter-pairs-*.parquet")
    assert not {"u", "v", "w"} & set(pq.read_table(kept)["user"].to_pylist())
    assert Pseudonyms.read(str(tmp_path / "key")) is not None


def test_a_log_of_one_file_counts_rows_before_the_split_too(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("\n".join([HEADER, *(row for rows in DAYS.values() for row in rows)]) + "\n")
    whole = spec(source="log.csv")
    manifest, folders = run(whole, tmp_path)
    assert found(whole, folders) == approximately(BY_HAND)
    reasons = {reason["reason"]: reason["rows"] for reason in manifest["quarantined"]["reasons"]}
    assert reasons == {"bad_label": 1, "time_out_of_range": 4}


def test_a_random_split_counts_all_days(tmp_path: Path) -> None:
    rows = [f"u,{note % 3},2024010{1 + note % 4},{note % 2},{note}" for note in range(60)]
    (tmp_path / "log.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    whole = spec(source="log.csv", split="random")
    _, folders = run(whole, tmp_path)
    # Notes of 1..60: 12 of them give 5 an item and day. Of item 0 on day 2 (n % 12 = 9): 9, 21, ... and day 1 is n % 12 = 0.
    counted = found(whole, folders)
    assert {counted[note][0] for note in range(0, 60, 12)} == {0}
    assert {counted[note][0] for note in range(9, 60, 12)} == {5}
    assert {counted[note][4] for note in range(3, 60, 12)} == {5}


def test_more_entries_than_allowed_stop_the_run(tmp_path: Path) -> None:
    few = spec(counters={"items": COUNTERS["items"] | {"max_entries": 5}}, features={"item": "id"})
    with pytest.raises(DataError, match=r"counter 'items': 8 pairs of item and day were shown; allowed: 5 \(dataset"):
        run(few, write(tmp_path))


def test_counters_of_a_killed_run_do_not_stay(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "tables" / "7"
    folder.mkdir(parents=True)
    (folder / "feedrank_counter-items-00099.parquet").write_text("half of a file")
    _, folders = run(spec(), write(tmp_path))
    assert found(spec(), folders) == approximately(BY_HAND)


# -- real days ---------------------------------------------------------------------------------------------------------


def by_pandas(log: pd.DataFrame, keys: list[str], days: int) -> pd.DataFrame:
    """Impressions and clicks of the days before each row's own, by cumulated sums of a whole calendar."""
    log = log.assign(when=pd.to_datetime(log["date"].astype(str)))
    daily = log.groupby([*keys, "when"])["is_click"].agg(["size", "sum"]).unstack("when", fill_value=0)
    calendar = pd.date_range(log["when"].min() - datetime.timedelta(days=days), log["when"].max())
    result = {}
    for name in ("size", "sum"):
        wide = daily[name].reindex(columns=calendar, fill_value=0)
        before = wide.cumsum(axis=1).shift(1, axis=1, fill_value=0)
        window = before - before.shift(days, axis=1, fill_value=0)
        result[name] = window.stack()
    index = pd.MultiIndex.from_frame(log[[*keys, "when"]])
    return pd.DataFrame({name: values.reindex(index).to_numpy() for name, values in result.items()}, index=log.index)
