"""What a slice of a topic may say; the broker itself: tests/pipeline/test_ingest_kafka.py."""

from __future__ import annotations

import datetime
import sys
from collections import namedtuple
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from features.errors import ConfigError, DataError
from features.kafka import KafkaAvro, KafkaSource, KafkaWindow
from features.logs import fingerprint, kafka_client, kafka_reader, kafka_slice, resolve, resolve_log
from features.logs.days import days_beside
from features.logs.kafka_reader import cut_kafka
from features.logs.kafka_slice import check_slice
from features.logs.pieces import Piece
from features.spec import SideTable, Source, TimeColumn
from pipeline import loading
from tests.features.logs.small_log import dataset

MEGABYTE = b"x" * 1_000_000
SLICE: dict[str, Any] = {"servers": "broker:9092", "topic": "feed", "offsets": {0: [10, 20], 1: [0, 5]}}
SASL: dict[str, Any] = {"protocol": "SASL_SSL", "username": "ann", "password": {"env": "FEED_PASSWORD"}}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"kafka": SLICE, "files": "a.csv"}, "a source has `files`, or `kafka`"),
        ({"kafka": SLICE, "format": "jsonl"}, "a source has `files`, or `kafka`"),
        ({"files": "a", "format": "kafka"}, "a source has `files`, or `kafka`"),
        ({"format": "csv"}, "a source has `files`, or `kafka`"),
        ({"kafka": SLICE | {"offsets": {}}}, "kafka.offsets names no partition"),
        ({"kafka": SLICE | {"offsets": {0: [5, 5]}}}, "partition 0 from 5 to 5 is no slice; allowed: from < to"),
        ({"kafka": SLICE | {"settings": {"isolation.level": "x"}}}, "'isolation.level' is set by the reader"),
        ({"kafka": SLICE | {"settings": {"sasl.password": "x"}}}, "would be saved with the run; allowed: in kafka.settings_file"),
        ({"kafka": SLICE | {"settings": {"ssl.key.passphrase": "x"}}}, "would be saved with the run; allowed: in kafka.settings_file"),
            ({"kafka": SLICE | {"settings": {"basic.auth.user.info": "x"}}}, "would be saved with the run"),
        ({"kafka": SLICE | {"later": {0: [20, 30]}}}, "kafka.later is of a window whose offsets a run has saved"),
        ({"kafka": SLICE | {"security": {"protocol": "PLAINTEXT"}}}, "'SSL', 'SASL_SSL' or 'SASL_PLAINTEXT'"),
        ({"kafka": SLICE | {"security": SASL | {"password": None}}}, "SASL_SSL lacks password; allowed: both"),
        ({"kafka": SLICE | {"security": SASL | {"protocol": "SSL"}}}, "allowed of SSL: without them, or protocol SASL_SSL"),
        ({"kafka": SLICE | {"security": SASL | {"protocol": "SASL_PLAINTEXT", "ca": "a"}}}, "without TLS, and ca of it"),
        ({"kafka": SLICE | {"security": {"protocol": "SSL", "key": "a"}}}, "allowed: `certificate` and `key`, or neither"),
        ({"kafka": SLICE | {"security": SASL | {"password": {}}}}, "allowed: `env` or `file`, one of them"),
        ({"kafka": SLICE | {"security": {"protocol": "SSL"}, "settings": {"ssl.ca.location": "a"}}}, "'ssl.ca.location' stands beside kafka.security"),
        ({"kafka": SLICE | {"format": "avro"}}, "allowed: avro together with `avro`, where its schemas are"),
        ({"kafka": SLICE | {"format": "jsonl", "avro": "a.avsc"}}, "allowed: avro together with `avro`, where its"),
        ({"kafka": SLICE | {"format": "csv"}}, "jsonl"),
        ({"kafka": SLICE | {"avro": {}}}, "allowed: `file` for datums alone, or `files` by id, `registry` or both"),
        ({"kafka": SLICE | {"avro": {"file": "a", "registry": "http://b:1"}}}, "allowed: `file` for datums alone"),
        ({"kafka": SLICE | {"avro": {"registry": "b:8081"}}}, "'b:8081' is no address; allowed: http://HOST:PORT"),
        ({"kafka": SLICE | {"avro": {"registry": "http://ann:x@b:1"}}}, "would be saved with the run; allowed: in kafka.settings_file"),
        ({"kafka": SLICE | {"avro": {"files": {1: "a"}, "schemas": {0: "{}"}}}}, "allowed: one of each file"),
        ({"kafka": SLICE | {"window": {}}}, "allowed: since and until, or the word days"),
        ({"kafka": SLICE | {"window": {"since": "2026-11-20T00:00:00Z"}}}, "allowed: since and until, or the word days"),
        ({"kafka": SLICE | {"window": {"since": "2026-11-20T00:00:00", "until": "2026-11-21T00:00:00Z"}}}, "should have timezone"),
        ({"kafka": SLICE | {"window": {"since": "2026-11-20T01:00:00+01:00", "until": "2026-11-20T00:00:00Z"}}}, "allowed: since < until"),
        ({"kafka": SLICE | {"window": {"by": "days", "until": "2026-11-20T00:00:00Z"}}}, "allowed: no since, no until"),
        ({"kafka": SLICE | {"window": {"by": "days", "late": "soon"}}}, "'soon' is no span of time"),
    ],
)  # fmt: skip
def test_a_slice_that_is_none_is_refused(source: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        Source.model_validate(source)


def test_what_goes_without_saying() -> None:
    said = KafkaSource.model_validate({"servers": "b", "topic": "feed", "window": "days", "avro": "feed.avsc"})
    assert (said.format, said.offsets) == ("avro", {})
    assert said.window == KafkaWindow(by="days", late="1h", deleted="refuse")
    assert said.avro == KafkaAvro(file="feed.avsc")
    assert KafkaSource.model_validate_json(said.model_dump_json()) == said
    with pytest.raises(
        pydantic.ValidationError, match=r"kafka.window is by days, and a random split has no days; allowed"
    ):
        dataset(source=Source(kafka=said), split="random")


@pytest.mark.parametrize(
    ("hours", "since", "until"),
    [
        (0, "2024-01-01T00:00:00Z", "2024-01-05T00:00:00Z"),
        (8, "2023-12-31T16:00:00Z", "2024-01-04T16:00:00Z"),
        (-3.5, "2024-01-01T03:30:00Z", "2024-01-05T03:30:00Z"),
    ],
)
def test_days_begin_where_the_log_says(hours: float, since: str, until: str) -> None:
    source = Source.model_validate({"kafka": {"servers": "b", "topic": "feed", "window": "days"}})
    spec = dataset(source=source, time=TimeColumn(column="day", unit="yyyymmdd", utc_offset_hours=hours))
    wanted = [datetime.datetime.fromisoformat(time.replace("Z", "+00:00")) for time in (since, until)]
    assert list(kafka_slice.window_of(spec) or ()) == wanted


@pytest.mark.parametrize(
    ("late", "reached"),
    [
        (0, (20240101, 20240104)),
        ("1s", (20231231, 20240105)),
        ("1d", (20231231, 20240105)),
        ("25h", (20231230, 20240106)),
    ],
)
def test_days_of_which_late_rows_are(late: int | str, reached: tuple[int, int]) -> None:
    window = {"by": "days", "late": late}
    source = Source.model_validate({"kafka": {"servers": "b", "topic": "feed", "window": window}})
    assert days_beside(dataset(source=source)) == reached
    assert days_beside(dataset()) is None
    assert days_beside(dataset(source=Source.model_validate({"kafka": SLICE}))) is None


@given(st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30)))
def test_milliseconds_begin_no_sooner_than_the_time(time: datetime.datetime) -> None:
    found = kafka_slice.milliseconds(time.replace(tzinfo=datetime.timezone.utc))
    ago = time - datetime.datetime(1970, 1, 1)
    assert (found - 1) * 1000 < (ago.days * 86_400 + ago.seconds) * 1_000_000 + ago.microseconds <= found * 1000


