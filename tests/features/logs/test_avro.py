"""Avro logs: types from the schema, damaged files, timestamps, codecs."""

from __future__ import annotations

import datetime
import decimal
import errno
import io
import zlib
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import DataError
from features.logs import avro_reader
from features.logs.avro_blocks import CODECS, read_header
from features.logs.avro_reader import check_avro, read_avro
from features.logs.avro_types import arrow_type, decodable
from features.logs.pieces import Piece
from features.spec import DAY, Column, Dataset, RandomSplit, Source, TimeColumn
from tests.features.logs.small_log import COLUMNS, dataset, read

AVRO = Source(files="*.avro", format="avro")
TYPES: dict[str, Any] = {
    "user": ["null", "int"],
    "item": "long",
    "score": ["null", "double"],
    "name": ["null", "string"],
    "tags": ["null", {"type": "array", "items": ["null", "int"]}],
    "day": "int",
    "click": "boolean",
    "like": "float",
    "seen": "int",
}


def _row(number: int) -> dict[str, Any]:
    return {
        "user": number,
        "item": number % 1000,
        "score": number % 4 / 2,
        "name": "a",
        "tags": [1, 2],
        "day": 20240101,
        "click": True,
        "like": 0.0,
        "seen": 1,
    }


def _schema(**types: Any) -> dict[str, Any]:
    fields = [{"name": name, "type": kind} for name, kind in (TYPES | types).items()]
    return {"type": "record", "name": "Row", "namespace": "small.log", "fields": fields}


def _write(
    path: Path, rows: int = 4, file: str = "log.avro", codec: str = "null", sync: int = 16_000, **columns: Any
) -> Path:
    """Rows 0, 1, ...; `columns` are (type, values)."""
    values = [_row(n) | {name: column[1][n] for name, column in columns.items()} for n in range(rows)]
    with open(path / file, "wb") as stream:
        kinds = {name: column[0] for name, column in columns.items()}
        fastavro.writer(stream, _schema(**kinds), values, codec=codec, sync_interval=sync)
    return path


def _raw(file: Path, *columns: str) -> dict[str, pa.Array]:
    [batch] = read_avro(Piece(str(file)), "log.avro", AVRO, columns)
    return batch.columns


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_the_types_of_a_log(tmp_path: Path, codec: str) -> None:
    rows, bad = read(dataset(source=AVRO), _write(tmp_path, codec=codec))
    assert bad == []
    assert rows["user"].to_pylist() == [0, 1, 2, 3]
    assert rows["score"].to_pylist() == [0, 0.5, 1, 1.5]
    assert rows["name"].to_pylist() == ["a"] * 4
    assert rows["tags"].to_pylist() == [[1, 2]] * 4
    assert rows["label_click"].to_pylist() == [1.0] * 4


@pytest.mark.parametrize("codec", ["snappy", "zstandard"])
def test_codecs_that_fastavro_lacks(tmp_path: Path, codec: str) -> None:
    file = _write(tmp_path) / "log.avro"
    data = file.read_bytes()
    with open(file, "rb") as stream:
        header = read_header(stream)
    body = data[header.end + 3 : -16]  # 1 byte: 4 rows, 2 bytes: their length
    packed = pa.compress(body, codec="snappy" if codec == "snappy" else "zstd", asbytes=True)
    packed += zlib.crc32(body).to_bytes(4, "big") if codec == "snappy" else b""
    length = io.BytesIO()
    fastavro.schemaless_writer(length, "long", len(packed))
    named = data[: header.end].replace(b"\x08null", bytes([2 * len(codec)]) + codec.encode())
    file.write_bytes(named + data[header.end : header.end + 1] + length.getvalue() + packed + header.marker)
    rows, bad = read(dataset(source=AVRO), tmp_path)
    assert (rows["user"].to_pylist(), bad) == ([0, 1, 2, 3], [])


def test_an_unknown_codec_names_those_that_work(tmp_path: Path) -> None:
    file = _write(tmp_path) / "log.avro"
    file.write_bytes(file.read_bytes().replace(b"\x08null", b"\x06lz4"))
    with pytest.raises(DataError, match=r"log.avro: compressed by 'lz4'; allowed: null, deflate, snappy, bzip2, xz"):
        read(dataset(source=AVRO), tmp_path)
    with pytest.raises(DataError, match="compressed by 'lz4'"):
        check_avro(str(file), "log.avro", AVRO, ["user"])


