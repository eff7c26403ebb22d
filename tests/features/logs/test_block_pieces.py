"""Pieces of Avro and ORC files, read one after the other, are the file: its rows, their numbers and what is refused."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.orc as po
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from features.logs import orc_reader
from features.logs.pieces import Piece
from features.logs.sources import cut_source, read_source
from features.spec import Column, Source
from tests.features.logs.test_pieces import check, everything

AVRO, ORC = Source(files="", format="avro"), Source(files="", format="orc")
COLUMNS = {"a": Column(type="int64"), "b": Column(type="string")}
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Row",
    "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "bytes"}],
}
MARKER = bytes(range(16))
HYPOTHESIS = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _rows(count: int) -> list[dict[str, Any]]:
    return [{"a": n, "b": b"x" * (n % 7)} for n in range(count)]


def _avro(path: Path, rows: list[dict[str, Any]], codec: str = "null", sync: int = 40) -> Path:
    with (path / "log.avro").open("wb") as file:
        fastavro.writer(file, SCHEMA, rows, codec=codec, sync_interval=sync, sync_marker=MARKER)
    return path / "log.avro"


def _blocks(file: Path) -> list[tuple[int, int, int]]:
    """Offset, size and rows of each block, as fastavro finds them."""
    with file.open("rb") as stream:
        return [(block.offset, block.size, block.num_records) for block in fastavro.block_reader(stream)]


def _long(value: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    return out.getvalue()


def _block(rows: int, data: bytes) -> bytes:
    return _long(rows) + _long(len(data)) + data + MARKER


def _packed(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    for row in rows:
        fastavro.schemaless_writer(out, SCHEMA, row)
    return out.getvalue()


def _of_blocks(path: Path, *blocks: bytes, codec: str = "null") -> Path:
    file = _avro(path, [], codec)
    file.write_bytes(file.read_bytes() + b"".join(blocks))
    return file


def _numbers(file: Path, source: Source = AVRO, columns: Mapping[str, Column] = COLUMNS) -> dict[int, int]:
    """`a` by number of its row, in the whole file."""
    rows, _ = everything(read_source(Piece(str(file)), "log", source, columns))
    return {row[0]: row[2] for row in rows}


# -- Avro -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2"])
@pytest.mark.parametrize("size", [1, 100, 200, 10**6])
def test_avro_is_cut_between_blocks_and_rows_keep_their_numbers(codec: str, size: int, tmp_path: Path) -> None:
    file = _avro(tmp_path, _rows(60), codec)
    pieces = check(file, AVRO, size, COLUMNS)
    rows_before, rows = {0: 0}, 0
    for offset, length, held in _blocks(file):
        rows += held
        rows_before[offset + length] = rows
    assert [piece.first_row for piece in pieces] == [rows_before[piece.begin] + 1 for piece in pieces]
    assert _numbers(file) == {n + 1: n for n in range(60)}
    assert size > 1 or len(pieces) == len(_blocks(file))
    assert size < 10**6 or len(pieces) == 1
    assert all((piece.end or 0) - piece.begin >= size for piece in pieces[:-1])
    assert size in {1, 10**6} or 2 < len(pieces) < len(_blocks(file))


EDIT = st.tuples(st.integers(0, 10**6), st.integers(0, 255))


@HYPOTHESIS
@given(
    rows=st.integers(0, 60),
    codec=st.sampled_from(["null", "deflate", "bzip2"]),
    sync=st.integers(1, 200),
    size=st.integers(1, 400),
    edits=st.lists(EDIT, max_size=3),
    counts=st.lists(EDIT, max_size=2),
    cut=st.none() | st.integers(0, 10**6),
)
@example(rows=1, codec="null", sync=1, size=1, edits=[], counts=[], cut=None)
@example(rows=9, codec="bzip2", sync=1, size=1, edits=[], counts=[(1, 9)], cut=None)  # 1 row, said to be -5
@example(rows=9, codec="null", sync=1, size=1, edits=[], counts=[(1, 100)], cut=None)  # 50, in a few bytes
@example(rows=60, codec="deflate", sync=60, size=1, edits=[], counts=[(0, 2)], cut=None)  # several, said to be 1
def test_avro_damaged_anywhere(
    rows: int,
    codec: str,
    sync: int,
    size: int,
    edits: list[tuple[int, int]],
    counts: list[tuple[int, int]],
    cut: int | None,
    tmp_path: Path,
) -> None:
    file = _avro(tmp_path, _rows(rows), codec, sync)
    blocks = _blocks(file)
    data = bytearray(file.read_bytes())
    begin = blocks[0][0] if blocks else len(data)
    for block, value in counts if blocks else []:
        data[blocks[block % len(blocks)][0]] = value
    for place, value in edits if blocks else []:
        data[begin + place % (len(data) - begin)] = value
    file.write_bytes(data[: None if cut is None else begin + cut % (len(data) - begin + 1)])
    check(file, AVRO, size, COLUMNS)


def test_avro_blocks_without_rows(tmp_path: Path) -> None:
    one, two, none = (_block(len(rows), _packed(rows)) for rows in (_rows(1), _rows(3)[1:], []))
    file = _of_blocks(tmp_path, none, none, one, none, two, none)
    head = len(file.read_bytes()) - len(one + two) - 4 * len(none)
    found = [(piece.begin, piece.first_row) for piece in check(file, AVRO, 1, COLUMNS)]
    ends = [len(none), 2 * len(none), len(none + none + one), len(3 * none + one), len(3 * none + one + two)]
    assert found == [(0, 1), *((head + end, row) for end, row in zip(ends, [1, 1, 2, 2, 4], strict=True))]
    assert _numbers(file) == {1: 0, 2: 1, 3: 2}
    assert [piece.first_row for piece in check(_avro(tmp_path, []), AVRO, 1, COLUMNS)] == [1]


def test_a_row_that_holds_the_marker_and_a_block_is_a_row(tmp_path: Path) -> None:
    inner = MARKER + _block(1, _packed([{"a": 666, "b": b""}]))
    file = _avro(tmp_path, [{"a": n, "b": inner * (n % 3)} for n in range(12)])
    ends = {0, *(offset + length for offset, length, _ in _blocks(file))}
    for size in (1, 60, 200):
        pieces = check(file, AVRO, size, COLUMNS)
        assert len(pieces) > 2
        assert {piece.begin for piece in pieces} <= ends
    assert _numbers(file) == {n + 1: n for n in range(12)}


def test_a_block_inside_the_rows_of_a_damaged_one_comes_with_a_damaged_file(tmp_path: Path) -> None:
    inner = MARKER + _block(1, _packed([{"a": 666, "b": b""}]))
    first, second, third = (_block(1, _packed([{"a": n, "b": inner}])) for n in range(3))
    file = _of_blocks(tmp_path, first, second.replace(_long(1), b"\x01", 1), third)
    for size in (1, 60):
        check(file, AVRO, size, COLUMNS)
    _, refused = everything(read_source(Piece(str(file)), "log", AVRO, COLUMNS))
    assert [(reject.row, reject.reason, reject.rows, reject.damages_file) for reject in refused] == [
        (2, "corrupt_file", 1, True),  # the block up to the marker in its row
        (4, "corrupt_file", 1, True),  # what follows the row that it holds
    ]
    assert _numbers(file) == {1: 0, 3: 666, 5: 2}


@pytest.mark.parametrize(
    ("codec", "said", "numbers"),
    [
        ("null", 2, {4: 3, 5: 4}),  # 3 are there: what follows is numbered as if it were 2
        ("null", 50, {3: 3, 4: 4}),  # more than bytes: as if it were 1
        ("bzip2", 50, {52: 3, 53: 4}),
        ("bzip2", 10**9, {3: 3, 4: 4}),
    ],
)
def test_rows_behind_a_block_of_a_false_number_of_rows(
    codec: str, said: int, numbers: dict[int, int], tmp_path: Path
) -> None:
    files = [_avro(tmp_path, rows, codec, 10**6).read_bytes() for rows in (_rows(1), _rows(4)[1:], _rows(5)[3:])]
    head = len(_avro(tmp_path, [], codec).read_bytes())
    one, three, two = (data[head:] for data in files)
    file = _of_blocks(tmp_path, one, _long(said) + three[1:], two, codec=codec)
    assert _numbers(file) == {1: 0} | numbers
    pieces = check(file, AVRO, 1, COLUMNS)
    # Behind a number that the block's size does not allow, there is no cut.
    assert [piece.first_row for piece in pieces] == [1, 2, *([min(numbers)] if min(numbers) > 3 else [])]


@pytest.mark.parametrize("head", [b"Obj\x01", b"PAR1", b""])
def test_avro_without_a_readable_header_is_one_letter(head: bytes, tmp_path: Path) -> None:
    file = tmp_path / "log.avro"
    file.write_bytes(head + b"\xff" * 100 * len(head))
    assert check(file, AVRO, 1, COLUMNS) == [Piece(str(file))]
    whole = _avro(tmp_path, _rows(20)).read_bytes()
    file.write_bytes(whole.replace(b'"record"', b'"rekord"'))
    assert check(file, AVRO, 1, COLUMNS) == [Piece(str(file))]


# -- ORC --------------------------------------------------------------------------------------------------------


def _orc(path: Path, stripes: int = 5, rows: int = 10) -> Path:
    names = [f"name {n}" for n in range(stripes * rows)]
    table = pa.table({"a": pa.array([7] * stripes * rows), "b": names})
    with po.ORCWriter(str(path / "log.orc"), compression="uncompressed", stripe_size=1, batch_size=rows) as writer:
        writer.write(table)
    return path / "log.orc"


def test_orc_is_cut_between_stripes_and_rows_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _orc(tmp_path)
    assert po.ORCFile(str(file)).nstripes == 5
    pieces = check(file, ORC, 1, COLUMNS)
    assert [(piece.begin, piece.first_row) for piece in pieces] == [(n, 10 * n + 1) for n in range(5)]
    asked: list[Any] = []
    start = orc_reader._Program.__init__
    monkeypatch.setattr(
        orc_reader._Program, "__init__", lambda self, *request: asked.append(request[2]) or start(self, *request)
    )
    stripe = po.ORCFile(str(file)).content_length / 5
    assert [piece.begin for piece in cut_source(str(file), ORC, ["a"], int(1.5 * stripe))] == [0, 2, 4]
    assert len(list(read_source(pieces[1], "log", ORC, COLUMNS))) == 1
    assert asked == [(0, None), (1, 2)]  # of a piece no other stripe is read


def test_orc_with_damaged_stripes(tmp_path: Path) -> None:
    file = _orc(tmp_path, stripes=4)
    data = bytearray(file.read_bytes())
    length = po.ORCFile(str(file)).content_length // 4
    data[length + 20 : 2 * length] = b"\xff" * (length - 20)  # the second
    file.write_bytes(bytes(data))
    check(file, ORC, int(1.5 * length), COLUMNS)
    _, refused = everything(read_source(Piece(str(file), 1, 2, 11), "log", ORC, COLUMNS))
    assert [(reject.row, reject.reason, reject.rows) for reject in refused] == [(11, "unreadable_file", 10)]


def test_orc_that_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _orc(tmp_path, stripes=1, rows=1)
    assert len(check(file, ORC, 1, COLUMNS)) == 1
    file.write_bytes(file.read_bytes()[:-20])
    assert check(file, ORC, 1, COLUMNS) == [Piece(str(file))]
    monkeypatch.setattr(orc_reader.subprocess, "Popen", None)  # a small file needs no process
    assert cut_source(str(file), ORC, ["a"], 1000) == [Piece(str(file))]
