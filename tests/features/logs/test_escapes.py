"""CSV with escapes: read as Python's csv module reads it, whatever is escaped and wherever the file is cut."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from features.errors import ConfigError
from features.logs.csv_reader import check_source, read_csv
from features.logs.escapes import open_at_end, with_nulls, without_meaning
from features.logs.pieces import Piece
from features.logs.sources import read_source
from features.spec import Column, Source
from tests.features.logs.test_pieces import COLUMNS, check, everything

ESCAPED = Source(files="", header=False, escape="\\")
OVER_LINES = ESCAPED.model_copy(update={"newlines_in_values": True})
THREE = {name: Column(type="string") for name in "abc"}


def _read(text: bytes, source: Source, tmp_path: Path, columns: dict[str, Column] = COLUMNS) -> tuple[list[Any], Any]:
    (tmp_path / "log.csv").write_bytes(text)
    rows, rejects = everything(read_source(Piece(str(tmp_path / "log.csv")), "log", source, columns))
    return [row[2:-1] for row in rows], [(reject.row, reject.reason) for reject in rejects]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(st.text('a,"\\\n\rx é', max_size=6), min_size=3, max_size=3), min_size=1, max_size=8),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE]),
    doublequote=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    over_lines=st.booleans(),
    size=st.integers(1, 60),
)
def test_python_reads_the_same(
    rows: list[list[str]], quoting: int, doublequote: bool, end: str, over_lines: bool, size: int, tmp_path: Path
) -> None:
    if not over_lines:
        rows = [[value.replace("\n", "").replace("\r", "") for value in row] for row in rows]
    elif end == "\n":  # then a carriage return is neither quoted nor escaped
        rows = [[value.replace("\r", "") for value in row] for row in rows]
    how: dict[str, Any] = {"quoting": quoting, "doublequote": doublequote, "escapechar": "\\"}
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator=end, **how).writerows(rows)
    expected = list(csv.reader(io.StringIO(written.getvalue(), newline=""), strict=True, **how))
    assume(expected == rows)
    source = Source(
        files="",
        header=False,
        escape="\\",
        quote="" if quoting == csv.QUOTE_NONE else '"',
        newlines_in_values=over_lines,
    )
    found, rejects = _read(written.getvalue().encode(), source, tmp_path, THREE)
    assert rejects == []
    assert [[value.decode() for value in row] for row in found] == expected
    check(tmp_path / "log.csv", source, size, THREE)
    chunks = everything(read_csv(Piece(str(tmp_path / "log.csv")), "log", source, THREE, chunk_bytes=size))
    assert [row[2:-1] for row in chunks[0]] == found


@pytest.mark.parametrize("over_lines", [False, True])
@pytest.mark.parametrize("beside", [[], [b"1,2"], [b'"l\\"1",2'], [b"5\\,6,7"]])
@pytest.mark.parametrize(
    ("line", "fate"),
    [
        (b'"5\\" tv",6\\" tv', (b'5" tv', b'6" tv')),
        (b'"5"" tv",2', (b'5" tv', b"2")),
        (b"a\\,b,c\\\\", (b"a,b", b"c\\")),
        (b'"a,b\\\\","c"', (b"a,b\\", b"c")),
        (b'\\"a,b\\"', (b'"a', b'b"')),
        (b"\\a,\\b", (b"a", b"b")),
        (b"a\\\xc3\xa9,b", (b"a\xc3\xa9", b"b")),
        (b"a,b\\", "open_escape"),
        (b"a,b\\\r", "open_escape"),
        (b"a,b\\\\\r", (b"a", b"b\\")),
        (b'"a,b\\",c', "unbalanced_quote"),
        (b"a\\,b", "wrong_width"),
        (b"a\\\\,b,c", "wrong_width"),
        (b"a\rb,c", "stray_carriage_return"),
        (b"a\\\rb,c", (b"a\rb", b"c")),
    ],
)
def test_a_line_has_one_fate_wherever_it_stands(
    line: bytes, fate: tuple[bytes, bytes] | str, beside: list[bytes], over_lines: bool, tmp_path: Path
) -> None:
    source = OVER_LINES if over_lines else ESCAPED
    for before, after in ((0, 0), (1, 0), (1, 1), (3, 3)):
        text = b"\n".join([*beside * before, line, *beside * after]) + b"\n"
        found, rejects = _read(text, source, tmp_path)
        assert len(found) + len(rejects) == len(beside) * (before + after) + 1
        if isinstance(fate, str):
            assert rejects == [(len(beside) * before + 1, fate)]
        else:
            assert rejects == []
            assert fate in found


def test_an_escaped_line_feed_belongs_to_its_value_where_values_may_go_over_lines(tmp_path: Path) -> None:
    text = b'1\\\n2,3\n"4\\\n5\n6",7\n8,9\\\n\n'
    assert _read(text, OVER_LINES, tmp_path) == ([(b"1\n2", b"3"), (b"4\n5\n6", b"7"), (b"8", b"9\n")], [])
    assert _read(b"8,9\\\n\r", OVER_LINES, tmp_path) == ([(b"8", b"9\n")], [])
    unquoted = OVER_LINES.model_copy(update={"quote": ""})
    assert _read(b'1\\\n"2,3\n', unquoted, tmp_path) == ([(b'1\n"2', b"3")], [])
    # Line by line, each of them is a row that ends with an escape, or has no second field.
    _, rejects = _read(b"1\\\n2,3\n", ESCAPED, tmp_path)
    assert rejects == [(1, "open_escape")]


def test_an_escape_that_ends_the_file_flags_its_line_alone(tmp_path: Path) -> None:
    for end in (b"", b"\n"):
        found, rejects = _read(b"1,2\n3,4\\" + end, OVER_LINES, tmp_path)
        assert (found, rejects) == ([(b"1", b"2")], [(2, "open_escape")])


def test_a_field_that_is_too_long_is_named_by_the_delimiters_that_count(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"1\\,23456789,x\n1,2\n")
    source = ESCAPED.model_copy(update={"max_field_bytes": 9})
    _, (reject,) = everything(read_source(Piece(str(tmp_path / "log.csv")), "log", source, COLUMNS))
    # Eleven bytes as they are written; cut at the escaped comma, eight of column `b` would be allowed.
    assert (reject.row, reject.reason, reject.column) == (1, "oversized_field", "a")


def test_a_header_may_be_escaped(tmp_path: Path) -> None:
    source = Source(files="", escape="\\")
    columns = {name: Column(type="string") for name in ("a,x", 'b"')}
    assert _read(b'a\\,x,"b\\""\n1,2\n', source, tmp_path, columns) == ([(b"1", b"2")], [])


@pytest.mark.parametrize("over_lines", [False, True])
def test_latin_1(over_lines: bool, tmp_path: Path) -> None:
    source = ESCAPED.model_copy(update={"encoding": "latin-1", "newlines_in_values": over_lines})
    found, rejects = _read('\\é\\,é,"\\""\n'.encode("latin-1"), source, tmp_path)
    assert (found, rejects) == ([("é,é".encode(), b'"')], [])


def test_an_escaped_n_is_missing_where_it_is_named(tmp_path: Path) -> None:
    source = ESCAPED.model_copy(update={"null_values": ("", "\\N")})
    text = b'\\N,\\N\r\n\\N,a\\N\n"\\N",b\na\\,\\N,c\nd\\\\,\\N'
    found, rejects = _read(text, source, tmp_path)
    assert rejects == []
    assert sorted(found) == sorted([(b"\\N", b"\\N"), (b"\\N", b"aN"), (b"N", b"b"), (b"a,N", b"c"), (b"d\\", b"\\N")])
    assert _read(b"\\N,1\n", ESCAPED, tmp_path) == ([(b"N", b"1")], [])
    # What looks like a field inside quotes is none.
    assert _read(b'"x,\\N,y",\\N\n', source, tmp_path) == ([(b"x,N,y", b"\\N")], [])
    # An inch mark quotes nothing, in its row and behind it.
    assert _read(b'5" x 6",\\N\n\\N,1\n', source, tmp_path) == ([(b'5" x 6"', b"\\N"), (b"\\N", b"1")], [])
    over_lines = source.model_copy(update={"newlines_in_values": True})
    assert _read(b'"x\n\\N\ny",\\N\n', over_lines, tmp_path) == ([(b"x\nN\ny", b"\\N")], [])


@given(data=st.text('a\\\n,"N', max_size=30).map(str.encode), over_lines=st.booleans())
def test_meaning_is_lost_as_one_reads_byte_by_byte(data: bytes, over_lines: bool) -> None:
    plain, is_escaped, open_ends = bytearray(), False, []
    for at, code in enumerate(data):
        if code == 10 and not over_lines:
            if is_escaped:
                open_ends.append(at)
            plain.append(code)
            is_escaped = False
        elif is_escaped or code == ord("\\"):
            plain += b"x"
            is_escaped = not is_escaped
        else:
            plain.append(code)
    source = OVER_LINES if over_lines else ESCAPED
    assert without_meaning(data, source) == bytes(plain)
    if not over_lines:
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 10)
        assert ends[open_at_end(data, ends, source)].tolist() == open_ends
        assert with_nulls(data, source) == data


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"escape": "\\\\"}, "source escape '\\\\\\\\\\\\\\\\': allowed is one ASCII character"),
        ({"escape": "\n"}, "source escape"),
        (
            {"escape": '"'},
            "quote and escape are both '\"'; they must differ .a quote that is written twice needs no escape",
        ),
        ({"escape": ","}, "delimiter and escape are both ','"),
        (
            {"escape": "\\", "null_values": ["\\NULL"]},
            "allowed: it and one ASCII letter, where `strip_spaces` is false",
        ),
        ({"escape": "\\", "null_values": ["\\N"], "strip_spaces": True}, "where `strip_spaces` is false"),
        ({"escape": "\\", "delimiter": "::", "quote": ""}, "up to 8 where quote and escape are empty"),
    ],
)
def test_escapes_that_a_reader_cannot_work_with(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_source(Source.model_validate({"files": "a.csv"} | changes))