def test_a_topic_has_no_files() -> None:
    spec = dataset(source=Source.model_validate({"kafka": SLICE}))
    assert resolve_log(spec, "nowhere") == ["kafka://feed/0", "kafka://feed/1"]
    assert fingerprint(spec, "nowhere") == fingerprint(spec, "elsewhere")
    with pytest.raises(DataError, match="a slice of Kafka's topic 'feed'; allowed here: files"):
        resolve(spec.source, "nowhere")
    table = SideTable(on="user", source=spec.source, columns={"user": {"type": "int64"}, "age": {"type": "int64"}})
    with pytest.raises(
        pydantic.ValidationError, match="table 'users' is a slice of Kafka's topic 'feed'; allowed for the log alone"
    ):
        dataset(tables={"users": table})


@given(begin=st.integers(0, 10**12), length=st.integers(1, 10**6))
def test_pieces_of_a_slice_are_the_slice(begin: int, length: int) -> None:
    source = Source(kafka=KafkaSource(servers="b", topic="feed", offsets={3: (begin, begin + length)}))
    pieces = cut_kafka("kafka://feed/3", source, (), 0)
    assert pieces[0].begin == begin
    assert pieces[-1].end == begin + length
    assert [piece.end for piece in pieces[:-1]] == [piece.begin for piece in pieces[1:]]
    assert all(0 < piece.end - piece.begin <= kafka_reader.CHUNK_OFFSETS for piece in pieces if piece.end is not None)


