"""Kafka messages that are Avro datums as columns: one that does not decode is set aside alone."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from fastavro import schemaless_reader

from features.errors import DataError
from features.kafka import BARE, KafkaSource
from features.logs.avro_reader import UNREADABLE
from features.logs.avro_schema import AvroSchema, column_types, parsed_schema
from features.logs.avro_types import AvroType
from features.logs.kafka_client import REGISTRY, settings
from features.logs.quarantine import RAW_CHARS, RawBatch, renumbered, text, value_text
from features.logs.schema_registry import Registered, SchemaRegistry
from features.logs.values import Fault, batch_of, by_column
from features.spec import Column

_FRAME_BYTES = 5
_USER = f"{REGISTRY}basic.auth.user.info"


class _Readable(NamedTuple):
    schema: AvroSchema
    types: Mapping[str, AvroType]


class AvroMessages:
    """Decodes messages of one topic; looks for each schema once.

    Args:
        kafka: names the schemas; what files say is in it (`features.logs.kafka_slice.pinned`).
        columns: columns to read: those that a schema lacks are missing in its rows.

    Raises:
        DataError: if the schema of a file is none.
    """

    def __init__(self, kafka: KafkaSource, columns: Mapping[str, Column]) -> None:
        assert kafka.avro is not None
        self._avro, self._columns = kafka.avro, columns
        self._what = f"topic '{kafka.topic}'"
        self._known: dict[int, _Readable | None] = {
            number: self._readable(number, Registered(_json(self._what, number, schema), []))
            for number, schema in self._avro.schemas.items()
        }
        self._registry: SchemaRegistry | None = None
        if self._avro.registry is not None:
            self._registry = SchemaRegistry(self._avro.registry, settings(kafka.settings_file).get(_USER))

    def check(self, name: str, optional: Collection[str] = ()) -> None:
        """Whether the one schema of all messages has the columns that are not optional.

        Raises:
            DataError: if it lacks one, or no column can hold a field's type.
        """
        if not self._avro.framed and (found := self._known[BARE]) is not None:
            column_types(name, found.schema, self._columns, optional)

    def batches(self, name: str, values: Sequence[bytes | None]) -> Iterator[RawBatch]:
        """Rows by schema, in the order in which these come first; a row's number is its place in `values`.

        Args:
            name: in dead letters.
            values: of messages.

        Raises:
            DataError: if a registry does not answer, or no column can hold the type that a schema gives it.
        """
        faults: dict[int, Fault] = {}
        by_schema = self._by_schema(values, faults)
        if faults:
            yield _refused(name, values, faults)
        for number, rows in by_schema.items():
            readable = self._known[number]
            assert readable is not None
            batch = self._batch(name, [values[row] or b"" for row in rows], readable)
            yield renumbered(batch, np.array(rows, dtype=np.int64))

    def _by_schema(self, values: Sequence[bytes | None], faults: dict[int, Fault]) -> dict[int, list[int]]:
        """Rows by the id of their schema; adds those that name none to `faults`."""
        if not self._avro.framed:
            faults.update(
                {row: Fault("bad_avro", value="no value") for row, value in enumerate(values) if value is None}
            )
            return {BARE: [row for row, value in enumerate(values) if value is not None]}
        found: dict[int, list[int]] = {}
        for row, value in enumerate(values):
            if value is None:
                faults[row] = Fault("bad_avro", value="no value")
            elif len(value) < _FRAME_BYTES or value[0]:
                faults[row] = Fault("bad_avro", value="does not begin with a byte 0 and four of a schema's id")
            elif self._find(number := int.from_bytes(value[1:_FRAME_BYTES], "big")) is None:
                faults[row] = Fault("bad_avro", value=f"nobody knows a schema of id {number}")
            else:
                found.setdefault(number, []).append(row)
        return found

    def _find(self, number: int) -> _Readable | None:
        if number not in self._known:
            found = None if self._registry is None else self._registry.schema(number)
            self._known[number] = None if found is None else self._readable(number, found)
        return self._known[number]

    def _readable(self, number: int, found: Registered) -> _Readable:
        what = f"{self._what}, schema {number}" if self._avro.framed else f"{self._what}, its schema"
        try:
            schema = parsed_schema(found.schema, found.named)
        except UNREADABLE as error:
            raise DataError(f"{what}: it is no Avro schema: {text(error)}") from error
        if not schema.types:
            raise DataError(f"{what}: it is no record with fields, as a row is")
        return _Readable(schema, column_types(what, schema, self._columns, set(self._columns)))

    def _batch(self, name: str, values: Sequence[bytes], readable: _Readable) -> RawBatch:
        faults: dict[int, Fault] = {}
        records = _decoded(values, readable.schema.row, _FRAME_BYTES if self._avro.framed else 0, faults)
        arrays = {
            column: _array(column, readable.types[column], of_column, faults)
            for column, of_column in by_column(records, readable.types).items()
        }

        def raw(row: int) -> str:
            if row in faults:
                return text(values[row], RAW_CHARS)
            return text(repr({column: value_text(array, row) for column, array in arrays.items()}), RAW_CHARS)

        return batch_of(name, arrays, faults, (0, np.full(len(values), -1, dtype=np.int64)), raw)


def _json(what: str, number: int, schema: str) -> Any:
    try:
        return json.loads(schema)
    except ValueError as error:
        raise DataError(f"{what}, the file of schema {number}: it is no JSON: {error}") from error


def _refused(name: str, values: Sequence[bytes | None], faults: Mapping[int, Fault]) -> RawBatch:
    """Messages that name no schema."""
    rows = sorted(faults)
    by_place = {place: faults[row] for place, row in enumerate(rows)}
    nowhere = np.full(len(rows), -1, dtype=np.int64)
    batch = batch_of(name, {}, by_place, (0, nowhere), lambda place: text(values[rows[place]], RAW_CHARS))
    return renumbered(batch, np.array(rows, dtype=np.int64))


def _decoded(
    values: Sequence[bytes], schema: Any, start: int, faults: dict[int, Fault]
) -> Iterator[dict[str, Any] | None]:
    """The record of each value, from a byte of it on; None, and a fault, unless it is one datum to its end."""
    # One stream for all, each read from its own place: what is behind one never matters to its neighbours.
    stream = io.BytesIO(b"".join(values))
    begin = 0
    for row, value in enumerate(values):
        begin, end = begin + start, begin + len(value)
        stream.seek(begin)
        try:
            record: Any = schemaless_reader(stream, schema, None)
        except UNREADABLE as error:
            why = text(error) or type(error).__name__
        else:
            why = (
                f"it has {end - begin} bytes, and by its schema {stream.tell() - begin}" if stream.tell() != end else ""
            )
        if why:
            is_framed = not start and len(value) > _FRAME_BYTES and not value[0]
            hint = "; it begins as Confluent's messages do, which `files` or `registry` read" if is_framed else ""
            faults[row] = Fault("bad_avro", value=why + hint)
        yield None if why else record
        begin = end


def _array(column: str, kind: AvroType, values: list[Any], faults: dict[int, Fault]) -> pa.Array:
    try:
        return kind.array(values)
    except UNREADABLE:
        for row, value in enumerate(values):
            try:
                kind.array([value])
            except UNREADABLE as error:
                faults.setdefault(row, Fault("bad_avro", column, f"{text(value, 50)}: {text(error)}"))
                values[row] = None
        return kind.array(values)
