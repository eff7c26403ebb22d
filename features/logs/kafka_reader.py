"""A slice of a Kafka topic as columns. A message's offset is its row's number; nothing is committed to Kafka."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as NoAnswer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from features.errors import ConfigError, DataError
from features.kafka import KafkaSource
from features.logs.columnar import BATCH_ROWS
from features.logs.decompress import CHUNK
from features.logs.jsonl_reader import columns_of, parsed
from features.logs.pieces import Piece
from features.logs.quarantine import RAW_CHARS, RawBatch, text
from features.logs.values import Fault, batch_of
from features.spec import Column, Source

CHUNK_OFFSETS = 200_000
"""Of a piece: workers read pieces apart from each other."""
_ASKED_MESSAGES = 500
"""At once: of a megabyte each, the most that a broker takes unless it is told otherwise, they fit into memory."""
_ANSWER_S = 20.0
_READ: Mapping[str, Any] = {
    "auto.offset.reset": "error",  # else deleted rows are skipped, or all, without an error
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "allow.auto.create.topics": False,
    "check.crcs": True,
    "fetch.queue.backoff.ms": 5,
    "group.id": "feedrank",  # asked for by the library; no group is joined
}


class Identity(NamedTuple):
    """Which topic it was."""

    cluster_id: str
    topic_id: str


def check_slice(kafka: KafkaSource) -> Identity:
    """Asks the cluster whether the slice is there, all of it, and stays.

    Raises:
        ConfigError: if the extra is not installed, or a setting is unknown.
        DataError: if no broker answers; there is no such topic or partition; cluster or topic are others than those named; offsets are
            deleted or not yet written; the topic is compacted, so that a rerun might find fewer rows.
    """
    library, admin = _library()
    client = _made(admin.AdminClient, kafka, {})
    try:
        listed = client.list_topics(timeout=_ANSWER_S)
        partitions = getattr(listed.topics.get(kafka.topic), "partitions", {})
        if not partitions:
            known = ", ".join(sorted(name for name in listed.topics if not name.startswith("_"))[:20])
            raise DataError(f"{kafka.servers} has no topic '{kafka.topic}'; topics: {known or '(none)'}")
        if absent := sorted(set(kafka.offsets) - set(partitions)):
            raise DataError(f"topic '{kafka.topic}' has no partition {absent[0]}; allowed: 0 to {len(partitions) - 1}")
        described = client.describe_topics(library.TopicCollection([kafka.topic]))[kafka.topic].result(_ANSWER_S)
        resource = admin.ConfigResource(admin.ConfigResource.Type.TOPIC, kafka.topic)
        policy = client.describe_configs([resource])[resource].result(_ANSWER_S)["cleanup.policy"].value
    except (library.KafkaException, NoAnswer) as error:
        why = f"none within {_ANSWER_S:g} s" if isinstance(error, NoAnswer) else str(error)
        raise DataError(f"no answer of Kafka at {kafka.servers} about topic '{kafka.topic}': {why}") from error
    found = Identity(str(listed.cluster_id), str(described.topic_id))
    for what, wanted, got in zip(("cluster", "topic"), (kafka.cluster_id, kafka.topic_id), found, strict=True):
        if wanted is not None and wanted != got:
            raise DataError(
                f"topic '{kafka.topic}': the {what}'s id is {got}; allowed: {wanted}, as the slice says: its rows are others"
            )
    if "compact" in policy:
        raise DataError(
            f"topic '{kafka.topic}' is compacted, so a rerun may find fewer rows; allowed: cleanup.policy=delete"
        )
    _check_offsets(kafka)
    return found


def _check_offsets(kafka: KafkaSource) -> None:
    library, _ = _library()
    consumer = _made(library.Consumer, kafka, _READ)
    try:
        for partition, (begin, end) in sorted(kafka.offsets.items()):
            place = library.TopicPartition(kafka.topic, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=_ANSWER_S)
            if begin < low or end > high:
                why = "earlier ones are deleted" if begin < low else "later ones are not written yet"
                raise DataError(
                    f"topic '{kafka.topic}', partition {partition}: offsets {begin} to {end} are asked for; there: {low} to {high}, {why}"
                )
    except library.KafkaException as error:
        raise DataError(f"no answer of Kafka at {kafka.servers} about topic '{kafka.topic}': {error}") from error
    finally:
        consumer.close()


def cut_kafka(file: str, source: Source, columns: Sequence[str], size: int) -> list[Piece]:
    """A partition's slice in pieces of :data:`CHUNK_OFFSETS`; asks nobody."""
    del columns, size
    assert source.kafka is not None
    begin, end = source.kafka.offsets[_partition(file)]
    return [Piece(file, at, min(at + CHUNK_OFFSETS, end), at) for at in range(begin, end, CHUNK_OFFSETS)]