def test_settings_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "kafka.properties").write_text("# ours\n\nsasl.password = a=b \nsecurity.protocol=SASL_SSL")
    found = kafka_client.settings(str(tmp_path / "kafka.properties"))
    assert found == {"sasl.password": "a=b", "security.protocol": "SASL_SSL"}
    with pytest.raises(ConfigError, match=r"cannot read kafka.settings_file .*absent: No such file"):
        kafka_client.settings(str(tmp_path / "absent"))
    (tmp_path / "kafka.properties").write_bytes(b"client.id=feedrank\nhunter2\n")
    with pytest.raises(ConfigError, match=r"kafka.properties, line 2: allowed: name=value") as refused:
        kafka_client.settings(str(tmp_path / "kafka.properties"))
    assert "hunter2" not in str(refused.value)
    (tmp_path / "kafka.properties").write_bytes(b"sasl.password=\xff")
    with pytest.raises(ConfigError, match=r"kafka.properties: allowed: text in UTF-8"):
        kafka_client.settings(str(tmp_path / "kafka.properties"))


@pytest.mark.parametrize("password", ["hunter2", ["hunter2"], {"hunter2": "env"}, {"env": "A", "value": "hunter2"}])
def test_a_password_in_a_configuration_is_refused_and_not_repeated(tmp_path: Path, password: Any) -> None:
    kafka = SLICE | {"security": SASL | {"password": password}}
    file = tmp_path / "feed.yaml"
    file.write_text(
        yaml.safe_dump({"name": "feed", "dataset": dataset().model_dump(mode="json") | {"source": {"kafka": kafka}}})
    )
    with pytest.raises(
        ConfigError, match=r"no secret stands in a configuration, .*allowed: \{env: VARIABLE\} or"
    ) as refused:
        loading.load(file)
    assert "hunter2" not in str(refused.value)


def test_secrets_are_read_where_a_client_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED_PASSWORD", "a=b ")
    (tmp_path / "key").write_text("c d\r\n")
    (tmp_path / "pem").write_text("no matter")
    pem = str(tmp_path / "pem")
    tls = {"ca": pem, "certificate": pem, "key": pem, "key_password": {"file": str(tmp_path / "key")}}
    said = KafkaSource.model_validate(SLICE | {"security": SASL | tls})
    assert KafkaSource.model_validate_json(said.model_dump_json()) == said
    assert not any(secret in said.model_dump_json() for secret in ("a=b", "c d"))
    assert said.security is not None
    assert kafka_client.security_settings(said.security) == {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": pem,
        "ssl.certificate.location": pem,
        "ssl.key.location": pem,
        "ssl.key.password": "c d",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "ann",
        "sasl.password": "a=b ",
    }
    bare = KafkaSource.model_validate(SLICE | {"security": {"protocol": "SSL"}})
    assert KafkaSource.model_validate_json(bare.model_dump_json()) == bare
    monkeypatch.delenv("FEED_PASSWORD")
    with pytest.raises(ConfigError, match=r"kafka.security.password: environment variable FEED_PASSWORD is not set"):
        kafka_client.security_settings(said.security)


