"""Whole ingests that count: by hand, with all that a log may be, and KuaiRand's days beside pandas."""

from __future__ import annotations

import json
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
from features.logs import kafka_reader
from features.logs.kafka_slice import Identity
from features.logs.pieces import Piece
from features.logs.row_ids import row_ids
from features.spec import ROW_ID, SPLITS, Dataset
from pipeline.components import found_log, joining
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
    assert manifest["counters"]["days"] == {"20240101": 1, "20240102": 3}  # one of four rows is bad
    assert manifest["counters"]["entries"] == {"items": 8, "pairs": 9}
    # Rows of the days before the split are counted by counters alone; of them, too, the bad one is told.
    assert (manifest["rows_read"], manifest["quarantined"]["rows"]) == (8, 0)
    assert (manifest["counters"]["rows_read"], manifest["counters"]["quarantined"]["rows"]) == (5, 1)
    (letter,) = pq.read_table(folders.quarantine).to_pylist()
    assert (letter["file"], letter["row"], letter["reason"]) == ("log/2024-01-02.csv", 3, "bad_label")


def test_earlier_days_that_cannot_be_read_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"earlier days of feed, for counters: 1 of 5 rows \(20.00%\) are malformed"
    ) as stop:
        run(spec(), write(tmp_path), max_share=0.1)
    assert "log/2024-01-02.csv, row 3, value '5'" in str(stop.value)


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


def test_a_slice_of_a_topic_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker is a dictionary."""
    sent = [dict(zip(HEADER.split(","), row.split(","), strict=True)) for rows in DAYS.values() for row in rows]

    def messages(kafka: Any, piece: Piece) -> Any:
        del kafka
        yield [
            kafka_reader.Message(
                offset, json.dumps({n: v if n == "user" else int(v) for n, v in row.items() if v}).encode(), time_ms=0
            )
            for offset, row in enumerate(sent)
            if piece.begin <= offset < (piece.end or 0)
        ]

    monkeypatch.setattr(kafka_reader, "_messages", messages)
    monkeypatch.setattr(kafka_reader, "CHUNK_OFFSETS", 4)
    monkeypatch.setattr(found_log, "check_slice", lambda _: Identity("cluster", "topic"))
    kafka = {"servers": "nowhere:1", "topic": "shown", "offsets": {0: [0, len(sent)]}}
    topic = spec(source={"kafka": kafka})
    manifest, folders = run(topic, tmp_path)
    assert found(topic, folders) == approximately(BY_HAND)
    assert manifest["rows_read"] == len(sent)


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


FEED = {
    "name": "pure",
    "source": "log_standard_4_25_to_4_30_pure.csv",
    "columns": dict.fromkeys(["user_id", "video_id", "date", "is_click", "is_like"], "int64"),
    "time": {"column": "date", "unit": "yyyymmdd"},
    "tables": {
        "videos": {
            "source": "video_features_basic_pure.csv",
            "on": "video_id",
            "columns": {"video_id": "int64", "author_id": "int64"},
        }
    },
    "tasks": {"click": "is_click", "like": "is_like"},
    "split": {"train": ["2022-04-25", "2022-04-28"], "validation": "2022-04-29", "test": "2022-04-30"},
}


def by_pandas(log: pd.DataFrame, keys: list[str], days: int) -> pd.DataFrame:
    """Impressions, clicks, likes and days since a click before each row's day, by cumulated sums over a calendar."""
    daily = log.groupby([*keys, "when"])[["is_click", "is_like"]].sum()
    daily["shown"] = log.groupby([*keys, "when"]).size()
    calendar = pd.date_range(log["when"].min(), log["when"].max())
    index = pd.MultiIndex.from_frame(log[[*keys, "when"]])
    counted = {}
    for name in ("shown", "is_click", "is_like"):
        wide = daily[name].unstack("when", fill_value=0).reindex(columns=calendar, fill_value=0)
        before = wide.cumsum(axis=1).shift(1, axis=1, fill_value=0)
        window = before - before.shift(days, axis=1, fill_value=0)
        counted[name] = window.stack().reindex(index).to_numpy()
        if name == "is_click":
            numbers = np.where(wide > 0, np.arange(len(calendar)), -1)
            latest = pd.DataFrame(numbers, wide.index, calendar).cummax(axis=1).shift(1, axis=1, fill_value=-1)
            since = pd.DataFrame(np.arange(len(calendar)) - latest.to_numpy(), wide.index, calendar)
            since = since.where((latest >= 0).to_numpy() & (since <= days).to_numpy())
            counted["since"] = since.stack(dropna=False).reindex(index).to_numpy()
    return pd.DataFrame(counted)


def test_kuairand_is_counted_as_pandas_counts_it(test_data: Any, tmp_path: Path) -> None:
    path = test_data / "kuairand"
    by = {"video": "video_id", "author": "author_id", "pair": ["user_id", "author_id"], "user": "user_id"}

    def columns(name: str) -> dict[str, Any]:
        rate = {"take": "rate", "of": "is_click", "prior": 0.4, "strength": 10}
        clicks, likes = {"of": "is_click"}, {"of": "is_like", "equals": 1}
        since = {"take": "days_since", "of": "is_click"}
        taken = {"shown": "count", "clicks": clicks, "likes": likes, "rate": rate, "since": since}
        return {f"{name}_{what}": column for what, column in taken.items()}

    days = {"video": 1, "author": 3, "pair": 2, "user": 30}
    dataset = Dataset.model_validate(
        FEED
        | {
            "counters": {name: {"by": by[name], "days": days[name], "columns": columns(name)} for name in by},
            "features": {"user_id": "id", "author_id": "id", "video_id": "id"},
        }
    )
    folders = Folders(*[str(tmp_path / name) for name in ("examples", "quarantine", "manifest", "tables")])
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))
    manifest = ingest(dataset, DataConfig(path=str(path)), folders, pipeline)
    log = pd.read_csv(path / "log_standard_4_25_to_4_30_pure.csv")
    log = log.merge(pd.read_csv(path / "video_features_basic_pure.csv")[["video_id", "author_id"]], how="left")
    log["when"] = pd.to_datetime(log["date"].astype(str))
    batches = [b for s in SPLITS for b in pq.read_table(f"{folders.examples}/Split-{s}").to_batches()]
    ingested = pd.concat([from_lists(batch, dataset).to_pandas() for batch in batches]).set_index(ROW_ID)
    assert len(ingested) == len(log) == manifest["rows_read"]
    ids = row_ids("log_standard_4_25_to_4_30_pure.csv", np.arange(1, len(log) + 1))
    ingested = ingested.loc[ids].reset_index()
    assert (ingested["video_id"].to_numpy() == log["video_id"].to_numpy()).all()
    for name, keys in by.items():
        expected = by_pandas(log, [keys] if isinstance(keys, str) else keys, days[name])
        for what, of in {"shown": "shown", "clicks": "is_click", "likes": "is_like", "since": "since"}.items():
            np.testing.assert_array_equal(ingested[f"{name}_{what}"].to_numpy(float), expected[of].to_numpy(float))
        rate = (expected["is_click"] + 4) / (expected["shown"] + 10)
        np.testing.assert_allclose(ingested[f"{name}_rate"], rate, rtol=1e-6)
        assert expected["is_click"].sum() > 50  # pairs are rare
        assert expected["since"].notna().sum() > 50