def read_kafka(
    piece: Piece, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads the messages of a piece; of JSON as `features.logs.jsonl_reader.read_jsonl`.

    Offsets without a message (marks of transactions, aborted ones) are no rows. A message without a value is a dead letter.

    Args:
        piece: a partition's offsets; without an end, all of its slice.
        name: the partition's name in dead letters.
        source: names the topic.
        columns: columns to read.
        optional: makes no difference: every row may lack any key.

    Raises:
        DataError: if messages are deleted, or none comes for ``idle_s`` before the end.
    """
    del optional
    pieces = [piece] if piece.end is not None else cut_kafka(piece.file, source, (), 0)
    assert source.kafka is not None
    for part in pieces:
        for messages in _messages(source.kafka, part):
            yield _batch(name, messages, columns)


Message = tuple[int, bytes | None]


def _batch(name: str, messages: Sequence[Message], columns: Mapping[str, Column]) -> RawBatch:
    offsets = np.array([offset for offset, _ in messages], dtype=np.int64)
    faults = {row: Fault("bad_json", value="no value") for row, (_, value) in enumerate(messages) if value is None}
    objects = [None if value is None else parsed(value, row, faults) for row, (_, value) in enumerate(messages)]
    arrays = columns_of(objects, columns, faults)
    nowhere = np.full(len(messages), -1, dtype=np.int64)
    batch = batch_of(name, arrays, faults, (0, nowhere), lambda row: text(messages[row][1], RAW_CHARS))
    batch.rows = offsets[batch.rows]
    batch.rejects = [reject._replace(row=int(offsets[reject.row])) for reject in batch.rejects]
    return batch


def _messages(kafka: KafkaSource, piece: Piece) -> Iterator[list[Message]]:
    """Offset and value of each message, at most :data:`~features.logs.columnar.BATCH_ROWS` at a time, and of large ones so many
    that they have :data:`~features.logs.decompress.CHUNK` bytes.
    """
    library, _ = _library()
    assert piece.end is not None
    where = f"topic '{kafka.topic}', partition {_partition(piece.file)}"
    consumer = _made(library.Consumer, kafka, _READ)
    waiting: list[Message] = []
    at, heard, held = piece.begin, time.monotonic(), 0
    try:
        consumer.assign([library.TopicPartition(kafka.topic, _partition(piece.file), piece.begin)])
        while at < piece.end:
            found = consumer.consume(_ASKED_MESSAGES, timeout=1.0)
            for message in found:
                if message.error() is not None:
                    _judge(message.error(), where, at)
                    ended = message.error().code() == library.KafkaError._PARTITION_EOF
                    at = max(at, message.offset()) if ended else at
                elif message.offset() < piece.end:
                    waiting.append((message.offset(), message.value()))
                    held += len(waiting[-1][1] or b"")
                    at, heard = message.offset() + 1, time.monotonic()
                else:
                    at = piece.end
            if held >= CHUNK or len(waiting) + _ASKED_MESSAGES > BATCH_ROWS:
                yield waiting
                waiting, heard, held = [], time.monotonic(), 0
            if at < piece.end and time.monotonic() - heard > kafka.idle_s:
                raise DataError(
                    f"{where}: no message for {kafka.idle_s} s at offset {at}, before {piece.end}; a broker that does not answer, or a "
                    "transaction that is open"
                )
    finally:
        consumer.close()
    if waiting:
        yield waiting


def _judge(error: Any, where: str, at: int) -> None:
    """Lets pass what may pass by itself: the end of a partition, a broker that is away for a while."""
    library, _ = _library()
    kinds = library.KafkaError
    if error.code() in (kinds._AUTO_OFFSET_RESET, kinds.OFFSET_OUT_OF_RANGE):
        raise DataError(f"{where}: offset {at} is not there any more; rows of the slice are deleted: {error.str()}")
    passing = (kinds._PARTITION_EOF, kinds._ALL_BROKERS_DOWN, kinds._TRANSPORT, kinds._TIMED_OUT)
    if error.code() not in passing and not error.retriable():
        raise DataError(f"{where}: at offset {at}: {error.str()}")


def _partition(file: str) -> int:
    return int(file.rpartition("/")[2])


def _made(kind: Any, kafka: KafkaSource, ours: Mapping[str, Any]) -> Any:
    library, _ = _library()
    given = {**kafka.settings, **_settings(kafka.settings_file), **ours, "bootstrap.servers": kafka.servers}
    try:
        return kind(given)
    except (library.KafkaException, ValueError, TypeError) as error:
        raise ConfigError(f"kafka.settings: {error}; allowed: librdkafka's settings") from error


def _settings(file: str | None) -> dict[str, str]:
    """Lines ``name=value``; blank ones and those that begin with ``#`` say nothing.

    Raises:
        ConfigError: if the file cannot be read, or a line has another form; repeats none of it, for it may be a password.
    """
    if file is None:
        return {}
    try:
        lines = [line.strip() for line in Path(file).read_text("utf-8").splitlines()]
    except OSError as error:
        raise ConfigError(f"cannot read kafka.settings_file {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"kafka.settings_file {file}: allowed: text in UTF-8; byte {error.start} is none") from None
    said = {number: line.partition("=") for number, line in enumerate(lines, 1) if line and not line.startswith("#")}
    if wrong := [number for number, (name, sign, _) in said.items() if not sign or not name.strip()]:
        raise ConfigError(f"kafka.settings_file {file}, line {wrong[0]}: allowed: name=value, or # and a remark")
    return {name.strip(): value.strip() for name, _, value in said.values()}


def _library() -> tuple[Any, Any]:
    """confluent-kafka and its part for administrators.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import confluent_kafka
        from confluent_kafka import admin
    except ImportError as error:
        raise ConfigError(
            "source.kafka needs confluent-kafka: install feedrank[kafka] (uv sync --extra pipeline --extra kafka)"
        ) from error
    return confluent_kafka, admin
