"""Slices of topics of a real broker: every row of the slice, the same ones again, or a stop that says why."""

from __future__ import annotations

import datetime
import io
import json
import random
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import apache_beam as beam
import fastavro
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from features.errors import ConfigError, DataError
from features.kafka import KafkaAvro, KafkaSource, KafkaWindow
from features.logs import kafka_reader, kafka_slice, resolve_log
from features.logs.kafka_reader import read_kafka
from features.logs.kafka_slice import check_slice, pinned
from features.logs.pieces import Piece
from features.logs.row_ids import row_ids
from features.spec import ROW_ID, SPLITS, Column, Dataset, RandomSplit, Source
from pipeline import loading
from pipeline.components.ingest import Folders, ingest
from pipeline.config import Budget, DataConfig, RunConfig
from pipeline.console import RunConsole
from pipeline.runners import local
from pipeline.runs import RunFolder
from tests.features.logs.small_log import dataset
from tests.kafka_broker import CLUSTER, KafkaBroker
from tests.schema_registry import schema_registry

pytestmark = pytest.mark.slow
COLUMNS = {"user": Column(type="int64")}


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


# -- windows of time ---------------------------------------------------------------------------------------------------

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
FOR_EVER = {"retention_ms": "-1"}  # or the broker deletes messages of 2024


def at(milliseconds: float) -> datetime.datetime:
    return EPOCH + datetime.timedelta(milliseconds=milliseconds)


def windowed(broker: KafkaBroker, topic: str, window: KafkaWindow | str, **changes: Any) -> Dataset:
    kafka = KafkaSource.model_validate({"servers": broker.servers, "topic": topic, "window": window})
    return dataset(source=Source(kafka=kafka), **({"split": RandomSplit()} | changes))


def found(spec: Dataset) -> KafkaSource:
    """Asks the cluster."""
    kafka = pinned(spec).source.kafka
    assert kafka is not None
    return kafka


def test_a_window_of_broker_times_is_exact_and_stays(broker: KafkaBroker) -> None:
    broker.make("appended", 3, message_timestamp_type="LogAppendTime")
    marks = []
    for third in range(3):
        for partition in (0, 2):
            broker.send("appended", [message(100 * third + user) for user in range(7 + partition)], partition)
        time.sleep(0.02)
        marks.append(datetime.datetime.now(datetime.timezone.utc))
        time.sleep(0.02)
    window = KafkaWindow(
        since=marks[0], until=marks[1]
    )  # an hour late would be in the future: the broker's times need none
    spec = windowed(broker, "appended", window)
    first = pinned(spec)
    kafka = first.source.kafka
    assert kafka is not None
    assert kafka.offsets == {0: (7, 14), 2: (9, 18)}  # partition 1 has no message
    assert kafka.cluster_id == CLUSTER
    assert _read(kafka) == [*range(100, 107), *range(100, 109)]
    broker.send("appended", [message(900)], 1)
    assert pinned(spec) == first
    assert pinned(first) == first
    assert pinned(Dataset.model_validate_json(first.model_dump_json())) == first
    with pytest.raises(ConfigError, match="the window of topic 'appended' has no offsets yet"):
        resolve_log(spec, "nowhere")


@pytest.mark.parametrize("seed", range(3))
def test_a_window_of_writers_times_has_every_message_that_is_not_too_late(broker: KafkaBroker, seed: int) -> None:
    """Beside a search through all messages: the window has those of its times before the first one of `late` behind it."""
    dice, topic = random.Random(seed), f"created-{seed}"
    times = sorted(dice.randrange(10_000) for _ in range(400))
    written = [int(max(0, of + dice.gauss(0, 300))) + 1 for of in times]  # out of order
    broker.make(topic, **FOR_EVER)
    broker.send(topic, [message(user) for user in range(400)], times_ms=written)
    for since, until, late_s in ((0, 10_001, 1), (2_000, 5_000, 0), (2_000.5, 5_000.5, 1), (4_000, 4_200, 0.2)):
        span = {"since": at(since), "until": at(until), "late": f"{late_s}s"}
        kafka = found(windowed(broker, topic, KafkaWindow(**span)))
        begin = next(user for user, of in enumerate(written) if of >= since)
        end = next((user for user, of in enumerate(written) if of >= until + 1000 * late_s), 400)
        assert kafka.offsets == {0: (begin, end)}
        inside = [user for user in range(begin, end) if since <= written[user] < until]
        assert inside[0] == next(user for user, of in enumerate(written) if since <= of < until)
        users, letters = [], []
        for batch in read_kafka(Piece(kafka.names[0]), "feed", Source(kafka=kafka), COLUMNS):
            assert batch.columns.get("user") is None or batch.rows.tolist() == batch.columns["user"].to_pylist()
            users += batch.rows.tolist()
            letters += batch.rejects
        assert users == inside
        assert {letter.reason for letter in letters} <= {"out_of_window"}
        apart = [user for letter in letters for user in range(letter.row, letter.row + letter.rows)]
        assert apart == sorted({*range(begin, end)} - {*inside})