def test_bad_values_are_refused_row_by_row(tmp_path: Path) -> None:
    nan = float("nan")
    _write(
        tmp_path,
        8,
        user=("double", [0, 1.0, 2.5, nan, float("inf"), 5, 6, 7]),
        score=(["null", "string"], ["1", "2", "3", "4", "5", "x", "7", None]),
        name=("bytes", [b"a", b"a", b"a", b"a", b"a", b"a", b"\xff", b""]),
        tags=(TYPES["tags"], [[1, None], [], None, [1], [1], [1], [1], [2]]),
    )
    rows, bad = read(dataset(source=AVRO), tmp_path)
    assert [(b["row"], b["line"], b["reason"], b["column"], b["value"]) for b in bad] == [
        (3, -1, "bad_number", "user", "2.5"),
        (4, -1, "missing_value", "user", "nan"),
        (5, -1, "bad_number", "user", "inf"),
        (6, -1, "bad_number", "score", "x"),
        (7, -1, "bad_utf8", "name", "\\xff"),
    ]
    assert rows["user"].to_pylist() == [0, 1, 7]
    assert rows["tags"].to_pylist() == [[1], [], [2]]
    assert rows["score"].to_pylist() == [1, 2, None]
    assert rows["name"].to_pylist() == ["a", "a", None]


def test_text_that_is_not_utf8_costs_its_own_row_only(tmp_path: Path) -> None:
    file = _write(tmp_path, name=("string", ["ok", "_bad_", "ok", "ok"])) / "log.avro"
    file.write_bytes(file.read_bytes().replace(b"_bad_", b"\xfe" * 5))
    rows, bad = read(dataset(source=AVRO), tmp_path)
    assert rows["user"].to_pylist() == [0, 2, 3]
    assert [(b["row"], b["reason"], b["value"]) for b in bad] == [(2, "bad_utf8", "\\xfe" * 5)]


def test_oversized_text(tmp_path: Path) -> None:
    source = AVRO.model_copy(update={"max_field_bytes": 50})
    _write(tmp_path, name=(["null", "string"], ["a", "b" * 51, "c" * 50, None]))
    rows, bad = read(dataset(source=source), tmp_path)
    assert rows["user"].to_pylist() == [0, 2, 3]
    assert [(b["row"], b["reason"]) for b in bad] == [(2, "oversized_field")]


ENUM = {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}


