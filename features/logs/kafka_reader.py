"""A slice of a Kafka topic as columns. A message's offset is its row's number; nothing is committed to Kafka."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from features.errors import DataError
from features.kafka import KafkaSource
from features.logs.columnar import BATCH_ROWS
from features.logs.decompress import CHUNK
from features.logs.jsonl_reader import columns_of, parsed
from features.logs.kafka_avro import AvroMessages
from features.logs.kafka_client import READING, library, made
from features.logs.kafka_slice import milliseconds
from features.logs.pieces import Piece
from features.logs.quarantine import OUT_OF_WINDOW, RAW_CHARS, RawBatch, Reject, renumbered, text
from features.logs.values import Fault, batch_of
from features.spec import Column, Source

_NO_ROWS = np.zeros(0, dtype=np.int64)
CHUNK_OFFSETS = 200_000
"""Of a piece: workers read pieces apart from each other."""
_ASKED_MESSAGES = 500
"""At once: of a megabyte each, the most that a broker takes unless it is told otherwise, they fit into memory."""


def cut_kafka(file: str, source: Source, columns: Sequence[str], size: int) -> list[Piece]:
    """A partition's slice in pieces of :data:`CHUNK_OFFSETS`; asks nobody."""
    del columns, size
    assert source.kafka is not None
    _, begin, end = source.kafka.slice_of(file)
    return [Piece(file, at, min(at + CHUNK_OFFSETS, end), at) for at in range(begin, end, CHUNK_OFFSETS)]


def read_kafka(
    piece: Piece, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads the messages of a piece; of JSON as `features.logs.jsonl_reader.read_jsonl`, of Avro as `features.logs.kafka_avro`.

    Offsets without a message (marks of transactions, aborted ones) are no rows. A message without a value is a dead letter, and
    so are messages of other times than the window's.

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
    kafka = source.kafka
    assert kafka is not None
    avro = None if kafka.avro is None else AvroMessages(kafka, columns)
    for part in pieces:
        for messages in _messages(kafka, part):
            inside, left_out = _in_window(name, kafka, messages)
            offsets, values = [message.offset for message in inside], [message.value for message in inside]
            found = iter([_of_json(name, values, columns)]) if avro is None else avro.batches(name, values)
            for batch in found:
                yield renumbered(batch, np.array(offsets, dtype=np.int64))
            if left_out:
                yield RawBatch(name, {}, _NO_ROWS, _NO_ROWS, lambda _: "", left_out)


def check_kafka(
    file: str, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> None:
    """Looks at the one schema of Avro messages that have one; asks nobody.

    Raises:
        DataError: if it lacks a column, or no column can hold a field's type.
    """
    del file
    kafka = source.kafka
    assert kafka is not None
    if kafka.avro is not None and not kafka.avro.framed:
        AvroMessages(kafka, columns).check(name, optional)


class Message(NamedTuple):
    """What is read of a message; its time in milliseconds since 1970, by Kafka's own clock or its writer's."""

    offset: int
    value: bytes | None
    time_ms: int


def _in_window(name: str, kafka: KafkaSource, messages: list[Message]) -> tuple[list[Message], list[Reject]]:
    """Messages of the window's times, and dead letters for the others: one for those that follow each other.

    Of a window by days, the rows' own times say which of them count (`features.logs.reader`).
    """
    window = kafka.window
    if window is None or window.since is None or window.until is None:
        return messages, []
    times = np.array([message.time_ms for message in messages], dtype=np.int64)
    is_inside = (times >= milliseconds(window.since)) & (times < milliseconds(window.until))
    if is_inside.all():
        return messages, []
    changes = np.flatnonzero(np.diff(is_inside)) + 1
    runs = itertools.pairwise([0, *changes.tolist(), len(messages)])
    left_out = [
        Reject(name, messages[begin].offset, -1, "", OUT_OF_WINDOW, str(messages[begin].time_ms), "", end - begin)
        for begin, end in runs
        if not is_inside[begin]
    ]
    return [message for message, inside in zip(messages, is_inside.tolist(), strict=True) if inside], left_out


def _of_json(name: str, values: Sequence[bytes | None], columns: Mapping[str, Column]) -> RawBatch:
    faults = {row: Fault("bad_json", value="no value") for row, value in enumerate(values) if value is None}
    objects = (None if value is None else parsed(value, row, faults) for row, value in enumerate(values))
    arrays = columns_of(objects, columns, faults)
    nowhere = np.full(len(values), -1, dtype=np.int64)
    return batch_of(name, arrays, faults, (0, nowhere), lambda row: text(values[row], RAW_CHARS))


def _messages(kafka: KafkaSource, piece: Piece) -> Iterator[list[Message]]:
    """Messages, at most :data:`~features.logs.columnar.BATCH_ROWS` at a time, and of large ones so many that they have
    :data:`~features.logs.decompress.CHUNK` bytes: the same ones whenever the piece is read.
    """
    waiting: list[Message] = []
    held = 0
    for message in _consumed(kafka, piece):
        waiting.append(message)
        held += len(message.value or b"")
        if held >= CHUNK or len(waiting) >= BATCH_ROWS:
            yield waiting
            waiting, held = [], 0
    if waiting:
        yield waiting


def _consumed(kafka: KafkaSource, piece: Piece) -> Iterator[Message]:
    kafka_library, _ = library()
    assert piece.end is not None
    partition = kafka.slice_of(piece.file).partition
    where = f"topic '{kafka.topic}', partition {partition}"
    consumer = made(kafka_library.Consumer, kafka, READING)
    at, heard = piece.begin, time.monotonic()
    try:
        consumer.assign([kafka_library.TopicPartition(kafka.topic, partition, piece.begin)])
        while at < piece.end:
            asked = min(_ASKED_MESSAGES, piece.end - at)  # for more, it waits at the end of a partition
            for message in consumer.consume(asked, timeout=1.0):
                offset = message.offset()
                if (error := message.error()) is not None:
                    _judge(error, where, at)
                    at = max(at, offset) if error.code() == kafka_library.KafkaError._PARTITION_EOF else at
                elif offset < piece.end:
                    at = offset + 1
                    yield Message(offset, message.value(), message.timestamp()[1])
                    heard = time.monotonic()
                else:
                    at = piece.end
            if at < piece.end and time.monotonic() - heard > kafka.idle_s:
                raise DataError(
                    f"{where}: no message for {kafka.idle_s} s at offset {at}, before {piece.end}; a broker that does not answer, or a "
                    "transaction that is open"
                )
    finally:
        consumer.close()


def _judge(error: Any, where: str, at: int) -> None:
    """Lets pass what may pass by itself: the end of a partition, a broker that is away for a while."""
    kafka_library, _ = library()
    kinds = kafka_library.KafkaError
    if error.code() in (kinds._AUTO_OFFSET_RESET, kinds.OFFSET_OUT_OF_RANGE):
        raise DataError(f"{where}: offset {at} is not there any more; rows of the slice are deleted: {error.str()}")
    passing = (kinds._PARTITION_EOF, kinds._ALL_BROKERS_DOWN, kinds._TRANSPORT, kinds._TIMED_OUT)
    if error.code() not in passing and not error.retriable():
        raise DataError(f"{where}: at offset {at}: {error.str()}")
