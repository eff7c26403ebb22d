"""A valid log under random damage: no crash, no row lost, no clean row touched (hypothesis)."""

from __future__ import annotations

import contextlib
import gzip
import random
import tempfile
import zlib
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import DataError
from features.logs import Counts, Tables, read_log
from features.spec import Dataset, Source
from tests.features.logs.small_log import HEADER, dataset

MAX_FIELD = 60
SPEC = dataset(source=Source(files="log.csv*", max_field_bytes=MAX_FIELD))


def line_of(number: int) -> bytes:
    name = f'"a,{number}"' if number % 3 else "żółw"
    return f"{number},{number % 1000},{number % 64 / 8},{name},1|{number},2024010{number % 4 + 1},{number % 2},0,1".encode()


def row_of(number: int) -> dict[str, Any]:
    return {
        "user": number,
        "item": number % 1000,
        "score": number % 64 / 8,
        "name": f"a,{number}" if number % 3 else "żółw",
        "tags": [1, number],
        "day": 20240101 + number % 4,
        "label_click": float(number % 2),
        "label_like": 0.0,
        "mask_like": 1.0,
        "feedrank_day": 20240101 + number % 4,
    }


CORRUPTIONS: dict[str, Any] = {
    "wrong_width": lambda line, rng: rng.choice([line + b",1", line.rsplit(b",", 1)[0], b"1,2", b"junk"]),
    "unbalanced_quote": lambda line, rng: line.replace(b",", b',"', 1),
    "bad_number": lambda line, rng: (
        rng.choice([b"x", b"1.5", b"--1", b"1e5", b"99999999999999999999"]) + line[line.index(b",") :]
    ),
    "bad_utf8": lambda line, rng: rng.choice([b"\xff", b"\xc3", b"\xed\xa0\x80"]) + line,
    "oversized_field": lambda line, rng: b"9" * (MAX_FIELD + 1) + line,
    "missing_value": lambda line, rng: line[line.index(b",") :],
    "missing_label": lambda line, rng: line[:-5] + b",0,1" if line[-5:-4] != b"," else line,
    "time_out_of_range": lambda line, rng: line.replace(b",2024010", b",2023010"),
    "out_of_bounds": lambda line, rng: line.replace(b",", b",-", 1) if line.split(b",")[1] != b"0" else line,
}


class HeaderError(Exception):
    """The only way in which reading may end."""


def read_all(spec: Dataset, path: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Counts]:
    rows, bad, counts = [], [], Counts()
    try:
        for batch in read_log(spec, path, Tables()):
            rows += batch.rows.to_pylist()
            bad += batch.quarantined.to_pylist()
            counts.merge(Counts.of(batch, spec))
    except DataError as error:
        raise (HeaderError() if "the header" in str(error) else error) from error
    for row in rows:
        row.pop("feedrank_row_id")
    counts.check_sum()
    return rows, bad, counts