@pytest.mark.parametrize(
    ("kind", "values", "arrow", "found"),
    [
        ("null", [None, None], pa.null(), [None, None]),
        (["int", "long"], [1, 2**40], pa.int64(), [1, 2**40]),
        (["float", "double"], [0.5, 0.1], pa.float64(), [0.5, 0.1]),
        (["null", "int", "string"], [7, "x"], pa.binary(), [b"7", b"x"]),
        (["long", "double"], [2**60, float("nan")], pa.binary(), [str(2**60).encode(), None]),
        (["boolean", "int"], [True, 2], pa.binary(), [b"true", b"2"]),
        (ENUM, ["B", "A"], pa.string(), ["B", "A"]),
        (["null", ENUM], ["B", None], pa.string(), ["B", None]),
        ({"type": "fixed", "name": "Two", "size": 2}, [b"ab", b"cd"], pa.binary(), [b"ab", b"cd"]),
        ({"type": "string", "logicalType": "uuid"}, ["a", "b"], pa.binary(), [b"a", b"b"]),
        ({"type": "long", "logicalType": "time-micros"}, [5, 6], pa.int64(), [5, 6]),
        ({"type": "array", "items": "string"}, [["a"], []], pa.list_(pa.binary()), [[b"a"], []]),
        ({"type": "array", "items": ["int", "string"]}, [["a", 1], []], pa.list_(pa.binary()), [[b"a", b"1"], []]),
        (
            ["null", {"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 2}],
            [decimal.Decimal("-123456789012345678901234567890.10"), None],
            pa.string(),
            ["-123456789012345678901234567890.10", None],
        ),
    ],
)
def test_arrow_types_come_from_the_schema(
    tmp_path: Path, kind: Any, values: list[Any], arrow: pa.DataType, found: list[Any]
) -> None:
    with open(tmp_path / "log.avro", "wb") as stream:
        schema = {
            "type": "record",
            "name": "Row",
            "fields": [{"name": "x", "type": kind}, {"name": "y", "type": "int"}],
        }
        context = decimal.getcontext().copy()
        context.prec = 50
        with decimal.localcontext(context):
            fastavro.writer(stream, schema, [{"x": value, "y": 1} for value in values])
    array = _raw(tmp_path / "log.avro", "x")["x"]
    assert array.type == arrow
    assert array.to_pylist() == found


def test_an_enum_that_is_defined_elsewhere(tmp_path: Path) -> None:
    with open(tmp_path / "log.avro", "wb") as stream:
        fields = [{"name": "a", "type": ENUM}, {"name": "b", "type": ["null", "Kind"], "default": "no default"}]
        schema = {"type": "record", "name": "Row", "namespace": "deep.er", "fields": fields}
        fastavro.writer(stream, fastavro.parse_schema(schema, _ignore_default_error=True), [{"a": "A", "b": "B"}])
    assert _raw(tmp_path / "log.avro", "b")["b"].to_pylist() == ["B"]


def test_a_type_inside_a_type() -> None:
    assert arrow_type(decodable({"type": {"type": "string"}}), {}) == arrow_type(decodable("string"), {})


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "map", "values": "int"},
        {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "int"}]},
        ["string", {"type": "array", "items": "string"}],
        ["string", {"type": "long", "logicalType": "timestamp-millis"}],
        {"type": "array", "items": {"type": "array", "items": "int"}},
    ],
)
def test_a_type_that_no_column_can_hold_is_named_at_once(tmp_path: Path, kind: Any) -> None:
    file = str(tmp_path / "log.avro")
    with open(file, "wb") as stream:
        fastavro.writer(stream, _schema(name=kind), [])
    message = r"log.avro: field 'name' is .*(map|Inner|array|timestamp-millis).* in the file; allowed: booleans"
    with pytest.raises(DataError, match=message):
        check_avro(file, "log.avro", AVRO, ["user", "name"])
    with pytest.raises(DataError, match=message):
        read(dataset(source=AVRO), tmp_path)
    check_avro(file, "log.avro", AVRO, ["user"])


def test_a_type_that_never_fits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'name' is double in the file; string is read from text or integers"):
        read(dataset(source=AVRO), _write(tmp_path, name=("double", [1.5] * 4)))


def test_a_missing_column(tmp_path: Path) -> None:
    with open(tmp_path / "a.avro", "wb") as stream:
        schema = {"type": "record", "name": "Row", "fields": [{"name": "user", "type": "int"}]}
        fastavro.writer(stream, schema, [{"user": 1}])
    with pytest.raises(DataError, match=r"a.avro: the file lacks item, .*columns present: user"):
        read(dataset(source=AVRO), tmp_path)
    with pytest.raises(DataError, match=r"a.avro: the file lacks item; columns present: user"):
        check_avro(str(tmp_path / "a.avro"), "a.avro", AVRO, ["user", "item"])
    [batch] = read_avro(Piece(str(tmp_path / "a.avro")), "a.avro", AVRO, ["user", "item"], optional=["item"])
    assert {name: values.to_pylist() for name, values in batch.columns.items()} == {"user": [1]}
    [batch] = read_avro(Piece(str(tmp_path / "a.avro")), "a.avro", AVRO, ["item"], optional=["item"])
    assert (batch.columns, batch.rows_read) == ({}, 1)


def test_rows_that_are_no_records_have_no_columns(tmp_path: Path) -> None:
    with open(tmp_path / "log.avro", "wb") as stream:
        fastavro.writer(stream, "int", [1, 2])
    with pytest.raises(DataError, match=r"log.avro: the file lacks user"):
        check_avro(str(tmp_path / "log.avro"), "log.avro", AVRO, ["user"])


