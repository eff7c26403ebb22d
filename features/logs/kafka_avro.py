"""Kafka messages that are Avro datums as columns: one that does not decode is set aside alone."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
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
from features.logs.quarantine import RAW_CHARS, RawBatch, text, value_text
from features.logs.schema_registry import Registered, SchemaRegistry
from features.logs.values import Fault, batch_of
from features.spec import Column

_FRAME_BYTES = 5
_USER = f"{REGISTRY}basic.auth.user.info"


class Datum(NamedTuple):
    """A message, and by which schema its value is one datum from a byte on."""

    row: int
    value: bytes
    schema: int
    start: int


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

    def check(self, name: str) -> None:
        """Whether the one schema of all messages has the columns.

        Raises:
            DataError: if it lacks one, or no column can hold a field's type.
        """
        if not self._avro.framed and (found := self._known[BARE]) is not None:
            column_types(name, found.schema, self._columns, ())

    def batches(self, name: str, values: Sequence[bytes | None]) -> Iterator[RawBatch]:
        """Rows by schema, in the order in which these come first; a row's number is its place in `values`.

        Args:
            name: in dead letters.
            values: of messages.

        Raises:
            DataError: if a registry does not answer, or no column can hold the type that a schema gives it.
        """
        faults: dict[int, Fault] = {}
        datums = [datum for row, value in enumerate(values) if (datum := self._datum(row, value, faults)) is not None]
        if faults:
            yield _refused(name, values, faults)
        numbers = list(dict.fromkeys(datum.schema for datum in datums))
        for number in numbers:
            readable = self._known[number]
            assert readable is not None
            own = datums if len(numbers) == 1 else [datum for datum in datums if datum.schema == number]
            yield self._batch(name, own, readable)

    def _datum(self, row: int, value: bytes | None, faults: dict[int, Fault]) -> Datum | None:
        """Where a message's datum begins, and by which schema it is read; None, and a fault, if it names none."""
        if value is None:
            faults[row] = Fault("bad_avro", value="no value")
        elif not self._avro.framed:
            return Datum(row, value, BARE, 0)
        elif len(value) < _FRAME_BYTES or value[0]:
            faults[row] = Fault("bad_avro", value="does not begin with a byte 0 and four of a schema's id")
        elif self._find(number := int.from_bytes(value[1:_FRAME_BYTES], "big")) is None:
            faults[row] = Fault("bad_avro", value=f"nobody knows a schema of id {number}")
        else:
            return Datum(row, value, number, _FRAME_BYTES)
        return None

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

    def _batch(self, name: str, datums: Sequence[Datum], readable: _Readable) -> RawBatch:
        faults: dict[int, Fault] = {}
        records = _decoded(datums, readable.schema.row, faults, self._avro.framed)
        arrays = {column: _array(column, kind, records, faults) for column, kind in readable.types.items()}

        def raw(at: int) -> str:
            if at in faults:
                return text(datums[at].value, RAW_CHARS)
            return text(repr({column: value_text(array, at) for column, array in arrays.items()}), RAW_CHARS)

        batch = batch_of(name, arrays, faults, (0, np.full(len(datums), -1, dtype=np.int64)), raw)
        rows = np.array([datum.row for datum in datums], dtype=np.int64)
        batch.rows = rows[batch.rows]
        batch.rejects = [reject._replace(row=int(rows[reject.row])) for reject in batch.rejects]
        return batch


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
    batch.rejects = [reject._replace(row=rows[reject.row]) for reject in batch.rejects]
    return batch


def _decoded(datums: Sequence[Datum], schema: Any, faults: dict[int, Fault], framed: bool) -> list[dict[str, Any]]:
    """A record of each datum, empty where there is a fault: one must end where its message does."""
    # One stream for all: each datum is read from its own place, whatever its neighbours are.
    stream = io.BytesIO(b"".join(datum.value for datum in datums))
    ends = itertools.accumulate(len(datum.value) for datum in datums)
    records: list[dict[str, Any]] = []
    for place, (datum, end) in enumerate(zip(datums, ends, strict=True)):
        begin = end - len(datum.value) + datum.start
        stream.seek(begin)
        try:
            record: Any = schemaless_reader(stream, schema, None)
        except UNREADABLE as error:
            why = text(error) or type(error).__name__
        else:
            if stream.tell() == end:
                records.append(record)
                continue
            why = f"it has {end - begin} bytes, and by its schema {stream.tell() - begin}"
        hint = (
            "; it begins as Confluent's messages do, which `files` or `registry` read"
            if not framed and _framed(datum)
            else ""
        )
        faults[place] = Fault("bad_avro", value=why + hint)
        records.append({})
    return records


def _framed(datum: Datum) -> bool:
    return len(datum.value) > _FRAME_BYTES and not datum.value[0]


def _array(column: str, kind: AvroType, records: Sequence[dict[str, Any]], faults: dict[int, Fault]) -> pa.Array:
    values = [record.get(column) for record in records]
    try:
        return kind.array(values)
    except UNREADABLE:
        for place, value in enumerate(values):
            try:
                kind.array([value])
            except UNREADABLE as error:
                faults.setdefault(place, Fault("bad_avro", column, f"{text(value, 50)}: {text(error)}"))
                values[place] = None
        return kind.array(values)
