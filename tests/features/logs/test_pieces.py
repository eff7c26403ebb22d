"""Pieces of a file, read one after the other, are the file: whatever it holds, wherever it is cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from features.logs import Tables, read_log
from features.logs.pieces import Piece
from features.logs.quarantine import RawBatch
from features.logs.sources import cut_source, read_source
from features.spec import Column, Source
from tests.features.logs.small_log import GOOD, HEADER, dataset, write

COLUMNS = {"a": Column(type="string"), "b": Column(type="string")}
LINES = st.sampled_from(
    [
        b"1,2",
        b"",
        b'"x\ny",2',
        b'"open,2',
        b"3",
        b'"a""b",',
        b"\r",
        b"4,5\r",
        b"\xff,6",
        b'","',
        b"9" * 30,
        b'5"x,"open',
        b'5",6"',
        b"\xef\xbb\xbf1,2",
        b"\xef\xbb\xbf",
        b"x\\,y,2",
        b'"6\\" tv",\\"',
        b"7\\\nz,3",
        b"8,open\\",
        b'\\\\,"\\',
        b"\\N,1\\\\\r",
    ]
)


def everything(batches: Iterable[RawBatch]) -> tuple[list[Any], list[Any]]:
    """Good rows with number, line, values and text; rejects."""
    rows, rejects = [], []
    for batch in batches:
        values = [batch.columns[name].to_pylist() for name in batch.columns] or [[]] * 2
        rows += [
            (int(batch.rows[i]), int(batch.lines[i]), *(column[i] for column in values), batch.raw(i))
            for i in range(len(batch.rows))
        ]
        rejects += batch.rejects
    return sorted(rows), sorted(rejects)


def check(file: Path, source: Source, size: int, columns: dict[str, Column] = COLUMNS) -> list[Piece]:
    whole = everything(read_source(Piece(str(file)), "log", source, columns))
    pieces = cut_source(str(file), source, list(columns), size)
    parts = [everything(read_source(piece, "log", source, columns)) for piece in pieces]
    assert sorted(row for rows, _ in parts for row in rows) == whole[0]
    assert sorted(reject for _, rejects in parts for reject in rejects) == whole[1]
    assert [piece.begin for piece in pieces[1:]] == [piece.end for piece in pieces[:-1]]
    return pieces


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(LINES, max_size=12),
    end=st.sampled_from([b"", b"\n", b"\n\n", b"\r\n"]),
    size=st.integers(1, 40),
    header=st.booleans(),
    mark=st.booleans(),
    over_lines=st.booleans(),
    escape=st.sampled_from(["", "\\"]),
)
@example(
    lines=[b"", b"", b"1,2", b"", b"", b"3,4"],
    end=b"\n\n",
    size=2,
    header=False,
    mark=True,
    over_lines=False,
    escape="",
)
@example(lines=[b'"open,2', b"1,2", b'"x\ny",2'], end=b"", size=1, header=False, mark=False, over_lines=True, escape="")
@example(lines=[b"", b'"open,2'], end=b"", size=1, header=False, mark=False, over_lines=True, escape="")
@example(lines=[b'"open,2', b"\r"], end=b"\r\n", size=1, header=False, mark=False, over_lines=True, escape="")
@example(lines=[b"", b"1,2"], end=b"", size=4, header=False, mark=True, over_lines=False, escape="")
@example(lines=[b"", b",,\\", b""], end=b"\n", size=1, header=False, mark=False, over_lines=True, escape="\\")
def test_any_lines_of_csv(
    lines: list[bytes], end: bytes, size: int, header: bool, mark: bool, over_lines: bool, escape: str, tmp_path: Path
) -> None:
    text = b"\n".join([b"a,b", *lines] if header else lines) + end
    (tmp_path / "log.csv").write_bytes(b"\xef\xbb\xbf" * mark + text)
    source = Source(files="", header=header, escape=escape, newlines_in_values=over_lines, max_field_bytes=25)
    check(tmp_path / "log.csv", source, size)


@pytest.mark.parametrize("over_lines", [False, True])
@pytest.mark.parametrize("beside", [[], [b"1,2"], [b"only"], [b'"l1 ""q""",2'], [b'"l1\nl2",2']])
@pytest.mark.parametrize(
    ("line", "fate"),
    [
        (b'5" tv,6" tv', (b'5" tv', b'6" tv')),
        (b'"5"" tv",""', (b'5" tv', b"")),
        (b'"a"b"c,2"', (b'ab"c', b'2"')),
        (b'5" tv,"note', "unbalanced_quote"),
        (b'5" tv,"note""" x', "unbalanced_quote"),
        (b'5" tv,"no,te","', "unbalanced_quote"),
        (b'5" tv,6" tv,', "wrong_width"),
        (b'5" tv """, 6', (b'5" tv """', b" 6")),
        (b'"x" y,5" tv', "unbalanced_quote"),
    ],
)
def test_a_stray_quote_has_one_fate_wherever_it_stands(
    line: bytes, fate: tuple[bytes, bytes] | str, beside: list[bytes], over_lines: bool, tmp_path: Path
) -> None:
    if not over_lines and beside == [b'"l1\nl2",2']:
        beside = [b'"l1 l2",2']
    source = Source(files="", header=False, newlines_in_values=over_lines)
    for before, after in ((0, 0), (0, 1), (1, 0), (1, 1), (3, 3)):
        (tmp_path / "log.csv").write_bytes(b"\n".join([*beside * before, line, *beside * after]) + b"\n")
        row = len(beside) * before + 1
        rows, rejects = everything(read_source(Piece(str(tmp_path / "log.csv")), "log", source, COLUMNS))
        if isinstance(fate, str):
            assert [reject.reason for reject in rejects if reject.row == row] == [fate]
        else:
            assert [(a, b) for number, _, a, b, _ in rows if number == row] == [fate]
        assert len(rows) + len(rejects) == len(beside) * (before + after) + 1
        values = {(a, b) for number, _, a, b, _ in rows if number != row}
        assert values <= {(b"1", b"2"), (b'l1 "q"', b"2"), (b"l1\nl2", b"2"), (b"l1 l2", b"2")}


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=80), size=st.integers(1, 40), over_lines=st.booleans())
def test_any_bytes(data: bytes, size: int, over_lines: bool, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(data)
    check(tmp_path / "log", Source(files="", header=False, newlines_in_values=over_lines), size)
    check(tmp_path / "log", Source(files="", header=False, escape="0", newlines_in_values=over_lines), size)
    check(tmp_path / "log", Source(files="", format="jsonl"), size)


@pytest.mark.parametrize("over_lines", [False, True])
def test_pieces_have_about_the_size_that_was_asked_for(over_lines: bool, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"a,b\n" + b"1234,5678\n" * 1000)
    source = Source(files="", newlines_in_values=over_lines)
    pieces = check(tmp_path / "log.csv", source, 1000)
    if not over_lines:  # rows over several lines are cut where a block of rows ends
        ends = [piece.end for piece in pieces[:-1]]
        assert np.diff([0, *ends]).tolist() == [1004] + [1000] * 8
        assert pieces[1] == Piece(str(tmp_path / "log.csv"), 1004, 2004, 101, 102)
    assert cut_source(str(tmp_path / "log.csv"), source, ["a", "b"], 20_000) == [Piece(str(tmp_path / "log.csv"))]


def test_rows_over_several_lines_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.logs.lines.CHUNK", 1000)
    blocks = __import__("features.logs.lines", fromlist=["blocks"]).blocks
    monkeypatch.setattr("features.logs.pieces.blocks", lambda file, source, width: blocks(file, source, width, 1000))
    (tmp_path / "log.csv").write_bytes(b"a,b\n" + b'"12\n34","56\n\n78"\n' * 1000)
    pieces = check(tmp_path / "log.csv", Source(files="", newlines_in_values=True), 5000)
    assert len(pieces) == 3
    assert all((piece.begin - 4) % 17 == 0 for piece in pieces[1:])
    assert [piece.first_row for piece in pieces] == [1, *((piece.begin - 4) // 17 + 1 for piece in pieces[1:])]
    assert [piece.first_line for piece in pieces[1:]] == [2 + 4 * (piece.first_row - 1) for piece in pieces[1:]]


def test_compressed_files_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "log.csv.gz").write_bytes(b"x" * 100)
    assert cut_source(str(tmp_path / "log.csv.gz"), Source(files=""), ["a"], 1) == [Piece(str(tmp_path / "log.csv.gz"))]


@pytest.mark.parametrize(("groups", "begins"), [(0.1, [0, 1, 2, 3]), (1.5, [0, 2]), (100, [0])])
def test_row_groups_of_parquet(groups: float, begins: list[int], tmp_path: Path) -> None:
    table = pa.table({"a": [str(i) for i in range(37)], "b": ["x"] * 37})
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=10)
    size = int(groups * pq.read_metadata(tmp_path / "log.parquet").row_group(0).total_byte_size)
    pieces = check(tmp_path / "log.parquet", Source(files="", format="parquet"), size)
    assert [piece.begin for piece in pieces] == begins
    assert [piece.first_row for piece in pieces] == [10 * begin + 1 for begin in begins]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    check(tmp_path / "bad.parquet", Source(files="", format="parquet"), size)


def test_a_log_in_pieces_is_the_log(tmp_path: Path) -> None:
    rows = [GOOD.replace("7", str(i), 1) if i % 9 else "bad" for i in range(200)]
    write(tmp_path, *rows, name="log.csv")
    spec, file = dataset(), str(tmp_path / "log.csv")
    assert HEADER.startswith("user")
    pieces = cut_source(file, spec.source, list(spec.columns), 500)
    assert len(pieces) > 5
    whole, parts = ([*read_log(spec, str(tmp_path), Tables(), files)] for files in ([file], pieces))
    first, second = (pa.Table.from_batches([batch.rows for batch in batches]) for batches in (whole, parts))
    assert first == second
    letters = [[row for batch in batches for row in batch.quarantined.to_pylist()] for batches in (whole, parts)]
    assert letters[0] == letters[1]
    assert dataclasses.asdict(whole[0])["file"] == parts[0].file