MOMENT = datetime.datetime(2024, 1, 1, 23, 59, 59, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("stored", ["timestamp-millis", "timestamp-micros", "local-timestamp-millis"])
def test_timestamps(tmp_path: Path, unit: str, stored: str) -> None:
    spec = dataset(source=AVRO, time=TimeColumn(column="day", unit=unit))
    moment = MOMENT.replace(tzinfo=None) if stored.startswith("local") else MOMENT
    rows, bad = read(spec, _write(tmp_path, day=({"type": "long", "logicalType": stored}, [moment] * 4)))
    assert bad == []
    assert rows[DAY].to_pylist() == [20240101] * 4


def _timed(unit: str) -> Dataset:
    columns = COLUMNS | {"day": Column(type="string" if unit == "iso8601" else "int64")}
    return dataset(source=AVRO, columns=columns, time=TimeColumn(column="day", unit=unit))


@pytest.mark.parametrize("unit", ["yyyymmdd", "iso8601"])
def test_dates(tmp_path: Path, unit: str) -> None:
    dates = [datetime.date(2024, 2, 29), None, datetime.date(2024, 1, 2), datetime.date(2023, 12, 31)]
    _write(tmp_path, day=(["null", {"type": "int", "logicalType": "date"}], dates))
    rows, bad = read(_timed(unit).model_copy(update={"split": RandomSplit()}), tmp_path)
    assert rows[DAY].to_pylist() == [20240229, 20240102, 20231231]
    assert [(b["row"], b["reason"]) for b in bad] == [(2, "bad_time")]


@pytest.mark.parametrize("stored", ["timestamp-millis", "timestamp-micros"])
def test_timestamps_as_iso8601(tmp_path: Path, stored: str) -> None:
    _write(tmp_path, day=({"type": "long", "logicalType": stored}, [MOMENT] * 4))
    rows, bad = read(_timed("iso8601"), tmp_path)
    assert bad == []
    assert rows[DAY].to_pylist() == [20240101] * 4


def test_a_time_beyond_all_calendars_costs_its_own_row_only(tmp_path: Path) -> None:
    with open(tmp_path / "log.avro", "wb") as stream:
        rows = [_row(n) | {"day": 2**62 if n == 1 else 1704067200000} for n in range(4)]
        fastavro.writer(stream, _schema(day={"type": "long", "logicalType": "timestamp-millis"}), rows)
    kept, bad = read(_timed("iso8601"), tmp_path)
    assert kept["user"].to_pylist() == [0, 2, 3]
    assert [(b["row"], b["reason"]) for b in bad] == [(2, "time_out_of_range")]
    assert "(a timestamp[ms, tz=UTC] beyond the years 1 to 9999)" in bad[0]["raw"]


# -- batches ----------------------------------------------------------------------------------------------------


def test_small_blocks_are_joined_and_large_ones_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avro_reader, "BATCH_ROWS", 40)
    _write(tmp_path, 100, sync=1)
    sizes = [len(batch.rows) for batch in read_avro(Piece(str(tmp_path / "log.avro")), "log.avro", AVRO, ["user"])]
    assert sizes == [40, 40, 20]
    _write(tmp_path, 100, sync=10**6)
    batches = list(read_avro(Piece(str(tmp_path / "log.avro")), "log.avro", AVRO, ["user"]))
    assert [len(batch.rows) for batch in batches] == [40, 40, 20]
    assert [n for batch in batches for n in batch.rows.tolist()] == [*range(1, 101)]
    assert [n for batch in batches for n in batch.columns["user"].to_pylist()] == [*range(100)]


def test_a_batch_has_a_limited_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avro_reader, "_BATCH_BYTES", 1000)
    _write(tmp_path, 100, sync=400, name=("string", ["x" * 100] * 100))
    sizes = [len(batch.rows) for batch in read_avro(Piece(str(tmp_path / "log.avro")), "log.avro", AVRO, ["name"])]
    assert sum(sizes) == 100
    assert max(sizes) <= 15


# -- damage -----------------------------------------------------------------------------------------------------


def _blocks(file: Path) -> list[tuple[int, int]]:
    """Offset and size of each block."""
    with open(file, "rb") as stream:
        return [(block.offset, block.size) for block in fastavro.block_reader(stream)]


def _damage(file: Path, place: int, data: bytes) -> None:
    whole = bytearray(file.read_bytes())
    whole[place : place + len(data)] = data
    file.write_bytes(bytes(whole))


def test_an_unreadable_header_is_one_dead_letter(tmp_path: Path) -> None:
    data = (_write(tmp_path, file="a.avro") / "a.avro").read_bytes()
    (tmp_path / "b.avro").write_bytes(data[:40])
    (tmp_path / "c.avro").write_bytes(b"")
    (tmp_path / "d.avro").write_bytes(b"PAR1" + data[4:])
    rows, bad = read(dataset(source=AVRO), tmp_path)
    assert rows.num_rows == 4
    assert [(b["file"], b["row"], b["reason"], b["rows"]) for b in bad] == [
        ("b.avro", -1, "unreadable_file", 1),
        ("c.avro", -1, "unreadable_file", 1),
        ("d.avro", -1, "unreadable_file", 1),
    ]


