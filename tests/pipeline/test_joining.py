"""Whole ingests of two logs: what is joined, kept and counted, and that shards, pieces and days change nothing."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from features.columns import from_lists
from features.errors import ConfigError, DataError
from features.logs import Tables, kafka_reader, read_log
from features.logs.kafka_slice import Identity
from features.logs.pieces import Piece
from features.logs.row_ids import row_ids
from features.spec import ROW_ID, SPLITS, Dataset
from pipeline.components import found_log, joining
from pipeline.components.ingest import Folders, ingest
from pipeline.components.joining import OTHERS
from pipeline.config import Budget, DataConfig
from tests.bigquery_server import bigquery_server

HOUR = 3_600_000
FIRST = 1_704_067_200_000
"""2024-01-01 00:00 UTC in milliseconds."""
WINDOW_HOURS = 6
SHOWN = ["request", "item", "time", "age"]
ACTED = ["request", "item", "at", "action", "ms"]
Row = dict[str, Any]


def spec(**changes: Any) -> Dataset:
    actions = {
        "source": "actions/{day}.csv",
        "columns": {"request": "string", "item": "int64", "at": "int64", "action": "string", "ms": "int64"},
        "on": ["request", "item"],
        "time": "at",
        "window": f"{WINDOW_HOURS}h",
        "labels": {
            "liked": {"column": "action", "equals": "like"},
            "watch_ms": {"column": "ms", "where": {"action": "play"}, "take": "sum"},
        },
    }
    dataset = {
        "name": "feed",
        "source": "log/{day}*.csv",
        "columns": {"request": "string", "item": "int64", "time": "int64", "age": "float32"},
        "time": "time",
        "actions": actions | changes.pop("actions", {}),
        "features": {"item": "id", "age": "numeric"},
        "tasks": {"like": "liked", "watch": {"label": "watch_ms", "kind": "regression"}},
        "split": {"train": "2024-01-01", "validation": "2024-01-02", "test": "2024-01-03"},
    }
    return Dataset.model_validate(dataset | changes)


def write(path: Path, names: list[str], rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)


def write_days(path: Path, shown: list[Row], acted: list[Row]) -> None:
    """Both logs, a file a day, of the four days from the first."""
    for day in range(4):
        name = f"2024-01-0{day + 1}"
        write(
            path / "log" / f"{name}.csv", SHOWN, [row for row in shown if (row["time"] - FIRST) // (24 * HOUR) == day]
        )
        write(
            path / "actions" / f"{name}.csv", ACTED, [row for row in acted if (row["at"] - FIRST) // (24 * HOUR) == day]
        )


def run(dataset: Dataset, path: Path, out: str = "out", **data: Any) -> tuple[dict[str, Any], Folders]:
    root = path / out / "ingest"
    folders = Folders(*[str(root / name / "7") for name in ("examples", "quarantine", "manifest", "tables")])
    config = DataConfig(path=str(path), budget=Budget(max_share=data.pop("max_share", 0.5)), **data)
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))
    return ingest(dataset, config, folders, pipeline), folders


def examples(dataset: Dataset, folders: Folders) -> list[Row]:
    rows: list[Row] = []
    for split in SPLITS:
        for batch in pq.read_table(f"{folders.examples}/Split-{split}").to_batches():
            rows += [row | {"split": split} for row in from_lists(batch, dataset).to_pylist()]
    return sorted(rows, key=lambda row: row[ROW_ID])


def others(folders: Folders) -> list[Row]:
    rows: list[Row] = pq.read_table(f"{folders.quarantine}/{OTHERS}").to_pylist()
    return sorted(rows, key=lambda row: (row["feedrank_file"], row["feedrank_row"]))


def by_hand(path: Path) -> Path:
    noon = FIRST + 12 * HOUR
    late = FIRST + 71 * HOUR  # 23:00 of the third and last day
    shown = [
        {"request": "r1", "item": 1, "time": noon, "age": 1},
        {"request": "r1", "item": 2, "time": noon, "age": 2},
        {"request": "", "item": 3, "time": noon, "age": 3},
        {"request": "r2", "item": 1, "time": noon, "age": "old"},
        {"request": "r3", "item": 1, "time": noon + 24 * HOUR, "age": 4},
        {"request": "r4", "item": 1, "time": late, "age": 5},
        {"request": "r4", "item": 1, "time": late + 2 * HOUR, "age": 6},  # a day that no part of the split has
    ]
    acted = [
        {"request": "r1", "item": 1, "at": noon, "action": "like", "ms": ""},
        {"request": "r1", "item": 2, "at": noon + 1, "action": "play", "ms": 700},
        {"request": "r1", "item": 2, "at": noon + 1, "action": "play", "ms": 700},  # a duplicate
        {"request": "r1", "item": 2, "at": noon + WINDOW_HOURS * HOUR, "action": "play", "ms": 50},
        {"request": "r1", "item": 2, "at": noon + WINDOW_HOURS * HOUR + 1, "action": "like", "ms": ""},  # too late
        {"request": "r2", "item": 1, "at": noon, "action": "like", "ms": ""},  # of a row that is quarantined
        {"request": "r9", "item": 1, "at": noon, "action": "like", "ms": ""},  # of no impression
        {"request": "", "item": 3, "at": noon, "action": "like", "ms": ""},
        {"request": "r1", "item": 1, "at": noon, "action": "play", "ms": "long"},  # no number
        {"request": "r3", "item": 1, "at": noon + 24 * HOUR - 1, "action": "like", "ms": ""},  # too early
        {"request": "r4", "item": 1, "at": late + HOUR, "action": "like", "ms": ""},  # on the fourth day
        {
            "request": "r4",
            "item": 1,
            "at": late + 3 * HOUR,
            "action": "play",
            "ms": 9,
        },  # of the fourth day's impression
    ]
    write_days(path, shown, acted)
    return path


def test_what_is_joined_kept_and_counted(tmp_path: Path) -> None:
    manifest, folders = run(spec(), by_hand(tmp_path))
    assert manifest == json.loads((Path(folders.manifest) / "manifest.json").read_text())
    assert (manifest["rows_read"], manifest["rows_out"]) == (6, {"train": 3, "validation": 1, "test": 1})
    assert manifest["quarantined"]["rows"] == 1
    rows = {row["age"]: row for row in examples(spec(), folders)}
    labels = {age: (row["label_like"], row["label_watch"]) for age, row in rows.items()}
    assert labels == {1: (1, 0), 2: (0, 750), 3: (0, 0), 4: (0, 0), 5: (1, 0)}
    assert "liked" not in rows[1]
    actions = manifest["actions"]
    assert (actions["rows_read"], actions["attributed"], actions["of_rows_out"]) == (12, 6, 4)
    assert actions["others"] == {
        "duplicate": 1,
        "without_key": 1,
        "without_impression": 1,
        "before_impression": 1,
        "after_window": 1,
    }
    assert [(f["path"], f["rows"]) for f in actions["files"]] == [
        ("actions/2024-01-01.csv", 9),
        ("actions/2024-01-02.csv", 1),
        ("actions/2024-01-03.csv", 0),
        ("actions/2024-01-04.csv", 2),
    ]
    assert actions["days"] == {"20240101": 8, "20240102": 1, "20240104": 2}  # without the one that is no number
    assert actions["later_files"] == ["log/2024-01-04.csv"]
    (reason,) = actions["quarantined"]["reasons"]
    assert (reason["reason"], reason["column"], reason["rows"]) == ("bad_number", "ms", 1)
    assert reason["example"] == {"file": "actions/2024-01-01.csv", "row": 9, "value": "long"}
    assert [(row["feedrank_row"], row["feedrank_reason"], row["request"], row["ms"]) for row in others(folders)] == [
        (3, "duplicate", "r1", 700),
        (5, "after_window", "r1", None),
        (7, "without_impression", "r9", None),
        (8, "without_key", None, None),
        (1, "before_impression", "r3", None),
    ]
    letters = pq.read_table(folders.quarantine).to_pylist()
    assert sorted((row["file"], row["row"], row["column"]) for row in letters) == [
        ("actions/2024-01-01.csv", 9, "ms"),
        ("log/2024-01-01.csv", 4, "age"),
    ]
    assert sorted(p.name for p in Path(folders.manifest).iterdir()) == ["manifest.json"]


def test_actions_of_rows_that_are_sampled_out_are_not_of_rows_out(tmp_path: Path) -> None:
    """Of the training rows the first is liked; the second has two plays and is negative, as is the third."""
    manifest, folders = run(spec(downsample={"keep": 1e-9}), by_hand(tmp_path))
    assert manifest["rows_out"] == {"train": 1, "validation": 1, "test": 1}
    assert (manifest["rows_read"], manifest["sampled_out"], manifest["quarantined"]["rows"]) == (6, 2, 1)
    assert {row["age"]: row["label_like"] for row in examples(spec(), folders)} == {1: 1, 4: 0, 5: 1}
    actions = manifest["actions"]
    assert (actions["rows_read"], actions["attributed"], actions["of_rows_out"]) == (12, 6, 2)


def test_days_that_the_window_reaches_into(tmp_path: Path) -> None:
    path = by_hand(tmp_path)
    (path / "log" / "2024-01-04.csv").unlink()
    with pytest.raises(
        DataError, match=r"reaches into 1 day behind the split's, and 2024-01-04 lack files .*days_after: optional"
    ):
        run(spec(), path)
    manifest, folders = run(spec(actions={"days_after": "optional"}), path, "optional")
    assert manifest["actions"]["absent_days"] == ["2024-01-04"]
    assert [f["path"] for f in manifest["actions"]["files"]][-1] == "actions/2024-01-03.csv"
    assert [row["label_like"] for row in examples(spec(), folders) if row["age"] == 5] == [0]


def test_actions_over_the_budget(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"actions of feed: 1 of 12 rows \(8.33%\) are malformed"):
        run(
            spec(tasks={"like": "liked"}, columns=spec().columns | {"age": "string"}, features={"item": "id"}),
            by_hand(tmp_path),
            max_share=0.01,
        )
    kept = tmp_path / "out" / "ingest" / "stopped" / "7"
    assert pq.read_table(kept / "quarantine").num_rows == 1
    assert pq.read_table(kept / "quarantine" / OTHERS).num_rows == 5


def test_a_file_without_actions_is_told(tmp_path: Path) -> None:
    path = by_hand(tmp_path)
    for file in (path / "actions").iterdir():
        with file.open(encoding="utf-8") as stream:
            rows = [
                {n: v if n in ("request", "action") else int(v or 0) for n, v in r.items() if v != "long"}
                for r in csv.DictReader(stream)
            ]
        file.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest, _ = run(spec(actions={"source": "actions/{day}.jsonl"}), path)
    assert [(f["path"][-8:], f["rows"]) for f in manifest["actions"]["files"]] == [
        ("01.jsonl", 9),
        ("02.jsonl", 1),
        ("03.jsonl", 0),
        ("04.jsonl", 2),
    ]


def test_a_worker_that_dies_leaves_no_part_of_the_actions_without_impression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(table: Any, stream: Any) -> None:
        del table
        stream.write(b"PAR1 and no more")
        raise OSError("no space")

    monkeypatch.setattr(joining.pq, "write_table", killed)
    with pytest.raises(Exception, match="no space"):
        run(spec(), by_hand(tmp_path))
    quarantine = tmp_path / "out" / "ingest" / "quarantine" / "7"
    assert [file for file in (quarantine / OTHERS).rglob("*") if file.is_file()] == []


def test_labels_are_asked_for_where_no_actions_were_joined(tmp_path: Path) -> None:
    path = by_hand(tmp_path)
    with pytest.raises(ConfigError, match=r"the labels of 'feed' come from a log of actions \(actions/{day}.csv\)"):
        list(read_log(spec(), str(path), Tables()))
    batches = list(read_log(spec(), str(path), Tables(), labels=False, split=False))
    assert sum(batch.rows.num_rows for batch in batches) == 5


def random_days(path: Path, seed: int) -> None:
    """Few keys, and times that are often equal, so that impressions compete and actions repeat."""
    draw = random.Random(seed)

    def shown() -> Row:
        return {
            "request": f"r{draw.randrange(12)}",
            "item": draw.randrange(2),
            "time": FIRST + draw.randrange(4 * 24) * HOUR,
            "age": draw.randrange(9),
        }

    def acted() -> Row:
        kind = draw.choice(["like", "play"])
        row = {
            "request": draw.choice(["", *[f"r{i}" for i in range(14)]]),
            "item": draw.randrange(2),
            "at": FIRST + draw.randrange(4 * 24) * HOUR,
        }
        return row | {"action": kind, "ms": draw.randrange(3) if kind == "play" else ""}

    write_days(path, [shown() for _ in range(400)], [acted() for _ in range(900)])


def read_rows(path: Path, folder: str) -> list[Row]:
    """Both logs with Python's csv module, in the order of files and rows."""
    rows = []
    for file in sorted((path / folder).iterdir()):
        with file.open(encoding="utf-8") as stream:
            rows += [{"file": file.name, "row": n} | row for n, row in enumerate(csv.DictReader(stream), start=1)]
    return rows


