"""Slices of topics of a real broker: every row of the slice, the same ones again, or a stop that says why."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from features.errors import DataError
from features.kafka import KafkaSource
from features.logs import kafka_reader, kafka_slice
from features.logs.kafka_reader import read_kafka
from features.logs.kafka_slice import check_slice
from features.logs.pieces import Piece
from features.logs.row_ids import row_ids
from features.spec import ROW_ID, SPLITS, Column, Dataset, Source
from pipeline.components.ingest import Folders, ingest
from pipeline.config import Budget, DataConfig
from tests.features.logs.small_log import dataset
from tests.kafka_broker import CLUSTER, KafkaBroker, kafka_broker

pytestmark = pytest.mark.slow
COLUMNS = {"user": Column(type="int64")}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with kafka_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


def message(user: int) -> bytes:
    row = {"user": user, "item": 8, "score": 1.5, "name": "ann", "tags": [3, 4], "day": 20240101 + user % 4}
    return json.dumps(row | {"click": 1, "like": 0, "seen": 1}).encode()


def of(broker: KafkaBroker, topic: str, offsets: dict[int, tuple[int, int]], **settings: Any) -> KafkaSource:
    return KafkaSource(servers=broker.servers, topic=topic, offsets=offsets, **settings)


def _ingested(spec: Dataset, out: Path) -> tuple[dict[str, Any], list[tuple[int, int]], list[dict[str, Any]]]:
    """Manifest without its time; user and row id of each row; dead letters."""
    folders = Folders(*[str(out / name / "7") for name in ("examples", "quarantine", "manifest", "tables")])
    data = DataConfig(path=str(out), budget=Budget(max_share=0.5))
    manifest = ingest(spec, data, folders, beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])))
    del manifest["seconds"]
    rows = [row for s in SPLITS for row in pq.read_table(f"{folders.examples}/Split-{s}").to_pylist()]
    letters = pq.read_table(folders.quarantine).to_pylist()
    users = sorted((row["user"][0], row[ROW_ID][0]) for row in rows)
    return manifest, users, sorted(letters, key=lambda letter: (letter["file"], letter["row"]))


def test_a_slice_is_read_and_read_again(broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.make("feed", 2)
    broker.send("feed", [message(user) for user in range(1000)], 0)
    broker.send("feed", [b"no json", None, b"[1]", *(message(user) for user in range(1000, 1500))], 1)
    monkeypatch.setattr(kafka_reader, "CHUNK_OFFSETS", 150)
    spec = dataset(source=Source(kafka=of(broker, "feed", {0: (100, 900), 1: (0, 403)})))
    assert spec.source.format == "kafka"
    assert Dataset.model_validate_json(spec.model_dump_json()) == spec
    manifest, users, letters = _ingested(spec, tmp_path / "first")
    ids = {u: int(i) for u, i in zip(range(100, 900), row_ids("kafka://feed/0", range_of(100, 900)), strict=True)}
    ids |= {u: int(i) for u, i in zip(range(1000, 1400), row_ids("kafka://feed/1", range_of(3, 403)), strict=True)}
    assert users == sorted(ids.items())
    assert [(letter["file"], letter["row"], letter["reason"], letter["raw"]) for letter in letters] == [
        ("kafka://feed/1", 0, "bad_json", "no json"),
        ("kafka://feed/1", 1, "bad_json", ""),
        ("kafka://feed/1", 2, "bad_json", "[1]"),
    ]
    assert manifest["rows_read"] == 1203
    assert manifest["files"] == [
        {"path": "kafka://feed/0", "rows": 800, "bytes": None, "offsets": [100, 900]},
        {"path": "kafka://feed/1", "rows": 403, "bytes": None, "offsets": [0, 403]},
    ]
    assert manifest["kafka"]["topic"] == "feed"
    assert manifest["kafka"]["cluster_id"] == CLUSTER
    broker.send("feed", [message(user) for user in range(5000, 5100)], 0)  # the topic grows; the slice does not
    identity = {name: manifest["kafka"][name] for name in ("cluster_id", "topic_id")}
    pinned = dataset(source=Source(kafka=of(broker, "feed", {0: (100, 900), 1: (0, 403)}, **identity)))
    assert _ingested(pinned, tmp_path / "second") == (manifest, users, letters)


def range_of(begin: int, end: int) -> Any:
    import numpy as np

    return np.arange(begin, end, dtype=np.int64)


def _read(kafka: KafkaSource) -> list[int]:
    """Users of the slice's rows, in order."""
    users = []
    for name in kafka.names:
        for batch in read_kafka(Piece(name), name, Source(kafka=kafka), COLUMNS):
            assert not batch.rejects
            users += batch.columns["user"].to_pylist()
    return users