def test_a_damaged_block_counts_its_rows_and_the_next_is_read(tmp_path: Path) -> None:
    file = _write(tmp_path, 9, codec="bzip2", sync=80) / "log.avro"
    blocks = _blocks(file)
    assert len(blocks) == 3
    _damage(file, blocks[1][0] + 20, b"\xff" * 4)
    rows, bad = read(dataset(source=AVRO), tmp_path)
    assert rows["user"].to_pylist() == [0, 1, 2, 6, 7, 8]
    assert [(b["row"], b["reason"], b["rows"]) for b in bad] == [(4, "unreadable_file", 3)]


def test_a_damaged_marker_loses_an_unknown_number_of_rows(tmp_path: Path) -> None:
    file = _write(tmp_path, 12, codec="bzip2", sync=80) / "log.avro"
    blocks = _blocks(file)
    _damage(file, blocks[2][0] - 5, b"\xff")
    rows, bad = read(dataset(source=AVRO), tmp_path)
    assert rows["user"].to_pylist() == [0, 1, 2, 9, 10, 11]
    assert [(b["row"], b["reason"], b["rows"]) for b in bad] == [(4, "corrupt_file", 1)]


def test_a_false_number_of_rows_is_an_unknown_number(tmp_path: Path) -> None:
    file = _write(tmp_path, 9, codec="bzip2", sync=80) / "log.avro"
    for count, reason in ((2, "corrupt_file"), (60, "unreadable_file"), (63, "corrupt_file")):
        _damage(file, _blocks(file)[0][0], bytes([2 * count if count < 63 else 5]))  # 5 is -3
        rows, bad = read(dataset(source=AVRO), tmp_path)
        assert rows["user"].to_pylist() == [3, 4, 5, 6, 7, 8]
        assert [(b["row"], b["reason"]) for b in bad] == [(1, reason)]
        assert bad[0]["rows"] == (60 if reason == "unreadable_file" else 1)


def test_more_rows_than_bytes_are_not_believed(tmp_path: Path) -> None:
    with open(tmp_path / "log.avro", "wb") as stream:
        fastavro.writer(
            stream, {"type": "record", "name": "R", "fields": [{"name": "user", "type": "int"}]}, [{"user": 1}]
        )
    [(offset, _)] = _blocks(tmp_path / "log.avro")
    _damage(tmp_path / "log.avro", offset, b"\x04")
    [batch] = read_avro(Piece(str(tmp_path / "log.avro")), "log.avro", AVRO, ["user"])
    assert [(r.row, r.reason, r.rows, r.damages_file) for r in batch.rejects] == [(1, "corrupt_file", 1, True)]
    assert "2 rows in 1 bytes" in batch.rejects[0].value


@pytest.mark.parametrize("cut", [1, 2, 10, 30])
def test_a_truncated_file_keeps_its_whole_blocks(tmp_path: Path, cut: int) -> None:
    file = _write(tmp_path, 9, codec="bzip2", sync=80) / "log.avro"
    offset, size = _blocks(file)[2]
    file.write_bytes(file.read_bytes()[: offset + size - cut])
    rows, bad = read(dataset(source=AVRO), tmp_path)
    assert rows["user"].to_pylist() == [0, 1, 2, 3, 4, 5]
    assert [(b["row"], b["reason"], b["rows"]) for b in bad] == [(7, "truncated_file", 1)]


def test_a_marker_is_found_across_the_pieces_of_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _write(tmp_path, 12, codec="bzip2", sync=80) / "log.avro"
    _damage(file, _blocks(file)[0][0] + 1, b"\x01")  # a length of -1
    for size in (1, 7, 16, 100):
        monkeypatch.setattr("features.logs.avro_blocks._SEARCHED_BYTES", size)
        rows, bad = read(dataset(source=AVRO), tmp_path)
        assert rows["user"].to_pylist() == [*range(3, 12)]
        assert [(b["row"], b["reason"], b["rows"]) for b in bad] == [(1, "corrupt_file", 1)]