def test_windows_that_are_not_whole_stop_in_words(broker: KafkaBroker) -> None:
    from confluent_kafka import TopicPartition

    broker.make("partly", 2, **FOR_EVER)
    broker.send("partly", [message(user) for user in range(100)], times_ms=range(1000, 1100))
    no_late = {"late": 0, "by": "times"}
    everything = KafkaWindow(since=at(0), until=at(2_000), **no_late)
    assert found(windowed(broker, "partly", everything)).offsets == {0: (0, 100)}
    with pytest.raises(DataError, match="it has no message; offsets by partition: 0: 0 to 100, 1: 0 to 0"):
        pinned(windowed(broker, "partly", KafkaWindow(since=at(2_000), until=at(3_000), **no_late)))
    now = at(2_500)
    with pytest.raises(
        DataError, match=r"its rows are still to come; it is 1970-01-01T00:00:02\+00:00; allowed: a run"
    ):
        pinned(windowed(broker, "partly", KafkaWindow(since=at(0), until=at(3_000), late=0)), now)
    with pytest.raises(DataError, match="still to come, and late messages of it until 1970-01-01T00:00:03"):
        pinned(windowed(broker, "partly", KafkaWindow(since=at(0), until=at(2_000), late="1s")), now)
    assert found(windowed(broker, "partly", KafkaWindow(since=at(0), until=at(1_050), late=0))).offsets == {0: (0, 50)}
    admin = broker.admin
    (deleted,) = admin.delete_records([TopicPartition("partly", 0, 50)]).values()
    deleted.result(60)
    with pytest.raises(
        DataError, match=r"of partition 0, offsets before 50 are deleted, and nothing that is left is from"
    ):
        pinned(windowed(broker, "partly", everything))
    accepting = KafkaWindow(since=at(0), until=at(2_000), deleted="accept", **no_late)
    assert _read(found(windowed(broker, "partly", accepting))) == [*range(50, 100)]
    later = KafkaWindow(since=at(1_060), until=at(1_070), **no_late)
    assert found(windowed(broker, "partly", later)).offsets == {0: (60, 70)}


def test_a_transaction_that_is_open_in_the_window(broker: KafkaBroker) -> None:
    broker.make("pending", **FOR_EVER)
    broker.send("pending", [message(0)], times_ms=[1_000])
    broker.send("pending", [message(1)], transaction="stays-open", times_ms=[1_001])
    broker.send("pending", [message(2)], times_ms=[5_000])
    window = {"since": at(0), "late": 0}
    with pytest.raises(
        DataError, match="of partition 0, a transaction is open at offset 1, before the end 2; allowed: a"
    ):
        pinned(windowed(broker, "pending", KafkaWindow(until=at(2_000), **window)))
    assert found(windowed(broker, "pending", KafkaWindow(until=at(1_001), **window))).offsets == {0: (0, 1)}


