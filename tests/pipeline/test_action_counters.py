"""Whole ingests that count labels from a log of actions: by hand, and beside loops that know no more than there was before a row's day."""

from __future__ import annotations

import csv
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from features.columns import from_lists
from features.errors import DataError
from features.spec import SPLITS, Dataset
from pipeline.components import joining
from pipeline.components.ingest import Folders, ingest
from pipeline.components.joining import OTHERS
from pipeline.config import Budget, DataConfig
from pipeline.model_log import LogOptions, ModelLog
from serving.bundle import FOLDER, Bundle

SECOND = 1000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
UTC = 1_704_067_200_000
"""2024-01-01 00:00 UTC in milliseconds: with an offset of hours the first local day begins so much earlier."""
SHOWN, ACTED = ["user", "item", "time", "note"], ["user", "item", "at", "action"]
Row = dict[str, Any]
COLUMNS = {
    "shown": "count",
    "clicks": {"of": "clicked"},
    "rate": {"take": "rate", "of": "clicked", "prior": 0.5, "strength": 2},
    "unclicked": {"take": "days_since", "of": "clicked"},
}
COUNTERS = {
    "items": {"by": "item", "days": 2, "columns": COLUMNS},
    "eves": {"by": "item", "days": 1, "columns": {"eve": "count"}},
}
GIVEN = [*COLUMNS, "eve"]


def spec(window: str = "24h", offset: float = 5.5, **changes: Any) -> Dataset:
    actions = {
        "source": "actions/{day}.csv",
        "columns": {"user": "string", "item": "int64", "at": "int64", "action": "string"},
        "on": ["user", "item"],
        "time": "at",
        "window": window,
        "labels": {"clicked": {"column": "action", "equals": "click"}},
    }
    dataset = {
        "name": "feed",
        "source": "log/{day}.csv",
        "columns": {"user": "string", "item": "int64", "time": "int64", "note": "int64"},
        "time": {"column": "time", "utc_offset_hours": offset},
        "actions": actions | changes.pop("actions", {}),
        "counters": COUNTERS,
        "features": {"item": "id", "note": "numeric", **dict.fromkeys(GIVEN, "numeric")},
        "tasks": {"click": "clicked"},
        "split": {"train": "2024-01-04", "validation": "2024-01-05", "test": "2024-01-06"},
    }
    return Dataset.model_validate(dataset | changes)


def at(day: int, time: str, offset: float = 5.5) -> int:
    """Of a local day and clock, in milliseconds."""
    hours, minutes, seconds = map(int, time.split(":"))
    return UTC + round((24 * (day - 1) + hours - offset) * HOUR) + (60 * minutes + seconds) * SECOND


def day_of(time: int, offset: float = 5.5) -> int:
    return (time - UTC + round(offset * HOUR)) // DAY + 1


def write(path: Path, folder: str, names: list[str], days: dict[int, list[Row]]) -> None:
    (path / folder).mkdir()
    for day, rows in days.items():
        with (path / folder / f"2024-01-{day:02d}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows(rows)


def write_days(path: Path, shown: list[Row], acted: list[Row], days: range, offset: float = 5.5) -> Path:
    """Both logs, a file a local day."""
    write(path, "log", SHOWN, {day: [r for r in shown if day_of(r["time"], offset) == day] for day in days})
    write(path, "actions", ACTED, {day: [r for r in acted if day_of(r["at"], offset) == day] for day in days})
    return path


def run(dataset: Dataset, path: Path, out: str = "out", **data: Any) -> tuple[dict[str, Any], Folders]:
    folders = Folders(*[str(path / out / name / "7") for name in ("examples", "quarantine", "manifest", "tables")])
    config = DataConfig(path=str(path), budget=Budget(max_share=data.pop("max_share", 0.9)), **data)
    return ingest(dataset, config, folders, beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))), folders


def rows_of(dataset: Dataset, folders: Folders) -> list[Row]:
    tables = [pq.read_table(f"{folders.examples}/Split-{split}") for split in SPLITS]
    return [row for table in tables for batch in table.to_batches() for row in from_lists(batch, dataset).to_pylist()]


def found(dataset: Dataset, folders: Folders) -> dict[int, tuple[Any, ...]]:
    """The counters of every row, by its note."""
    return {row["note"]: tuple(row[name] for name in GIVEN) for row in rows_of(dataset, folders)}