def test_what_the_system_cannot_read_is_an_error_and_no_row(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere.avro")
    with pytest.raises(DataError, match=f"cannot read {nowhere}: .*No such file"):
        list(read_avro(Piece(nowhere), "a", AVRO, ["user"]))
    with pytest.raises(DataError, match=f"cannot read {nowhere}: .*No such file"):
        check_avro(nowhere, "a", AVRO, ["user"])


@pytest.mark.parametrize("reads", [0, 1])
def test_a_disk_that_fails_is_an_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: int) -> None:
    class Failing(io.BytesIO):
        left = reads

        def read(self, size: int | None = -1, /) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    data = (_write(tmp_path) / "log.avro").read_bytes()
    monkeypatch.setattr(avro_reader, "open_bytes", lambda _: Failing(data))
    with pytest.raises(DataError, match=r"cannot read log.avro: Input/output error"):
        list(read_avro(Piece("log.avro"), "log.avro", AVRO, ["user"]))


def _read_damaged(folder: Path, data: bytes) -> list[dict[str, Any]]:
    """Good rows; a damaged name or type in the header may be an error that says so."""
    (folder / "log.avro").write_bytes(data)
    try:
        rows, _ = read(dataset(source=AVRO), folder)  # checks itself that each batch adds up
    except DataError as error:
        if not any(said in str(error) for said in ("in the file", "the file lacks", "compressed by")):
            raise
        return []
    return [{"user": row["user"], "score": row["score"], "tags": row["tags"]} for row in rows.to_pylist()]


EDITS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4)


@given(EDITS, st.sampled_from(["null", "deflate", "bzip2", "xz"]), st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_any_damage_adds_up(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], codec: str, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("flips")
    data = bytearray((_write(folder, 60, codec=codec, sync=300) / "log.avro").read_bytes())
    for place, value in edits:
        data[place % len(data)] = value
    _read_damaged(folder, bytes(data[: cut if cut % 2 and cut < len(data) else None]))


@given(EDITS, st.sampled_from(["bzip2", "xz"]))
@settings(max_examples=100, deadline=None)
def test_with_a_checksum_what_is_kept_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], codec: str
) -> None:
    folder = tmp_path_factory.mktemp("flips")
    file = _write(folder, 60, codec=codec, sync=300) / "log.avro"
    data = bytearray(file.read_bytes())
    with open(file, "rb") as stream:
        begin = read_header(stream).end
    for place, value in edits:
        data[begin + place % (len(data) - begin)] = value
    for row in _read_damaged(folder, bytes(data)):
        assert row == {"user": row["user"], "score": row["user"] % 4 / 2, "tags": [1, 2]}


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_cut_anywhere_a_beginning_is_kept(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("cuts")
    data = (_write(folder, 60, sync=300) / "log.avro").read_bytes()
    users = [row["user"] for row in _read_damaged(folder, data[: cut % len(data)])]
    assert users == [*range(len(users))]


# -- round trips ------------------------------------------------------------------------------------------------

VALUES = {
    "i": (["null", "int"], st.none() | st.integers(-(2**31), 2**31 - 1)),
    "l": (["null", "long"], st.none() | st.integers(-(2**63), 2**63 - 1)),
    "f": (["null", "float"], st.none() | st.floats(width=32, allow_nan=False)),
    "d": (["null", "double"], st.none() | st.floats(allow_nan=False)),
    "b": (["null", "boolean"], st.none() | st.booleans()),
    "s": (["null", "bytes"], st.none() | st.binary(max_size=20)),
    "t": (
        {"type": "array", "items": ["null", "long"]},
        st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3),
    ),
}


@given(
    st.lists(st.fixed_dictionaries({name: values for name, (_, values) in VALUES.items()}), max_size=30),
    st.sampled_from(sorted(set(CODECS) - {"snappy", "zstandard"})),
    st.integers(1, 500),
)
@settings(max_examples=60, deadline=None)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], codec: str, sync: int
) -> None:
    file = tmp_path_factory.mktemp("trip") / "log.avro"
    fields = [{"name": name, "type": kind} for name, (kind, _) in VALUES.items()]
    with open(file, "wb") as stream:
        schema = {"type": "record", "name": "Row", "fields": fields}
        fastavro.writer(stream, schema, rows, codec=codec, sync_interval=sync)
    found: list[dict[str, Any]] = []
    for batch in read_avro(Piece(str(file)), "log.avro", AVRO, list(VALUES)):
        assert batch.rejects == []
        found += pa.RecordBatch.from_arrays(list(batch.columns.values()), names=list(batch.columns)).to_pylist()
    assert found == rows