class _Log:
    """A partition's messages in the place of a broker: as many as are asked for, 1 MB each."""

    def __init__(self, settings: dict[str, Any]) -> None:
        del settings
        self._next = 0

    def assign(self, places: Sequence[Any]) -> None:
        self._next = places[0].offset

    def consume(self, number: int, timeout: float) -> list[Any]:
        del timeout
        offsets = range(self._next, self._next + number)
        self._next += number
        return [
            SimpleNamespace(
                error=lambda: None, offset=partial(int, at), value=lambda: MEGABYTE, timestamp=lambda: (1, 0)
            )
            for at in offsets
        ]

    def close(self) -> None:
        pass


def test_large_messages_are_handed_on_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    place = namedtuple("place", ("topic", "partition", "offset"))
    library = SimpleNamespace(Consumer=_Log, TopicPartition=place, KafkaException=RuntimeError)
    monkeypatch.setattr(kafka_reader, "library", lambda: (library, None))
    monkeypatch.setattr(kafka_client, "library", lambda: (library, None))
    slice_ = KafkaSource.model_validate(SLICE | {"offsets": {0: (0, 2_000)}})
    offsets = []
    for messages in kafka_reader._messages(slice_, Piece("kafka://feed/0", 0, 2_000, 0)):
        assert len(messages) <= 500
        offsets += [message.offset for message in messages]
    assert offsets == list(range(2_000))


def test_a_cluster_that_lists_topics_and_then_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def described(topics: Any, **options: Any) -> dict[str, Future[Any]]:
        del topics, options
        return {"feed": Future()}

    listed = SimpleNamespace(topics={"feed": SimpleNamespace(partitions={0: None, 1: None})}, cluster_id="c")
    client = SimpleNamespace(list_topics=lambda timeout: listed, describe_topics=described, poll=lambda timeout: 0)
    kinds = SimpleNamespace(_SSL=1, _AUTHENTICATION=2, _ALL_BROKERS_DOWN=3)
    library = SimpleNamespace(KafkaException=RuntimeError, TopicCollection=list, KafkaError=kinds)
    admin = SimpleNamespace(AdminClient=lambda settings: client)
    monkeypatch.setattr(kafka_client, "library", lambda: (library, admin))
    monkeypatch.setattr(kafka_slice, "library", lambda: (library, admin))
    monkeypatch.setattr(kafka_slice, "ANSWER_S", 0.01)
    with pytest.raises(DataError, match=r"about topic 'feed': none within 0\.01 s"):
        check_slice(KafkaSource.model_validate(SLICE))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("_TRANSPORT", "about topic 'feed': b:1: connection refused$"),  # nobody answered: why there is no connection
        ("CLUSTER_AUTHORIZATION_FAILED", "about topic 'feed': .*who are you"),  # somebody did, after all
    ],
)
def test_an_answer_says_more_than_what_was_heard(monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    kafka = pytest.importorskip("confluent_kafka", reason="needs the extra feedrank[kafka]")

    def connected(settings: dict[str, Any]) -> SimpleNamespace:
        for heard, text in (("_ALL_BROKERS_DOWN", "1/1 brokers are down"), ("_TRANSPORT", "b:1: connection refused")):
            settings["error_cb"](kafka.KafkaError(getattr(kafka.KafkaError, heard), text))
        return SimpleNamespace(list_topics=refused, poll=lambda timeout: 0)

    def refused(timeout: float) -> None:
        raise kafka.KafkaException(kafka.KafkaError(getattr(kafka.KafkaError, code), "who are you"))

    monkeypatch.setattr(kafka_slice, "library", lambda: (kafka, SimpleNamespace(AdminClient=connected)))
    with pytest.raises(DataError, match=said):
        check_slice(KafkaSource.model_validate(SLICE))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigError, match=r"needs confluent-kafka: install feedrank\[kafka\]"):
        check_slice(KafkaSource.model_validate(SLICE))