def naive(path: Path) -> tuple[dict[tuple[str, int], list[int]], dict[str, int]]:
    """A loop over all: ``{impression: [liked, watch_ms]}``, and how many actions had which outcome."""
    outcomes: dict[str, int] = {}
    seen: set[tuple[str, ...]] = set()
    shown = read_rows(path, "log")
    labels = {(row["file"], row["row"]): [0, 0] for row in shown}

    def outcome(action: Row) -> str:
        values = tuple(action[name] for name in ACTED)
        if values in seen:
            return "duplicate"
        seen.add(values)
        if not action["request"]:
            return "without_key"
        mine = [row for row in shown if (row["request"], row["item"]) == (action["request"], action["item"])]
        before = [row for row in mine if int(row["time"]) <= int(action["at"])]
        if not before:
            return "before_impression" if mine else "without_impression"
        latest = max(int(row["time"]) for row in before)
        if int(action["at"]) - latest > WINDOW_HOURS * HOUR:
            return "after_window"
        first = next(row for row in before if int(row["time"]) == latest)
        label = labels[first["file"], first["row"]]
        if action["action"] == "like":
            label[0] = 1
        else:
            label[1] += int(action["ms"])
        return "attributed"

    for action in read_rows(path, "actions"):
        found = outcome(action)
        outcomes[found] = outcomes.get(found, 0) + 1
    return labels, outcomes


