"""Which messages a slice of a Kafka topic has: asked once, as a run begins, and checked whenever it is read."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from concurrent.futures import TimeoutError as NoAnswer
from pathlib import Path
from typing import Any, NamedTuple

from features.errors import ConfigError, DataError
from features.kafka import BARE, KafkaAvro, KafkaSource
from features.logs.kafka_client import READING, library, made
from features.spec import Dataset, TimeSplit

ANSWER_S = 20.0
"""That the cluster may think about a question."""


class Identity(NamedTuple):
    """Which topic it was."""

    cluster_id: str
    topic_id: str


class _Topic(NamedTuple):
    identity: Identity
    partitions: list[int]
    rising: bool
    """Whether the broker sets messages' times, so that they never fall."""


def check_slice(kafka: KafkaSource) -> Identity:
    """Asks the cluster whether the slice is there, all of it, and stays.

    Raises:
        ConfigError: if the extra is not installed, a setting is unknown, or a window has no offsets yet.
        DataError: if no broker answers; there is no such topic or partition; cluster or topic are others than those named; offsets are
            deleted or not yet written; the topic is compacted, so that a rerun might find fewer rows.
    """
    assert kafka.names  # a window without offsets says so
    found = _topic(kafka, _client(kafka))
    _check_offsets(kafka)
    return found.identity


def pinned(dataset: Dataset, now: datetime.datetime | None = None) -> Dataset:
    """A dataset whose slice of a topic stands fast: the offsets of its window and of what actions reach into behind it, which topic it is, what
    files of schemas say.

    What has offsets keeps them. A log that is no topic is returned as it is.

    Args:
        dataset: the spec.
        now: the time, that of this machine's clock by default.

    Raises:
        ConfigError: as of `check_slice`, and if a schema's file cannot be read.
        DataError: as of `check_slice`, and if the window is not over, holds no message, its beginning is deleted, or a transaction is open in it.
    """
    kafka = dataset.source.kafka
    if kafka is None:
        return dataset
    client = _client(kafka)
    topic = _topic(kafka, client)
    told: dict[str, Any] = topic.identity._asdict()
    if not kafka.offsets:
        times = _times(dataset, topic, now or datetime.datetime.now(datetime.timezone.utc))
        told |= _slices(kafka, times, _bounds(kafka, client, topic.partitions, times))
    if kafka.avro is not None:
        told["avro"] = _with_schemas(kafka.avro)
    source = dataset.source.model_copy(update={"kafka": kafka.model_copy(update=told)})
    return dataset.model_copy(update={"source": source})


def window_of(dataset: Dataset) -> tuple[datetime.datetime, datetime.datetime] | None:
    """The first time of the log's window and the first one behind it; None for a slice by offsets, or a log that is no topic."""
    kafka = dataset.source.kafka
    if kafka is None or kafka.window is None:
        return None
    days = dataset.split.days() if isinstance(dataset.split, TimeSplit) else []
    return kafka.window.span(days, dataset.time.utc_offset_hours if dataset.time is not None else 0.0)