@given(
    st.lists(st.sampled_from([None, None, None, *CORRUPTIONS]), min_size=1, max_size=40),
    st.integers(0, 2**32),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_known_damage_is_named_and_clean_rows_are_untouched(kinds: list[str | None], seed: int, zipped: bool) -> None:
    rng = random.Random(seed)
    lines = [line_of(i) if kind is None else CORRUPTIONS[kind](line_of(i), rng) for i, kind in enumerate(kinds)]
    expected = [(i + 1, kind) for i, kind in enumerate(kinds) if kind is not None and lines[i] != line_of(i)]
    clean = [row_of(i) for i in range(len(lines)) if lines[i] == line_of(i)]
    data = b"\n".join([HEADER.encode(), *lines])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("log.csv.gz" if zipped else "log.csv")
        file.write_bytes(gzip.compress(data) if zipped else data)
        rows, bad, counts = read_all(SPEC, folder)
    assert rows == clean
    assert sorted((b["row"], b["reason"]) for b in bad) == expected
    assert all(b["line"] == b["row"] + 1 for b in bad)
    assert counts.rows_read == len(lines)


@given(
    st.integers(1, 60),
    st.lists(
        st.tuples(st.integers(0, 10_000), st.sampled_from(["flip", "insert", "delete"]), st.integers(0, 255)),
        max_size=12,
    ),
)
@settings(max_examples=300, deadline=None)
def test_random_bytes_never_cost_a_neighbour(count: int, edits: list[tuple[int, str, int]]) -> None:
    data = bytearray(b"".join(line_of(i) + b"\n" for i in range(count)))
    for place, what, value in edits:
        at = place % max(len(data), 1)
        if what == "flip" and data:
            data[at] = value
        elif what == "insert":
            data.insert(at, value)
        elif data:
            del data[at]
    lines = bytes(data).rstrip(b"\r\n").split(b"\n") if bytes(data).rstrip(b"\r\n") else []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "log.csv").write_bytes(HEADER.encode() + b"\n" + bytes(data))
        rows, bad, counts = read_all(SPEC, folder)
    assert counts.rows_read == len(lines) == len(rows) + len(bad)
    refused = {b["row"] for b in bad}
    out = [number for number in range(1, len(lines) + 1) if number not in refused]
    originals = {line_of(i): row_of(i) for i in range(count)}
    for number, row in zip(out, rows, strict=True):
        line = lines[number - 1].removesuffix(b"\r")
        if line in originals:
            assert row == originals[line]
    assert not refused & {n for n, line in enumerate(lines, start=1) if line in originals}


@given(st.integers(1, 300), st.floats(0, 1), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_truncated_gzip_keeps_all_that_came_before(count: int, share: float, members: int) -> None:
    header = gzip.compress(HEADER.encode() + b"\n", mtime=0)
    parts = [b"".join(line_of(i) + b"\n" for i in range(m, count, members + 1)) for m in range(members + 1)]
    order = [i for m in range(members + 1) for i in range(m, count, members + 1)]
    whole = header + b"".join(gzip.compress(part, mtime=0) for part in parts)
    cut = whole[: len(header) + int(share * (len(whole) - len(header)))]
    text, rest, unfinished = b"", cut, False
    while rest:
        member = zlib.decompressobj(wbits=31)
        text += member.decompress(rest)
        unfinished, rest = not member.eof, member.unused_data
    complete = text.count(b"\n") - 1
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "log.csv.gz").write_bytes(cut)
        rows, bad, counts = read_all(SPEC, folder)
    assert rows == [row_of(i) for i in order[:complete]]
    assert [(b["row"], b["reason"]) for b in bad] == ([(complete + 1, "truncated_file")] if unfinished else [])
    assert counts.rows_read == complete + unfinished


@given(
    st.binary(max_size=400),
    st.sampled_from(["log.csv", "log.csv.gz", "log.csv.bz2", "log.csv.xz", "log.csv.zst"]),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_at_all(data: bytes, name: str, newlines: bool) -> None:
    spec = dataset(source=Source(files="log.csv*", max_field_bytes=MAX_FIELD, newlines_in_values=newlines))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(HEADER.encode() + b"\n" + data if name == "log.csv" else data)
        with contextlib.suppress(HeaderError):
            read_all(spec, folder)


@given(st.lists(st.text(alphabet='ab,"\n\r', max_size=12), min_size=1, max_size=25), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_well_quoted_newlines_are_read_as_the_csv_module_reads_them(names: list[str], seed: int) -> None:
    spec = dataset(source=Source(files="log.csv", newlines_in_values=True))
    lines = [f"""{i},1,1,"{name.replace('"', '""')}",1,20240101,1,0,1""" for i, name in enumerate(names)]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "log.csv").write_bytes("\n".join([HEADER, *lines]).encode())
        rows, bad, _ = read_all(spec, folder)
    assert bad == []
    assert [row["name"] for row in rows] == [name or None for name in names]
