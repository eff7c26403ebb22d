"""Actions beside a topic: the labels are those of the same log in files by day, also where keys come again behind the window."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from features.errors import DataError
from features.kafka import KafkaSource
from features.logs.kafka_slice import pinned
from features.spec import ROW_ID, Dataset
from tests.kafka_broker import KafkaBroker
from tests.pipeline.test_joining import FIRST, HOUR, SHOWN, Row, by_hand, examples, run, spec

pytestmark = pytest.mark.slow
UTC = datetime.timezone.utc
FOR_EVER = {"retention_ms": "-1"}  # or the broker deletes messages of 2024


def shown(path: Path) -> list[Row]:
    """The impressions of `by_hand`, in their order: six of the split's three days, and one of the day behind them."""
    found: list[Row] = []
    for file in sorted((path / "log").glob("*.csv")):
        with file.open(encoding="utf-8") as stream:
            found += [{name: row[name] or None for name in SHOWN} for row in csv.DictReader(stream)]
    return [{**row, "item": int(row["item"]), "time": int(row["time"])} for row in found]


def send(broker: KafkaBroker, topic: str, rows: list[Row], delay_ms: int = 0) -> None:
    values = [json.dumps(row).encode() for row in rows]
    broker.send(topic, values, times_ms=[row["time"] + delay_ms for row in rows])


def of_topic(broker: KafkaBroker, topic: str, window: Any = "days", **changes: Any) -> Dataset:
    kafka = {"servers": broker.servers, "topic": topic, "window": window}
    return spec(source={"kafka": kafka}, **changes)


def sliced(dataset: Dataset) -> KafkaSource:
    assert dataset.source.kafka is not None
    return dataset.source.kafka


def labels(dataset: Dataset, folders: Any) -> list[Row]:
    return sorted(({**row, ROW_ID: 0} for row in examples(dataset, folders)), key=str)


def at(hours: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(FIRST / 1000 + hours * 3600, UTC)


@pytest.mark.parametrize("late", ["1h", "3h", "2d"])
def test_a_window_of_days_gives_the_labels_of_files_by_day(broker: KafkaBroker, tmp_path: Path, late: str) -> None:
    """The impression of the fourth day, 01:00, takes the action of 02:00, which has the key of one of the third day, 23:00."""
    path, topic = by_hand(tmp_path), f"shown-{late}"
    broker.make(topic, **FOR_EVER)
    send(broker, topic, shown(path), delay_ms=HOUR // 2)
    of_files, folders = run(spec(), path)
    expected = labels(spec(), folders)
    asked = pinned(of_topic(broker, topic, {"by": "days", "late": late}))
    inside = 6 if late == "1h" else 7
    assert sliced(asked).offsets == {0: (0, inside)}
    assert sliced(asked).later == ({} if inside == 7 else {0: (6, 7)})
    manifest, folders = run(asked, path, "kafka", shards=3)
    assert labels(asked, folders) == expected
    assert len(expected) == 5
    told = ("rows_read", "attributed", "of_rows_out", "others", "quarantined", "files", "absent_days")
    assert {name: manifest["actions"][name] for name in told} == {name: of_files["actions"][name] for name in told}
    assert manifest["actions"]["later_files"] == ([] if inside == 7 else [f"kafka://{topic}/later/0"])
    # What is read for the actions alone is no row, and no dead letter.
    assert (manifest["rows_read"], sum(manifest["rows_out"].values())) == (inside, 5)
    again = Dataset.model_validate_json(asked.model_dump_json())
    send(broker, topic, [{**shown(path)[-1], "time": FIRST + 73 * HOUR}])
    assert run(again, path, "again")[0]["actions"] == {**manifest["actions"], "shards": 1}


def test_a_stretch_of_time_leaves_out_no_impression_that_has_actions(broker: KafkaBroker, tmp_path: Path) -> None:
    """Until 23:30 of the third day: its last impression is within, and those behind it are not, one of them before the slice's end."""
    path = by_hand(tmp_path)
    broker.make("stretch", **FOR_EVER)
    rows = shown(path)
    third, fourth = rows[-2], rows[-1]
    between = {**third, "time": FIRST + 71 * HOUR + 3 * HOUR // 4}  # 23:45: takes the like of 00:00
    send(broker, "stretch", [*rows[:-1], between, fourth])
    window = {"since": at(0), "until": at(71.5), "late": "30m"}
    asked = pinned(of_topic(broker, "stretch", window))
    assert sliced(asked).offsets == {0: (0, 7)}  # `between` is before the end, and left out by its time
    assert sliced(asked).later == {0: (7, 8)}
    manifest, folders = run(asked, path)
    assert manifest["rows_read"] == 7
    assert [row["label_like"] for row in labels(asked, folders) if row["age"] == 5] == [0]
    assert [row["label_watch"] for row in labels(asked, folders) if row["age"] == 5] == [0]
    assert manifest["actions"]["of_rows_out"] == 3  # of `by_hand`'s four, all but the like that `between` has


def test_a_run_waits_for_what_the_actions_reach_into(broker: KafkaBroker, tmp_path: Path) -> None:
    path = by_hand(tmp_path)
    broker.make("waiting", **FOR_EVER)
    send(broker, "waiting", shown(path)[:-1])
    asked = of_topic(broker, "waiting")  # until the fourth day, 00:00, and an hour
    with pytest.raises(DataError, match=r"its rows are still to come, and late messages of it until 2024-01-04T01:00"):
        pinned(asked, at(72.5))
    with pytest.raises(
        DataError,
        match=r"window of actions reaches into messages that come until 2024-01-05T01:00:00\+00:00, .*it is 2024-01-04T02:00:00.*"
        "`actions.days_after: optional`",
    ):
        pinned(asked, at(74))
    optional = of_topic(broker, "waiting", actions={"days_after": "optional"})
    assert (sliced(pinned(optional, at(74))).offsets, sliced(pinned(optional, at(74))).later) == ({0: (0, 6)}, {})
    send(broker, "waiting", shown(path)[-1:], delay_ms=HOUR // 2)  # at 01:30
    assert sliced(pinned(optional, at(74))).later == {0: (6, 7)}
    broker.send("waiting", [b"{}"], transaction="stays-open", times_ms=[FIRST + 73 * HOUR + HOUR * 3 // 4])
    send(broker, "waiting", shown(path)[-1:], delay_ms=2 * HOUR)
    assert sliced(pinned(optional, at(76))).later == {0: (6, 7)}  # up to the transaction
    with pytest.raises(DataError, match="a transaction is open at offset 7, before the end 9"):
        pinned(asked)