def milliseconds(time: datetime.datetime) -> int:
    """Kafka's times count these since 1970; the first of them that is not before `time`."""
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return -((epoch - time) // datetime.timedelta(milliseconds=1))  # rounds up, and no float is in between


class _Client(NamedTuple):
    """Who asks the cluster."""

    admin: Any
    """The library's client for administrators."""
    heard: list[Any]
    """Errors of the connection, which its answers do not tell."""


def _client(kafka: KafkaSource) -> _Client:
    heard: list[Any] = []
    return _Client(made(library()[1].AdminClient, kafka, {"error_cb": heard.append}), heard)


def _topic(kafka: KafkaSource, asked: _Client) -> _Topic:
    kafka_library, admin = library()
    client = asked.admin
    try:
        listed = client.list_topics(timeout=ANSWER_S)
        partitions = getattr(listed.topics.get(kafka.topic), "partitions", {})
        if not partitions:
            known = ", ".join(sorted(name for name in listed.topics if not name.startswith("_"))[:20])
            raise DataError(f"{kafka.servers} has no topic '{kafka.topic}'; topics: {known or '(none)'}")
        if absent := sorted(set(kafka.offsets) - set(partitions)):
            raise DataError(f"topic '{kafka.topic}' has no partition {absent[0]}; allowed: 0 to {len(partitions) - 1}")
        described = client.describe_topics(kafka_library.TopicCollection([kafka.topic]))[kafka.topic].result(ANSWER_S)
        resource = admin.ConfigResource(admin.ConfigResource.Type.TOPIC, kafka.topic)
        settings = client.describe_configs([resource])[resource].result(ANSWER_S)
    except (kafka_library.KafkaException, NoAnswer) as error:
        raise _no_answer(kafka, error, asked) from error
    found = Identity(str(listed.cluster_id), str(described.topic_id))
    for what, wanted, got in zip(("cluster", "topic"), (kafka.cluster_id, kafka.topic_id), found, strict=True):
        if wanted is not None and wanted != got:
            raise DataError(
                f"topic '{kafka.topic}': the {what}'s id is {got}; allowed: {wanted}, as the slice says: its rows are others"
            )
    if "compact" in settings["cleanup.policy"].value:
        raise DataError(
            f"topic '{kafka.topic}' is compacted, so a rerun may find fewer rows; allowed: cleanup.policy=delete"
        )
    return _Topic(found, sorted(partitions), settings["message.timestamp.type"].value == "LogAppendTime")


def _no_answer(kafka: KafkaSource, error: Exception, asked: _Client | None = None) -> DataError:
    why = f"none within {ANSWER_S:g} s" if isinstance(error, NoAnswer) else str(error)
    told = _heard(kafka, asked) if asked is not None and _is_silence(error) else ""
    return DataError(f"no answer of Kafka at {kafka.servers} about topic '{kafka.topic}': {told or why}")


def _is_silence(error: Exception) -> bool:
    """Whether nobody answered, so that an answer does not say more than what was heard."""
    kinds = library()[0].KafkaError
    return isinstance(error, NoAnswer) or error.args[0].code() in (kinds._TRANSPORT, kinds._TIMED_OUT)


def _heard(kafka: KafkaSource, asked: _Client) -> str:
    """Why there is no connection, if somebody said so: who is not trusted, or not known."""
    asked.admin.poll(0)  # tells what was heard
    kinds = library()[0].KafkaError
    places = {kinds._SSL: "ca, certificate and key", kinds._AUTHENTICATION: "mechanism, username and password"}
    said = [error for error in asked.heard if error.code() != kinds._ALL_BROKERS_DOWN]
    if not said:  # as of a listener of TLS, which hangs up on who speaks without
        cut = bool(asked.heard) and kafka.security is None and "security.protocol" not in kafka.settings
        return "the connection is cut; where brokers want TLS or a password, kafka.security says which" if cut else ""
    first = next((error for error in said if error.code() in places), said[0])
    place = places.get(first.code())
    return str(first.str()) + (f"; see {place} of kafka.security" if place else "")


def _check_offsets(kafka: KafkaSource) -> None:
    kafka_library, _ = library()
    consumer = made(kafka_library.Consumer, kafka, READING)
    try:
        for partition, (begin, end) in sorted([*kafka.offsets.items(), *kafka.later.items()]):
            place = kafka_library.TopicPartition(kafka.topic, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=ANSWER_S)
            if begin < low or end > high:
                why = "earlier ones are deleted" if begin < low else "later ones are not written yet"
                raise DataError(
                    f"topic '{kafka.topic}', partition {partition}: offsets {begin} to {end} are asked for; there: {low} to {high}, {why}"
                )
    except kafka_library.KafkaException as error:
        raise _no_answer(kafka, error) from error
    finally:
        consumer.close()


# -- windows ---------------------------------------------------------------------------------------------------------


class _Times(NamedTuple):
    """Of a window."""

    told: str
    """The window, for messages."""
    since: datetime.datetime
    """The first."""
    end: datetime.datetime
    """Behind the window and what is late."""
    reached: datetime.datetime
    """Behind what actions reach into, and what of it is late; `end` where there are none."""
    is_cut: bool
    """Whether `reached` is now, and what is behind it still to come."""


class _Bounds(NamedTuple):
    """Offsets of one partition."""

    low: int
    """The first that is there."""
    high: int
    """Behind the last."""
    settled: int
    """Behind the last that no open transaction holds back."""
    begin: int
    """Of the first message of `_Times.since` or a later one; `high` if there is none."""
    end: int
    """Likewise of `_Times.end`."""
    reached: int
    """Likewise of `_Times.reached`."""


def _times(dataset: Dataset, topic: _Topic, now: datetime.datetime) -> _Times:
    kafka, span = dataset.source.kafka, window_of(dataset)
    assert kafka is not None
    assert kafka.window is not None
    assert span is not None
    since, until = span
    is_exact = topic.rising and kafka.window.by == "times"
    wait = datetime.timedelta(seconds=0 if is_exact else kafka.window.late)
    told = f"topic '{kafka.topic}', window from {since.isoformat()} until {until.isoformat()}"
    late = f", and late messages of it until {(until + wait).isoformat()} (window.late)" if wait else ""
    it_is = f"it is {now.isoformat(timespec='seconds')}"
    if until + wait > now:
        raise DataError(
            f"{told}: its rows are still to come{late}; {it_is}; allowed: a run after that, or an earlier window"
        )
    reached = until + wait + _reach(dataset)
    if reached > now and dataset.actions is not None and dataset.actions.days_after == "required":
        raise DataError(
            f"{told}: the window of actions reaches into messages that come until {reached.isoformat()}, whose actions would be taken for "
            f"those of earlier ones; {it_is}; allowed: a run after that, an earlier window, or `actions.days_after: optional`"
        )
    return _Times(told, since, until + wait, min(reached, now), reached > now)


def _reach(dataset: Dataset) -> datetime.timedelta:
    """How far behind the window impressions matter to its own: of a window of days, whole days, as actions by day are read."""
    if dataset.actions is None:
        return datetime.timedelta(0)
    window = datetime.timedelta(seconds=dataset.actions.window)
    is_by_day = dataset.source.kafka is not None and dataset.source.kafka.by_day
    return datetime.timedelta(days=-(-window // datetime.timedelta(days=1))) if is_by_day else window


def _slices(kafka: KafkaSource, times: _Times, found: Mapping[int, _Bounds]) -> dict[str, dict[int, tuple[int, int]]]:
    """The window as offsets of the partitions that have messages of it, and what is `later`."""
    assert kafka.window is not None
    ends: dict[int, int] = {}
    for partition, of in found.items():
        if of.begin == of.low > 0 and kafka.window.deleted == "refuse":
            raise DataError(
                f"{times.told}: of partition {partition}, offsets before {of.low} are deleted, and nothing that is left is from before the "
                "window: its beginning may be missing; allowed: a later window, or `window.deleted: accept`, which reads what is left"
            )
        # What is cut at now has no end of its own: it ends where a transaction is open.
        ends[partition] = max(of.end, min(of.reached, of.settled)) if times.is_cut else of.reached
        if of.settled < ends[partition]:
            raise DataError(
                f"{times.told}: of partition {partition}, a transaction is open at offset {of.settled}, before the end {ends[partition]}; "
                "allowed: a run after its end"
            )
    slices = {partition: (of.begin, of.end) for partition, of in found.items() if of.begin < of.end}
    if not slices:
        there = ", ".join(f"{partition}: {of.low} to {of.high}" for partition, of in found.items())
        raise DataError(f"{times.told}: it has no message; offsets by partition: {there}")
    later = {partition: (of.end, ends[partition]) for partition, of in found.items() if of.end < ends[partition]}
    return {"offsets": slices, "later": later}


def _bounds(kafka: KafkaSource, asked: _Client, partitions: Iterable[int], times: _Times) -> dict[int, _Bounds]:
    kafka_library, admin = library()
    spec, isolation = admin.OffsetSpec, kafka_library.IsolationLevel
    places = [kafka_library.TopicPartition(kafka.topic, partition) for partition in partitions]

    def ask(what: Any, committed: bool = False) -> list[int]:
        level = isolation.READ_COMMITTED if committed else isolation.READ_UNCOMMITTED
        answers = asked.admin.list_offsets(dict.fromkeys(places, what), isolation_level=level)
        return [answers[place].result(ANSWER_S).offset for place in places]

    try:
        # The ends first, and nothing behind them: what is written meanwhile is behind the window, or too late for it.
        high = ask(spec.latest())
        settled = ask(spec.latest(), committed=True)
        firsts = [ask(spec.for_timestamp(milliseconds(time))) for time in (times.since, times.end, times.reached)]
        low = ask(spec.earliest())
    except (kafka_library.KafkaException, NoAnswer) as error:
        raise _no_answer(kafka, error) from error
    found = {}
    for place, low_, high_, settled_, *offsets in zip(places, low, high, settled, *firsts, strict=True):
        at = [min(offset, high_) if offset >= 0 else high_ for offset in offsets]
        found[place.partition] = _Bounds(low_, high_, settled_, *at)
    return found


# -- schemas ---------------------------------------------------------------------------------------------------------


def _with_schemas(avro: KafkaAvro) -> KafkaAvro:
    if avro.schemas:
        return avro
    files: Mapping[int, str] = avro.files if avro.file is None else {BARE: avro.file}
    return avro.model_copy(update={"schemas": {number: _text(file) for number, file in files.items()}})


def _text(file: str) -> str:
    try:
        return Path(file).read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"kafka.avro: cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"kafka.avro: {file} is no text in UTF-8 at byte {error.start}") from error