def approximately(expected: dict[int, tuple[Any, ...]]) -> dict[int, tuple[Any, ...]]:
    return {n: tuple(pytest.approx(v) if isinstance(v, float) else v for v in row) for n, row in expected.items()}


# -- by hand -----------------------------------------------------------------------------------------------------------

IMPRESSIONS = [
    ("u", 7, 1, "23:59:59", 101),
    ("v", 7, 2, "00:00:00", 102),
    ("w", 7, 2, "10:00:00", 103),
    ("w", 7, 2, "11:00:00", "bad"),
    ("u", 7, 3, "23:59:59", 104),
    ("x", 7, 4, "00:00:00", 1),
    ("x", 7, 4, "23:59:59", 2),
    ("y", 7, 5, "00:00:00", 3),
    ("z", 7, 6, "23:59:59", 4),
    ("z", 8, 6, "12:00:00", 5),
    ("z", 7, 7, "00:30:00", 201),
]
CLICKS = [
    ("t", 7, 1, "00:00:01"),  # of an impression of a day that nobody reads
    ("u", 7, 2, "23:59:59"),  # the last second of the window, and of the day after the impression's
    ("w", 7, 2, "10:30:00"),
    ("w", 7, 2, "10:30:00"),  # a duplicate
    ("v", 7, 3, "00:00:01"),  # a second too late
    ("u", 7, 4, "23:59:59"),  # the last second again
    ("x", 7, 5, "00:00:00"),  # of 4, 23:59:59
    ("z", 7, 7, "00:00:00"),
    ("z", 7, 7, "01:00:00"),  # of the seventh day's impression
]
BY_HAND = {
    # Of the two days before yesterday: shown, clicks, rate, days since a click; and of yesterday: shown.
    1: (3, 2, 3 / 5, 2, 1),  # u of the first; v, w of the second
    2: (3, 2, 3 / 5, 2, 1),
    3: (3, 2, 3 / 5, 2, 2),  # v, w; u of the third
    4: (3, 2, 3 / 5, 2, 1),  # u; x twice, the second clicked
    5: (0, 0, 1 / 2, None, 0),
}


def by_hand(path: Path, days: range = range(1, 8)) -> Path:
    """The fourth row has a note that is no number; so has an action of the third day a time."""
    shown = [{"user": u, "item": i, "time": at(d, t), "note": n} for u, i, d, t, n in IMPRESSIONS]
    acted = [{"user": u, "item": i, "at": at(d, t), "action": "click"} for u, i, d, t in CLICKS]
    write_days(path, shown, acted, days)
    if 3 in days:
        with (path / "actions" / "2024-01-03.csv").open("a") as stream:
            stream.write("u,7,noon,click\n")
    return path


class Ingested(NamedTuple):
    """Both logs as they were ingested."""

    path: Path
    manifest: dict[str, Any]
    folders: Folders


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    path = by_hand(tmp_path_factory.mktemp("feed"))
    return Ingested(path, *run(spec(), path))


def test_clicks_of_a_log_of_actions_are_counted_once_their_window_is_over(ingested: Ingested) -> None:
    manifest, folders = ingested.manifest, ingested.folders
    assert found(spec(), folders) == approximately(BY_HAND)
    labels = {row["note"]: row["label_click"] for row in rows_of(spec(), folders)}
    assert labels == {1: 0, 2: 1, 3: 0, 4: 1, 5: 0}
    counters = manifest["counters"]
    assert counters["delay_days"] == {"items": 1, "eves": 0}
    assert counters["earlier_files"] == [f"log/2024-01-0{day}.csv" for day in (1, 2, 3)]
    assert counters["days"] == {"20240101": 1, "20240102": 2, "20240103": 1}
    assert counters["action_days"] == {"20240101": 1, "20240102": 3, "20240103": 1}
    assert (counters["absent_days"], counters["absent_action_days"]) == ([], [])
    assert (counters["rows_read"], counters["quarantined"]["rows"]) == (5, 1)
    assert (manifest["rows_read"], manifest["quarantined"]["rows"]) == (5, 0)


