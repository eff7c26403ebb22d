"""Avro messages: what fastavro wrote comes back, by one schema, by ids and by a registry; anything else is a dead letter of its own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import ConfigError, DataError
from features.kafka import KafkaAvro, KafkaSource
from features.logs.kafka_avro import AvroMessages
from features.logs.kafka_slice import _with_schemas
from features.logs.quarantine import Reject
from features.logs.sources import check_columns, check_found
from features.spec import Column, Source
from tests.schema_registry import schema_registry

FIRST = {
    "type": "record",
    "name": "Row",
    "namespace": "feed",
    "fields": [
        {"name": "user", "type": "int"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "tags", "type": {"type": "array", "items": "long"}},
        {"name": "score", "type": "double"},
        {"name": "not_read", "type": {"type": "map", "values": "string"}},
    ],
}
SECOND = FIRST | {
    "fields": [
        {"name": "user", "type": "long"},
        {"name": "place", "type": "feed.Place"},
        {"name": "at", "type": "string"},
    ]
}
PLACE = {"type": "enum", "name": "Place", "namespace": "feed", "symbols": ["home", "friends"]}
COLUMNS = {
    "user": Column(type="int64"),
    "name": Column(type="string"),
    "tags": Column(type="list<int64>"),
    "score": Column(type="float32"),
    "place": Column(type="string"),
}
Rows = dict[int, dict[str, Any]]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.integers(-(2**31), 2**31 - 1),
            "name": st.none() | st.text(),
            "tags": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
            "score": st.floats(allow_nan=False),
            "not_read": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
        }
    ),
    min_size=1,
    max_size=8,
)


def datum(row: dict[str, Any], schema: Any = FIRST, others: tuple[Any, ...] = ()) -> bytes:
    named: dict[str, Any] = {}
    for other in others:
        fastavro.parse_schema(other, named)
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema, named), row)
    return stream.getvalue()


def framed(number: int, value: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + value


def a_row(user: int) -> dict[str, Any]:
    return {"user": user, "name": f"n{user}", "tags": [user, 7], "score": 0.5, "not_read": {}}


def source(avro: KafkaAvro, **changes: Any) -> KafkaSource:
    return KafkaSource(servers="nowhere:1", topic="feed", offsets={0: (0, 9)}, avro=avro, **changes)


def one(schema: Any) -> KafkaAvro:
    return KafkaAvro(file="feed.avsc", schemas={0: json.dumps(schema)})


def read(kafka: KafkaSource, values: list[bytes | None]) -> tuple[Rows, list[Reject]]:
    """Rows by place in `values`, and dead letters; what is given to hundreds of rows is the text that they are shown by."""
    rows: Rows = {}
    letters: list[Reject] = []
    for batch in AvroMessages(kafka, COLUMNS).batches("kafka://feed/0", values):
        read_here = pa.table(batch.columns).to_pylist() if batch.columns else []
        assert len(read_here) == len(batch.rows)
        rows |= dict(zip(batch.rows.tolist(), read_here, strict=True))
        letters += batch.rejects
    assert sorted([*rows, *(letter.row for letter in letters)]) == list(range(len(values)))
    return rows, letters


def as_read(row: dict[str, Any]) -> dict[str, Any]:
    """Text is bytes until it is typed."""
    name = None if row["name"] is None else row["name"].encode()
    return {"user": row["user"], "name": name, "tags": row["tags"], "score": row["score"]}


@given(rows=ROWS)
def test_what_fastavro_wrote_comes_back(rows: list[dict[str, Any]]) -> None:
    found, letters = read(source(one(FIRST)), [datum(row) for row in rows])
    assert letters == []
    assert found == {place: as_read(row) for place, row in enumerate(rows)}
    files = KafkaAvro(files={70_000: "a.avsc"}, schemas={70_000: json.dumps(FIRST)})
    assert read(source(files), [framed(70_000, datum(row)) for row in rows]) == (found, [])


@given(rows=ROWS, at=st.integers(0, 7), byte=st.integers(0, 255), cut=st.integers(0, 200))
def test_a_broken_datum_costs_no_other(rows: list[dict[str, Any]], at: int, byte: int, cut: int) -> None:
    """Cut or longer, it never is a row; and its neighbours are what they were."""
    values: list[bytes | None] = [datum(row) for row in rows]
    at %= len(rows)
    whole = values[at]
    assert whole is not None
    broken = whole + bytes([byte]) if cut >= len(whole) else whole[:cut]
    values[at] = broken
    found, letters = read(source(one(FIRST)), values)
    assert found == {place: as_read(row) for place, row in enumerate(rows) if place != at}
    (letter,) = letters
    assert (letter.row, letter.reason, letter.rows) == (at, "bad_avro", 1)


def test_dead_letters_say_why() -> None:
    bad_number = datum(a_row(1))[1:]  # of `user`, another number is put before: one of more bits than an int has
    beyond = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + bad_number
    values = [None, datum(a_row(1))[:-1], datum(a_row(2)) + b"z", framed(7, datum(a_row(3))), beyond, datum(a_row(5))]
    rows, letters = read(source(one(FIRST)), values)
    assert rows == {5: as_read(a_row(5))}
    said = {letter.row: letter for letter in letters}
    assert said[0].value == "no value"
    length = len(datum(a_row(2)))
    assert said[2].value == f"it has {length + 1} bytes, and by its schema {length}"
    assert said[2].raw.endswith("z")
    assert said[3].value.endswith("it begins as Confluent's messages do, which `files` or `registry` read")
    assert said[4].column == "user"
    assert {letter.reason for letter in letters} == {"bad_avro"}


def test_ids_that_nobody_knows_and_messages_without_one() -> None:
    kafka = source(KafkaAvro(files={3: "a.avsc"}, schemas={3: json.dumps(FIRST)}))
    good = framed(3, datum(a_row(1)))
    rows, letters = read(kafka, [good, framed(4, datum(a_row(2))), b"\0\0\0", b"\1" + good[1:], b"", good[:-1], good])
    assert rows == {0: as_read(a_row(1)), 6: as_read(a_row(1))}
    assert {letter.row: letter.value for letter in letters if letter.row != 5} == {
        1: "nobody knows a schema of id 4",
        2: "does not begin with a byte 0 and four of a schema's id",
        3: "does not begin with a byte 0 and four of a schema's id",
        4: "does not begin with a byte 0 and four of a schema's id",
    }


def test_a_registry_is_asked_once_for_each_id(tmp_path: Path) -> None:
    (tmp_path / "kafka.properties").write_text("schema.registry.basic.auth.user.info=ann:pass:word\nclient.id=x")
    reference = {"name": "feed.Place", "subject": "feed/place", "version": 4}
    answers = {
        "/schemas/ids/1": {"schema": json.dumps(FIRST)},
        "/schemas/ids/258": {"schema": json.dumps(SECOND), "schemaType": "AVRO", "references": [reference]},
        "/subjects/feed%2Fplace/versions/4": {
            "subject": "feed/place",
            "version": 4,
            "id": 9,
            "schema": json.dumps(PLACE),
        },
    }
    second = [{"user": user, "place": "friends", "at": "x"} for user in (2**40, 6)]
    written = [framed(258, datum(row, SECOND, (PLACE,))) for row in second]
    values = [
        framed(1, datum(a_row(1))),
        written[0],
        framed(99, b"x"),
        framed(1, datum(a_row(2))),
        written[1],
        framed(99, b""),
    ]
    with schema_registry(answers, "ann:pass:word") as registry:
        avro = KafkaAvro(registry=registry.address + "/")
        rows, letters = read(source(avro, settings_file=str(tmp_path / "kafka.properties")), values)
        assert registry.asked == [
            "/schemas/ids/1",
            "/schemas/ids/258",
            "/subjects/feed%2Fplace/versions/4",
            "/schemas/ids/99",
        ]
        with pytest.raises(ConfigError, match=r"refuses \(401\); allowed: schema.registry.basic.auth.user.info"):
            read(source(avro), values)
    assert rows == {
        0: as_read(a_row(1)),
        1: {"user": 2**40, "place": "friends"},
        3: as_read(a_row(2)),
        4: {"user": 6, "place": "friends"},
    }
    assert [(letter.row, letter.value) for letter in letters] == [
        (row, "nobody knows a schema of id 99") for row in (2, 5)
    ]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (503, "answers 503 to /schemas/ids/1: oops"),
        (404, "answers 404 to /schemas/ids/1: oops"),  # no registry's word for an unknown id
        ({"schema": "message Row {}", "schemaType": "PROTOBUF"}, "a message has a schema of PROTOBUF; allowed: AVRO"),
        ({"schema": "{"}, "a schema is no JSON"),
        ({"schema": '{"type": "record"}'}, "topic 'feed', schema 1: it is no Avro schema"),
        ({"schema": '"string"'}, "topic 'feed', schema 1: it is no record with fields"),
        ({"schema": json.dumps(SECOND)}, "topic 'feed', schema 1: it is no Avro schema: .*feed.Place"),
    ],
)  # fmt: skip
def test_a_registry_that_answers_otherwise_stops(answer: Any, said: str) -> None:
    with schema_registry({"/schemas/ids/1": answer}) as registry, pytest.raises(DataError, match=said):
        read(source(KafkaAvro(registry=registry.address)), [framed(1, datum(a_row(1)))])


def test_a_registry_that_is_away_for_a_moment_is_asked_again() -> None:
    with schema_registry({"/schemas/ids/1": [503, 502, {"schema": json.dumps(FIRST)}]}) as registry:
        rows, letters = read(source(KafkaAvro(registry=registry.address)), [framed(1, datum(a_row(1)))])
        assert registry.asked == ["/schemas/ids/1"] * 3
    assert rows == {0: as_read(a_row(1))}
    assert not letters


def test_no_registry() -> None:
    with pytest.raises(DataError, match=r"no answer of Schema Registry http://127.0.0.1:1: "):
        read(source(KafkaAvro(registry="http://127.0.0.1:1")), [framed(1, b"")])


def test_one_schema_is_checked_before_anything_is_read() -> None:
    def check(avro: KafkaAvro, *columns: str) -> None:
        check_columns(
            "kafka://feed/0",
            "kafka://feed/0",
            Source(kafka=source(avro)),
            dict.fromkeys(columns, Column(type="string")),
        )

    check(one(FIRST), "user", "tags")
    with pytest.raises(DataError, match="the file lacks tag; columns present: user, name, tags, score, not_read"):
        check(one(FIRST), "user", "tag")
    with pytest.raises(
        DataError, match=r"topic 'feed', its schema: field 'not_read' is .*map.*allowed: booleans, numbers"
    ):
        check(one(FIRST), "not_read")
    by_id = KafkaAvro(files={1: "a"}, schemas={1: json.dumps(FIRST)})
    check(by_id, "tag")  # a later schema may have it: a column that no row has is found in the end
    with pytest.raises(DataError, match="none of the 5 rows has tag"):
        check_found(5, {"tag": 5}, Source(kafka=source(by_id)), "the log")
    check_found(5, {"tag": 5}, Source(kafka=source(one(FIRST))), "the log")


def test_files_are_read_once(tmp_path: Path) -> None:
    file = tmp_path / "feed.avsc"
    file.write_text(json.dumps(FIRST))
    found = _with_schemas(KafkaAvro(file=str(file)))
    assert found == KafkaAvro(file=str(file), schemas={0: json.dumps(FIRST)})
    file.write_text("{")
    assert _with_schemas(found) == found
    assert KafkaAvro.model_validate_json(found.model_dump_json()) == found
    with pytest.raises(DataError, match="topic 'feed', the file of schema 0: it is no JSON"):
        read(source(_with_schemas(KafkaAvro(file=str(file)))), [])
    with pytest.raises(ConfigError, match=r"kafka.avro: cannot read .*absent: No such file"):
        _with_schemas(KafkaAvro(files={1: str(tmp_path / "absent")}))
