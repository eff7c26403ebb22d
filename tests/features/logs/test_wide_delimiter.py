"""CSV whose delimiter has several characters, and Latin-1: against Python's own `split` and `decode`, whatever the bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from features.errors import ConfigError
from features.logs.pieces import Piece
from features.logs.sources import read_source
from features.spec import Column, Dataset, Id, RandomSplit, Source, Task
from tests.features.logs.small_log import read
from tests.features.logs.test_pieces import check, everything

COLUMNS = {"a": Column(type="string"), "b": Column(type="string"), "c": Column(type="string")}
DATS = Source(files="*.dat", header=False, delimiter="::", quote="", encoding="latin-1")
FIELD = st.sampled_from(
    [b"", b"1", b":", b"Am\xe9lie", b'"x', b"a,b", b"\xff\x80", b"\x00", b"\x1f", b"x\ry", b"\xef\xbb\xbf"]
)
ROW = st.lists(FIELD, min_size=1, max_size=4).map(b"::".join)


def _expected(data: bytes, encoding: str) -> tuple[list[tuple[Any, ...]], list[tuple[int, str]]]:
    """Rows (number, fields as UTF-8) and refused rows (number, reason), a line at a time."""
    if encoding == "utf-8":
        data = data.removeprefix(b"\xef\xbb\xbf")
    lines = data.split(b"\n")
    while lines and lines[-1] in (b"", b"\r"):
        lines.pop()
    rows, refused = [], []
    for number, line in enumerate((line.removesuffix(b"\r") for line in lines), 1):
        fields = line.split(b"::")
        if not line:
            refused.append((number, "blank_line"))
        elif b"\r" in line:
            refused.append((number, "stray_carriage_return"))
        elif len(fields) != len(COLUMNS):
            refused.append((number, "wrong_width"))
        else:
            rows.append(
                (number, *(field.decode(encoding).encode() if encoding == "latin-1" else field for field in fields))
            )
    return rows, refused


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(ROW, max_size=10),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    last=st.sampled_from([b"", b"\n", b"\n\n"]),
    size=st.integers(1, 40),
    encoding=st.sampled_from(["utf-8", "latin-1"]),
)
@example(
    rows=[b"1:::2::3", b"\xe9::\xe9::\xe9", b"1::2", b":::::"], line_end=b"\n", last=b"", size=8, encoding="latin-1"
)
def test_any_lines(rows: list[bytes], line_end: bytes, last: bytes, size: int, encoding: str, tmp_path: Path) -> None:
    data = line_end.join(rows) + last
    (tmp_path / "log.dat").write_bytes(data)
    source = DATS.model_copy(update={"encoding": encoding})
    good, bad = everything(read_source(Piece(str(tmp_path / "log.dat")), "log", source, COLUMNS))
    expected, refused = _expected(data, encoding)
    assert [(row[0], *row[2:5]) for row in good] == expected
    assert [(reject.row, reject.reason) for reject in bad] == refused
    assert [row[1] for row in good] == [row[0] for row in good]  # one line a row
    check(tmp_path / "log.dat", source, size, COLUMNS)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60), encoding=st.sampled_from(["utf-8", "latin-1"]), size=st.integers(1, 40))
def test_any_bytes(data: bytes, encoding: str, size: int, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(data)
    for quote, delimiter, over_lines in (("", "::", False), ('"', ",", False), ('"', ",", True)):
        source = Source(
            files="", header=False, quote=quote, delimiter=delimiter, newlines_in_values=over_lines, encoding=encoding
        )
        check(tmp_path / "log", source, size, COLUMNS)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(max_codepoint=255, blacklist_characters="\r"), max_size=40), over_lines=st.booleans())
def test_latin_1_reads_as_the_same_text_in_utf_8(text: str, over_lines: bool, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"h\n" + text.encode("latin-1"))
    (tmp_path / "utf").write_bytes(b"h\n" + text.encode())
    found = []
    for name, encoding in (("latin", "latin-1"), ("utf", "utf-8")):
        source = Source(files="", newlines_in_values=over_lines, encoding=encoding)
        found.append(everything(read_source(Piece(str(tmp_path / name)), "log", source, {"h": Column(type="string")})))
    assert found[0] == found[1]


def test_latin_1_in_header_columns_and_dead_letters(tmp_path: Path) -> None:
    lines = [
        "user::prénom::click",
        "7::Zoë::1",
        "é::Zoë::0",
        "8::Zoë",
        "9::" + "é" * 11 + "::0",
        "9::" + "é" * 10 + "::0",
    ]
    (tmp_path / "log").write_bytes("\n".join(lines).encode("latin-1"))
    source = Source(files="log", delimiter="::", quote="", encoding="latin-1", max_field_bytes=20)
    columns = {"user": Column(type="int64"), "prénom": Column(type="string"), "click": Column(type="int64")}
    good, _ = everything(read_source(Piece(str(tmp_path / "log")), "log", source, columns))
    assert [row[3].decode() for row in good] == ["Zoë", "Zoë", "é" * 10]
    spec = Dataset(
        name="names",
        source=source,
        columns=columns,
        features={"user": Id()},
        tasks={"click": Task(label="click")},
        split=RandomSplit(),
    )
    rows, bad = read(spec, tmp_path)
    assert rows["user"].to_pylist() == [7, 9]
    assert sorted(
        (reject["row"], reject["reason"], reject["column"], reject["value"], reject["raw"]) for reject in bad
    ) == [
        (2, "bad_number", "user", "é", "é::Zoë::0"),
        (3, "wrong_width", "", "", "8::Zoë"),
        # In bytes of UTF-8.
        (4, "oversized_field", "prénom", "", "9::" + "é" * 11 + "::0"),
    ]


@pytest.mark.parametrize(
    ("delimiter", "quote"),
    [("::", '"'), ("", '"'), (":\n", ""), ("é", ""), ("é:", ""), ("123456789", ""), ("::", "''")],
)
def test_delimiters_that_are_refused(delimiter: str, quote: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"1::2::3\n")
    source = Source(files="", header=False, delimiter=delimiter, quote=quote)
    with pytest.raises(ConfigError, match="allowed is one ASCII character"):
        list(read_source(Piece(str(tmp_path / "log")), "log", source, COLUMNS))


def test_only_csv_has_an_encoding() -> None:
    with pytest.raises(pydantic.ValidationError, match="encoding latin-1 of jsonl; allowed: utf-8, and latin-1 of csv"):
        Source(files="a.jsonl", encoding="latin-1")