def test_the_days_of_the_split_are_a_window(broker: KafkaBroker, tmp_path: Path) -> None:
    """Rows of other days are found beside them, and no budget counts those."""
    broker.make("days", **FOR_EVER)
    hour = 3_600_000
    midnight = (datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc) - EPOCH) // datetime.timedelta(
        milliseconds=1
    )
    rows = [(day, midnight + day * 24 * hour + of_day * hour) for day in range(-1, 6) for of_day in range(24)]
    rows = [(day, time + hour // 2 if user % 5 else time) for user, (day, time) in enumerate(rows)]  # half an hour late
    values = [
        json.dumps(
            json.loads(message(user))
            | {"day": int(f"{datetime.date(2024, 1, 1) + datetime.timedelta(days=day):%Y%m%d}")}
        )
        for user, (day, _) in enumerate(rows)
    ]
    values[24 + 30] = json.dumps(json.loads(values[24 + 30]) | {"day": 20200101})
    broker.send("days", [value.encode() for value in values], times_ms=[time for _, time in rows])
    spec = windowed(broker, "days", KafkaWindow(by="days", late="2h"), split=dataset().split)
    kept = pinned(spec)
    assert kept.source.kafka is not None
    assert kept.source.kafka.offsets == {0: (24, 24 + 4 * 24 + 2)}
    manifest, users, letters = _ingested(kept, tmp_path)
    assert [user for user, _ in users] == [user for user in range(24, 24 + 4 * 24) if user != 24 + 30]
    assert [(letter["row"], letter["reason"]) for letter in letters] == [
        (24 + 30, "time_out_of_range"),
        (24 + 96, "out_of_window"),
        (24 + 97, "out_of_window"),
    ]
    assert manifest["kafka"]["window"] == ["2024-01-01T00:00:00+00:00", "2024-01-05T00:00:00+00:00"]
    assert windowed(broker, "days", "days", split=dataset().split).source.kafka.window == KafkaWindow(by="days")


def test_a_run_saves_the_offsets_that_it_reads(
    broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of the saved configuration asks for the same rows, whatever the topic has become; one that cannot be says so in its record."""

    def stop(config: RunConfig, run_id: str) -> NoReturn:
        raise DataError("far enough")

    def start(spec: Dataset, said: str) -> RunFolder:
        config = RunConfig(name="saved", output=str(tmp_path), dataset=spec)
        with (
            RunFolder.create(config) as folder,
            RunConsole(sys.stderr) as listener,
            pytest.raises(DataError, match=said),
        ):
            local.run(config, folder, listener)
        assert said in str(folder.read_record().error)
        return folder

    monkeypatch.setattr(local, "compile_local", stop)
    broker.make("saved", **FOR_EVER)
    broker.send("saved", [message(user) for user in range(10)], times_ms=range(1_000, 1_010))
    spec = windowed(broker, "saved", KafkaWindow(since=at(1_002), until=at(1_100), late=0))
    saved = loading.load(start(spec, "far enough").config)
    assert saved.dataset == pinned(spec)
    broker.send(
        "saved", [message(user) for user in range(10, 20)], times_ms=range(1_005, 1_015)
    )  # too late for the first run
    again = loading.load(start(saved.dataset, "far enough").config)
    assert again.dataset == saved.dataset
    assert again.dataset.source.kafka is not None
    assert again.dataset.source.kafka.offsets == {0: (2, 10)}
    assert _read(again.dataset.source.kafka) == [*range(2, 10)]
    assert found(spec).offsets == {0: (2, 20)}
    start(windowed(broker, "saved", KafkaWindow(since=at(5_000), until=at(6_000), late=0)), "it has no message")


# -- Avro --------------------------------------------------------------------------------------------------------------

AVRO: dict[str, Any] = {
    "type": "record",
    "name": "Row",
    "fields": [
        *({"name": name, "type": "long"} for name in ("user", "item", "day", "click", "like", "seen")),
        {"name": "score", "type": "float"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "tags", "type": {"type": "array", "items": "int"}},
    ],
}


def avro(user: int, schema: Any = AVRO) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), json.loads(message(user)) | {"more": "x"})
    return stream.getvalue()


def test_avro_messages_are_the_rows_that_json_messages_are(broker: KafkaBroker, tmp_path: Path) -> None:
    """By a file that is gone when workers read, and by a registry, whose second schema has a field more; broken ones lie beside them."""
    for topic in ("json", "bare", "framed"):
        broker.make(topic)
    second = AVRO | {"fields": [*AVRO["fields"], {"name": "more", "type": "string", "default": ""}]}
    broker.send("json", [b"{", None, *(message(user) for user in range(300))])
    broker.send("bare", [b"\xff", None, *(avro(user) for user in range(300))])
    framed = [
        b"\0\0\0\0\x0c" + avro(user, second) if user % 3 == 0 else b"\0\0\0\0\x0b" + avro(user) for user in range(300)
    ]
    broker.send("framed", [b"{}", None, *framed])
    (tmp_path / "feed.avsc").write_text(json.dumps(AVRO))
    expected = _ingested(dataset(source=Source(kafka=of(broker, "json", {0: (0, 302)}))), tmp_path / "json")
    answers = {
        f"/schemas/ids/{number}": {"schema": json.dumps(schema)} for number, schema in ((11, AVRO), (12, second))
    }
    with schema_registry(answers) as registry:
        by = {"bare": KafkaAvro(file=str(tmp_path / "feed.avsc")), "framed": KafkaAvro(registry=registry.address)}
        for topic, schemas in by.items():
            spec = pinned(dataset(source=Source(kafka=of(broker, topic, {0: (0, 302)}, avro=schemas))))
            (tmp_path / "feed.avsc").unlink(missing_ok=True)
            manifest, users, letters = _ingested(spec, tmp_path / topic)
            assert [user for user, _ in users] == [user for user, _ in expected[1]] == [*range(300)]
            assert manifest["rows_out"] == expected[0]["rows_out"]
            assert manifest["tasks"] == expected[0]["tasks"]
            assert [(letter["row"], letter["reason"]) for letter in letters] == [(0, "bad_avro"), (1, "bad_avro")]
            for split in SPLITS:
                read = {
                    of: pq.read_table(tmp_path / of / "examples" / "7" / f"Split-{split}") for of in ("json", topic)
                }
                kept = {of: sorted(rows.drop([ROW_ID]).to_pylist(), key=str) for of, rows in read.items()}
                assert kept[topic] == kept["json"]