def test_every_action_of_an_earlier_day_is_told_once(ingested: Ingested) -> None:
    manifest, folders = ingested.manifest, ingested.folders
    actions = manifest["actions"]
    assert [file["path"] for file in actions["files"]] == [f"actions/2024-01-0{day}.csv" for day in range(1, 8)]
    assert (actions["rows_read"], actions["attributed"], actions["quarantined"]["rows"]) == (10, 6, 1)
    # Attributed are two of the split's rows, three of earlier days', and one of the day behind the split's.
    assert (actions["of_rows_out"], actions["of_earlier_rows"]) == (2, 3)
    assert {reason: rows for reason, rows in actions["others"].items() if rows} == {
        "duplicate": 1,
        "without_impression": 1,
        "after_window": 1,
    }
    others = pq.read_table(f"{folders.quarantine}/{OTHERS}").to_pylist()
    assert sorted((row["user"], row["feedrank_reason"]) for row in others) == [
        ("t", "without_impression"),
        ("v", "after_window"),
        ("w", "duplicate"),
    ]
    letters = pq.read_table(folders.quarantine).to_pylist()
    assert sorted((row["file"], row["row"], row["column"]) for row in letters) == [
        ("actions/2024-01-03.csv", 2, "at"),
        ("log/2024-01-02.csv", 3, "note"),
    ]


def test_a_scored_log_has_the_counters_that_the_run_had(ingested: Ingested, tmp_path: Path) -> None:
    bundle = tmp_path / "model" / FOLDER
    shutil.copytree(ingested.folders.tables, bundle / "tables")
    (bundle / "dataset.json").write_text(spec().model_dump_json())
    log = ingested.path / "log"

    def scored(data: str) -> dict[int, tuple[Any, ...]]:
        read = ModelLog(Bundle(tmp_path / "model"), data, LogOptions(), labels=False, stage="score")
        rows = [row for batch in read.batches(None) for row in batch.rows.to_pylist()]
        return {row["note"]: tuple(row[name] for name in GIVEN) for row in rows}

    assert scored(str(log / "2024-01-0[456].csv")) == approximately(BY_HAND)
    # The seventh day, and any later one: the fourth (x twice) and the fifth (y); their windows are over by then. Of yesterday z.
    assert scored(str(log / "2024-01-07.csv"))[201] == (3, 1, pytest.approx(2 / 5), 3, 1)
    write(tmp_path, "later", SHOWN, {9: [{"user": "z", "item": 7, "time": at(9, "12:00:00"), "note": 9}]})
    assert scored(str(tmp_path / "later" / "2024-01-09.csv"))[9] == (3, 1, pytest.approx(2 / 5), 3, 1)


def test_days_without_actions_are_not_counted(tmp_path: Path) -> None:
    """Of a log of one file, whose rows of these days are read all the same."""
    by_hand(tmp_path)
    lines = [file.read_text().splitlines() for file in sorted((tmp_path / "log").iterdir())]
    (tmp_path / "log.csv").write_text("\n".join([lines[0][0], *(row for rows in lines for row in rows[1:])]) + "\n")
    (tmp_path / "actions" / "2024-01-02.csv").unlink()
    with pytest.raises(DataError, match="counters of actions look at 3 days before the split's, and 2024-01-02 lack"):
        run(spec(source="log.csv"), tmp_path)
    counters = {name: counter | {"days_before": "optional"} for name, counter in COUNTERS.items()}
    optional = spec(source="log.csv", counters=counters)
    manifest, folders = run(optional, tmp_path)
    assert manifest["counters"]["absent_action_days"] == ["2024-01-02"]
    assert manifest["counters"]["action_days"] == {"20240101": 1, "20240103": 1}
    assert manifest["counters"]["days"] == {}
    rows = found(optional, folders)
    assert rows[1] == (0, 0, pytest.approx(1 / 2), None, 1)  # the first day lacks actions of the second
    assert rows[3] == (1, 1, pytest.approx(2 / 3), 2, 2)  # the third alone
    assert rows[4] == approximately(BY_HAND)[4]
    # Rows before and behind the split are dead letters, as of any log of one file; three of their actions were read.
    assert manifest["rows_read"] == len(IMPRESSIONS)
    assert (manifest["actions"]["attributed"], manifest["actions"]["of_rows_out"]) == (4, 2)
    assert manifest["actions"]["of_earlier_rows"] == 0


# -- loops -------------------------------------------------------------------------------------------------------------

DAYS = range(1, 12)
OFFSET = -3.5
WINDOW_HOURS, LAG, LOOK = 36, 2, 3


def random_spec() -> Dataset:
    counters = {
        "items": {"by": "item", "days": LOOK, "columns": COLUMNS},
        "eves": {"by": ["user", "item"], "days": 1, "columns": {"eve": "count"}},
    }
    split = {"train": ["2024-01-06", "2024-01-07"], "validation": "2024-01-08", "test": "2024-01-09"}
    return spec("36h", OFFSET, counters=counters, split=split, duplicates="drop")