@pytest.mark.parametrize(("shards", "piece_bytes"), [(1, 1 << 20), (7, 1 << 20), (5, 700), (None, 150)])
def test_any_number_of_shards_and_pieces_is_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int | None, piece_bytes: int
) -> None:
    random_days(tmp_path, seed=3)
    monkeypatch.setattr(joining, "PIECE_BYTES", piece_bytes)
    manifest, folders = run(spec(), tmp_path, shards=shards)
    labels, outcomes = naive(tmp_path)
    assert {**manifest["actions"]["others"], "attributed": manifest["actions"]["attributed"]} == outcomes
    assert manifest["actions"]["shards"] == (shards or 1)
    expected = {}
    for row in read_rows(tmp_path, "log"):
        if row["file"] != "2024-01-04.csv":
            (number,) = row_ids(f"log/{row['file']}", np.array([row["row"]]))
            expected[int(number)] = tuple(map(float, labels[row["file"], row["row"]]))
    found = {row[ROW_ID]: (row["label_like"], row["label_watch"]) for row in examples(spec(), folders)}
    assert found == expected
    assert sum(outcomes.values()) == 900
    assert len(others(folders)) == 900 - outcomes["attributed"]
    assert min(outcomes.values()) > 5


# -- duplicates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shards", "piece_bytes"), [(1, 1 << 20), (6, 300)])
@pytest.mark.parametrize("has_actions", [True, False])
def test_duplicates_are_left_out_and_the_rest_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int, piece_bytes: int, has_actions: bool
) -> None:
    random_days(tmp_path, seed=5)
    for place, file in enumerate(sorted((tmp_path / "log").iterdir())):
        lines = file.read_text().splitlines()
        file.write_text("\n".join([*lines, *lines[10 : 15 + place], *lines[12:14]]) + "\n")
    changes: dict[str, Any] = {}
    if not has_actions:
        tasks = {"like": {"label": "age", "positive": [1, 2]}}
        columns = {"request": "string", "item": "int64", "time": "int64", "age": "int64"}
        changes = {"actions": None, "tasks": tasks, "columns": columns, "features": {"item": "id"}}

    def made(duplicates: str) -> Dataset:
        whole = spec().model_dump(mode="json") | changes | {"duplicates": duplicates}
        return Dataset.model_validate(whole)

    kept, before = run(made("keep"), tmp_path, "keep", shards=shards)
    monkeypatch.setattr(joining, "PIECE_BYTES", piece_bytes)
    counted, _ = run(made("count"), tmp_path, "count", shards=shards)
    dropped, after = run(made("drop"), tmp_path, "drop", shards=shards, max_share=0)
    seen: set[tuple[str, ...]] = set()
    repeated = []
    for row in read_rows(tmp_path, "log"):
        values = tuple(row[name] for name in SHOWN)
        if values in seen and row["file"] != "2024-01-04.csv":
            repeated.append((f"log/{row['file']}", row["row"]))
        seen.add(values)
    assert len(repeated) >= 7 + 8 + 9
    assert "duplicates" not in kept
    assert counted["duplicates"] == dropped["duplicates"] == len(repeated)
    assert counted["rows_out"] == kept["rows_out"]
    assert dropped["rows_read"] == sum(dropped["rows_out"].values()) + len(repeated)
    letters = pq.read_table(after.quarantine).to_pylist()
    assert sorted((row["file"], row["row"]) for row in letters) == sorted(repeated)
    assert {row["reason"] for row in letters} == {"duplicate"}
    ids = {int(row_ids(file, np.array([number]))[0]) for file, number in repeated}
    assert examples(made("drop"), after) == [row for row in examples(made("keep"), before) if row[ROW_ID] not in ids]