def test_marks_of_transactions_and_aborted_rows_are_no_rows(broker: KafkaBroker) -> None:
    broker.make("transactions")
    broker.send("transactions", [message(user) for user in range(5)], transaction="one")  # 0 to 4, mark 5
    broker.send("transactions", [message(user) for user in range(50, 60)], transaction="two-abort")  # 6 to 15, mark 16
    broker.send("transactions", [message(user) for user in range(5, 8)], transaction="three")  # 17 to 19, mark 20
    assert _read(of(broker, "transactions", {0: (0, 21)})) == [*range(8)]
    assert _read(of(broker, "transactions", {0: (4, 17)})) == [4]
    assert _read(of(broker, "transactions", {0: (6, 16)})) == []


def test_what_is_not_there_stops_in_words(broker: KafkaBroker) -> None:
    from confluent_kafka import TopicPartition

    broker.make("short")
    broker.send("short", [message(user) for user in range(100)])
    for topic, offsets, said in (
        ("absent", {0: (0, 1)}, "has no topic 'absent'; topics: .*short"),
        ("short", {3: (0, 1)}, "has no partition 3; allowed: 0 to 0"),
        ("short", {0: (0, 101)}, "offsets 0 to 101 are asked for; there: 0 to 100, later ones are not written yet"),
    ):
        with pytest.raises(DataError, match=said):
            check_slice(of(broker, topic, offsets))
    early = of(broker, "short", {0: (10, 90)})
    assert _read(early) == [*range(10, 90)]
    admin = broker.admin
    (deleted,) = admin.delete_records([TopicPartition("short", 0, 50)]).values()
    deleted.result(60)
    with pytest.raises(DataError, match="offsets 10 to 90 are asked for; there: 50 to 100, earlier ones are deleted"):
        check_slice(early)
    with pytest.raises(DataError, match="partition 0: offset 10 is not there any more; rows of the slice are deleted"):
        _read(early)


def test_another_topic_of_the_same_name(broker: KafkaBroker) -> None:
    broker.make("anew")
    broker.send("anew", [message(1)])
    identity = check_slice(of(broker, "anew", {0: (0, 1)}))
    pinned = of(broker, "anew", {0: (0, 1)}, **identity._asdict())
    assert check_slice(pinned) == identity
    admin = broker.admin
    (deleted,) = admin.delete_topics(["anew"]).values()
    deleted.result(60)
    time.sleep(1)
    broker.make("anew")
    broker.send("anew", [message(2)])
    with pytest.raises(DataError, match=r"the topic's id is .*; allowed: .*, as the slice says: its rows are others"):
        check_slice(pinned)
    with pytest.raises(DataError, match=rf"the cluster's id is {CLUSTER}; allowed: other"):
        check_slice(of(broker, "anew", {0: (0, 1)}, cluster_id="other"))


def test_a_compacted_topic(broker: KafkaBroker) -> None:
    broker.make("compacted", cleanup_policy="compact")
    broker.send("compacted", [message(1)])
    with pytest.raises(DataError, match="'compacted' is compacted, so a rerun may find fewer rows; allowed: cleanup"):
        check_slice(of(broker, "compacted", {0: (0, 1)}))


def test_rows_that_never_come(broker: KafkaBroker) -> None:
    """The library waits for them, without an error."""
    broker.make("idle")
    broker.send("idle", [message(user) for user in range(3)])
    began = time.monotonic()
    with pytest.raises(
        DataError, match="partition 0: no message for 3 s at offset 3, before 9; a broker that does not"
    ):
        _read(of(broker, "idle", {0: (0, 9)}, idle_s=3))
    assert time.monotonic() - began < 30


def test_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("confluent_kafka")
    monkeypatch.setattr(kafka_slice, "ANSWER_S", 2.0)
    nowhere = KafkaSource(servers="127.0.0.1:1", topic="feed", offsets={0: (0, 1)})
    with pytest.raises(DataError, match=r"no answer of Kafka at 127.0.0.1:1 about topic 'feed'"):
        check_slice(nowhere)