def in_files(rows: list[Row], time: str) -> list[Row]:
    return sorted(rows, key=lambda row: day_of(row[time], OFFSET))


def random_days(path: Path) -> tuple[list[Row], list[Row]]:
    """Few keys and many times of borders: of days, and of the window. In the order of files and rows."""
    draw = random.Random(7)
    times = [at(day, "00:00:00", OFFSET) + step for day in DAYS for step in (0, DAY // 2, DAY - SECOND)]
    shown: list[Row] = [
        {"user": draw.choice("abcdefghijkl"), "item": draw.randrange(4), "time": draw.choice(times), "note": note}
        for note in range(300)
    ]
    shown += draw.sample(shown, 20)
    steps = (-SECOND, 0, SECOND, 10 * HOUR, WINDOW_HOURS * HOUR, WINDOW_HOURS * HOUR + SECOND)
    acted: list[Row] = [
        {"user": row["user"], "item": row["item"], "at": row["time"] + draw.choice(steps), "action": kind}
        for row in draw.choices(shown, k=250)
        for kind in draw.choices(["click", "skip"], [2, 1])
    ]
    acted += draw.sample(acted, 20)
    acted = [row for row in acted if day_of(row["at"], OFFSET) in DAYS]
    write_days(path, shown, acted, DAYS, OFFSET)
    return in_files(shown, "time"), in_files(acted, "at")


def clicked(shown: list[Row], acted: list[Row], until: float) -> set[int]:
    """Places of the impressions that have a click by the actions before a moment."""
    places: set[int] = set()
    of_key: dict[tuple[str, int], list[int]] = {}
    for place, row in enumerate(shown):
        of_key.setdefault((row["user"], row["item"]), []).append(place)
    for action in acted:
        if action["at"] >= until or action["action"] != "click":
            continue
        mine = [
            (shown[place]["time"], -place)
            for place in of_key.get((action["user"], action["item"]), [])
            if shown[place]["time"] <= action["at"]
        ]
        if mine and action["at"] - max(mine)[0] <= WINDOW_HOURS * HOUR:
            places.add(-max(mine)[1])
    return places


def naive(shown: list[Row], acted: list[Row], lag: int, until: Callable[[int], float]) -> dict[int, tuple[Any, ...]]:
    """Of every row of the split, what the actions until a moment of its day say of the days that it looks at."""
    kept = [place for place, row in enumerate(shown) if row not in shown[:place]]
    days = [day_of(row["time"], OFFSET) for row in shown]
    told = {}
    for day in range(6, 10):
        labels = clicked(shown, acted, until(day))
        span = range(day - lag - LOOK, day - lag)
        for place in [place for place in kept if days[place] == day]:
            item = shown[place]["item"]
            same = [p for p in kept if days[p] in span and shown[p]["item"] == item]
            clicks = [p for p in same if p in labels]
            pair = [p for p in kept if days[p] == day - 1 and shown[p]["item"] == item]
            told[shown[place]["note"]] = (
                len(same),
                len(clicks),
                (len(clicks) + 1) / (len(same) + 2),
                min((day - days[p] for p in clicks), default=None),
                sum(shown[p]["user"] == shown[place]["user"] for p in pair),
            )
    return told


def day_begins(day: int) -> float:
    return at(day, "00:00:00", OFFSET)


def ever(day: int) -> float:
    del day
    return np.inf


def test_counters_are_those_of_loops_over_what_was_known_as_the_day_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "PIECE_BYTES", 2000)
    shown, acted = random_days(tmp_path)
    manifest, folders = run(random_spec(), tmp_path, shards=3)
    known = naive(shown, acted, LAG, day_begins)
    assert found(random_spec(), folders) == approximately(known)
    assert len(known) > 80
    assert sum(row[1] for row in known.values()) > 200
    assert manifest["counters"]["delay_days"] == {"items": LAG, "eves": 0}
    actions = manifest["actions"]
    assert actions["rows_read"] == len(acted) == actions["attributed"] + sum(actions["others"].values())
    assert 0 < actions["of_earlier_rows"] < actions["attributed"] - actions["of_rows_out"]

    # Labels are final after these days, and no day earlier: a counter that waits less counts what was not known yet.
    assert naive(shown, acted, LAG, ever) == known
    for lag in range(LAG):
        early = naive(shown, acted, lag, ever)
        assert naive(shown, acted, lag, day_begins) != early != known