def test_duplicates_do_not_hide_bad_rows_from_the_budget(tmp_path: Path) -> None:
    path = by_hand(tmp_path)
    file = path / "log" / "2024-01-01.csv"
    file.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")
    with pytest.raises(DataError, match=r"log of feed: 1 of 7 rows \(14.29%\) are malformed") as stop:
        run(spec(duplicates="drop"), path, max_share=0.1)
    assert "  duplicate" not in str(stop.value)


def test_duplicates_and_actions_of_a_topic_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are numbered by offsets, of which some have no message; the broker is a dictionary."""
    path = by_hand(tmp_path)
    shown = [row | {"age": 0} for row in read_rows(path, "log") if row["file"] != "2024-01-04.csv"]
    sent: dict[int, list[Row]] = {0: [*shown, *shown[:2]], 1: [shown[4], *shown[:1]]}
    offsets = {partition: [*range(100, 100 + 3 * len(rows), 3)] for partition, rows in sent.items()}

    def messages(kafka: Any, piece: Piece) -> Any:
        del kafka
        partition = int(piece.file[-1])
        found = [*zip(offsets[partition], sent[partition], strict=True)]
        yield [
            kafka_reader.Message(
                offset,
                json.dumps({n: int(row[n]) if n in ("item", "time") else row[n] for n in SHOWN}).encode(),
                time_ms=0,
            )
            for offset, row in found
            if piece.begin <= offset < (piece.end or 0)
        ]

    monkeypatch.setattr(kafka_reader, "_messages", messages)
    monkeypatch.setattr(kafka_reader, "CHUNK_OFFSETS", 4)
    monkeypatch.setattr(found_log, "check_slice", lambda _: Identity("cluster", "topic"))
    kafka = {"servers": "nowhere:1", "topic": "shown", "offsets": {0: [90, 130], 1: [100, 110]}}
    manifest, folders = run(spec(source={"kafka": kafka}, duplicates="drop"), path, shards=3)
    letters = pq.read_table(folders.quarantine).to_pylist()
    assert sorted((row["file"], row["row"]) for row in letters if row["reason"] == "duplicate") == [
        *(("kafka://shown/0", offset) for offset in offsets[0][-2:]),
        *(("kafka://shown/1", offset) for offset in offsets[1]),
    ]
    assert (manifest["duplicates"], manifest["rows_read"], sum(manifest["rows_out"].values())) == (4, 10, 6)
    of_rows = {int(row_ids("kafka://shown/0", np.array([offset]))[0]): n for n, offset in enumerate(offsets[0])}
    labels = {of_rows[row[ROW_ID]]: (row["label_like"], row["label_watch"]) for row in examples(spec(), folders)}
    assert labels == {0: (1, 0), 1: (0, 750), 2: (0, 0), 3: (1, 0), 4: (0, 0), 5: (1, 9)}
    assert manifest["actions"]["of_rows_out"] == manifest["actions"]["attributed"] == 6


def test_actions_of_a_log_in_bigquery(tmp_path: Path) -> None:
    """Of rows in any order, over streams: those of a day behind the split's take what is theirs."""
    path = by_hand(tmp_path)
    of_files, folders = run(spec(), path)
    expected = [{**row, ROW_ID: 0} for row in examples(spec(), folders)]
    rows = pa.Table.from_pylist([{name: row[name] or None for name in SHOWN} for row in read_rows(path, "log")])
    with bigquery_server() as server:
        server.put("p.d.shown", rows)
        moment = "2026-05-01T00:00:00Z"
        asked = spec(source={"bigquery": {"table": "p.d.shown", "emulator": server.emulator, "snapshot": moment}})
        manifest, folders = run(asked, path, "bigquery", shards=3)
        assert len(server.sessions) == 1
    found = [{**row, ROW_ID: 0} for row in examples(asked, folders)]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert len(found) == 5
    assert (
        manifest["actions"]["attributed"] == of_files["actions"]["attributed"] == 6
    )  # two of rows that are quarantined
    assert manifest["actions"]["of_rows_out"] == of_files["actions"]["of_rows_out"] == 4
