"""Dead letters by the column are those that one row after the other gives, whatever the values."""

from __future__ import annotations

import datetime
import decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import DataError
from features.logs.columnar import raw_batch
from features.logs.counts import Counts, check_budget
from features.logs.quarantine import RAW_CHARS, Faults, RawBatch, Reject, from_batch, row_texts, texts, to_batch

TEXT = st.text(max_size=30) | st.sampled_from(["", "it's", 'say "x"', "a\\b", "\n", "é", "漢字" * 150, "x" * 300])
FLOATS = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1e20, 1e-7, 0.1])
VALUES: dict[str, tuple[pa.DataType, Any]] = {
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "bool": (pa.bool_(), st.booleans()),
    "float32": (pa.float32(), FLOATS),
    "float64": (pa.float64(), st.floats() | FLOATS),
    "float16": (pa.float16(), st.sampled_from([np.float16(0.1), np.float16(2)])),
    "string": (pa.string(), TEXT),
    "large_string": (pa.large_string(), TEXT),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), TEXT),
    "binary": (pa.binary(), st.binary(max_size=20) | TEXT.map(str.encode) | st.just("漢".encode() * 400 + b"\xff")),
    "fixed_binary": (pa.binary(2), st.binary(min_size=2, max_size=2)),
    "ints": (pa.list_(pa.int64()), st.lists(st.none() | st.integers(-9, 9), max_size=4)),
    "texts": (pa.list_(pa.string()), st.lists(st.none() | TEXT, max_size=4)),
    "large_list": (pa.large_list(pa.float32()), st.lists(FLOATS, max_size=3)),
    "struct": (pa.struct([("a", pa.int64())]), st.fixed_dictionaries({"a": st.none() | st.integers(0, 9)})),
    "decimal": (pa.decimal128(9, 2), st.integers(-999, 999).map(lambda n: decimal.Decimal(n).scaleb(-2))),
    "timestamp": (pa.timestamp("us", "UTC"), st.integers(-(2**60), 2**60)),
    "date": (pa.date32(), st.dates() | st.just(datetime.date(2024, 2, 29))),
    "null": (pa.null(), st.none()),
}


def naive_text(values: pa.Array, index: int, limit: int = 200) -> str:
    """One value, as it was shown before letters were made by the column."""
    scalar = values[index]
    try:
        value = scalar.as_py()
    except UnicodeDecodeError:
        value = scalar.as_buffer().to_pybytes()
    except OverflowError:
        return f"(a {values.type} beyond the years 1 to 9999)"
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value[: limit * 4].decode("utf-8", errors="backslashreplace")
    return str(value)[:limit]


def naive_row(columns: dict[str, pa.Array], index: int) -> str:
    return repr({name: naive_text(values, index) for name, values in columns.items()})[:1000]


@st.composite
def column(draw: Any, rows: int) -> pa.Array:
    kind, values = VALUES[draw(st.sampled_from(sorted(VALUES)))]
    offset = draw(st.integers(0, 2))
    drawn = draw(st.lists(st.none() | values, min_size=rows + offset, max_size=rows + offset))
    return pa.array(drawn, kind).slice(offset)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_texts_of_values_of_every_type(data: Any) -> None:
    rows = data.draw(st.integers(0, 8))
    values = data.draw(column(rows))
    at = np.array(data.draw(st.lists(st.integers(0, rows - 1), max_size=9)) if rows else [], dtype=np.int64)
    limit = data.draw(st.sampled_from([1, 5, 200]))
    assert texts(values, at, limit).to_pylist() == [naive_text(values, int(index), limit) for index in at]


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_texts_of_rows(data: Any) -> None:
    rows = data.draw(st.integers(0, 5))
    names = data.draw(st.lists(TEXT, max_size=12, unique=True))
    columns = {name: data.draw(column(rows)) for name in names}
    at = np.arange(rows)[::-1]
    assert row_texts(columns, at).to_pylist() == [naive_row(columns, int(index)) for index in at]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_text_of_a_typed_file_that_is_not_utf_8(kind: pa.DataType) -> None:
    bad = pa.array([b"good", b"caf\xe9", None], pa.binary()).cast(
        pa.large_binary() if kind == pa.large_string() else pa.binary()
    )
    values = pa.Array.from_buffers(kind, 3, bad.buffers())
    assert texts(values, np.array([1, 2, 0])).to_pylist() == ["caf\\xe9", "", "good"]
    assert row_texts({"a": values}, np.array([1])).to_pylist() == ["{'a': 'caf\\\\xe9'}"]


def test_hundreds_of_columns_are_cut_where_a_letter_ends() -> None:
    columns = {f"column_{number}": pa.array([number, None]) for number in range(400)}
    assert row_texts(columns, np.array([0, 1])).to_pylist() == [naive_row(columns, 0), naive_row(columns, 1)]
    assert len(naive_row(columns, 1)) == RAW_CHARS


def naive_letters(
    raw: RawBatch, origin: list[int], marks: list[tuple[list[bool], str, str, pa.Array | None]]
) -> list[Reject]:
    """Row by row, each refused once, for the first fault."""
    letters: dict[int, Reject] = {}
    for bad, reason, name, values in marks:
        for index, is_bad in enumerate(bad):
            if is_bad and index not in letters:
                at = origin[index]
                shown = "" if values is None else naive_text(values, index)
                letters[index] = Reject(
                    raw.file, int(raw.rows[at]), int(raw.lines[at]), name, reason, shown, raw.raw(at)
                )
    return [letters[index] for index in sorted(letters)]


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_letters_of_any_faults(data: Any) -> None:
    rows = data.draw(st.integers(0, 8))
    columns = {"a": data.draw(column(rows)), "b": data.draw(column(rows))}
    raw = raw_batch("log", columns, 7, rows)
    if data.draw(st.booleans()):  # as the readers of text give it, one row at a time
        raw = RawBatch("log.csv", columns, raw.rows, raw.rows * 2, lambda i: f"row {i}")
    origin = sorted(data.draw(st.sets(st.integers(0, rows - 1)))) if rows else []
    masks = st.lists(st.booleans(), min_size=len(origin), max_size=len(origin))
    here = columns["a"].take(pa.array(origin, pa.int64())) if columns["a"].type != pa.float16() else None
    marks = [
        (data.draw(masks), reason, name, here if name else None)
        for reason, name in data.draw(
            st.lists(st.sampled_from([("bad_time", "a"), ("duplicate", ""), ("bad_number", "a")]), max_size=4)
        )
    ]
    faults = Faults(raw, np.array(origin, dtype=np.int64))
    for bad, reason, name, values in marks:
        faults.mark(np.array(bad, dtype=bool), reason, name, values)
    expected = naive_letters(raw, origin, marks)
    assert from_batch(faults.letters) == expected
    assert from_batch(faults.letters) == expected
    assert faults.good.tolist() == [at for i, at in enumerate(origin) if not any(bad[i] for bad, *_ in marks)]


LETTERS = st.builds(
    Reject,
    st.sampled_from(["a.csv", "b.csv", "ä"]),
    st.integers(-1, 5),
    st.just(-1),
    st.sampled_from(["", "user"]),
    st.sampled_from(["bad_time", "duplicate", "unreadable_file", "truncated_file"]),
    TEXT,
    st.just("raw"),
    st.integers(1, 4),
)


@settings(deadline=None, max_examples=200)
@given(letters=st.lists(LETTERS, max_size=8))
def test_counts_of_letters(letters: list[Reject]) -> None:
    counts = Counts.of_letters(to_batch(letters), 50)
    kinds = {(letter.reason, letter.column) for letter in letters}
    expected = {}
    for kind in kinds:
        of_kind = [letter for letter in letters if (letter.reason, letter.column) == kind]
        expected[kind] = (sum(r.rows for r in of_kind), min((r.file, r.row, r.value) for r in of_kind))
    assert counts.reasons == expected
    assert counts.quarantined == sum(letter.rows for letter in letters)
    assert set(counts.damaged) == {letter.file for letter in letters if letter.damages_file}


def test_batches_without_letters_take_no_memory() -> None:
    before = pa.total_allocated_bytes()
    counts = [Counts.of_letters(to_batch([]), 7) for _ in range(20)]
    # Of no rows pyarrow's group_by makes buffers of gigabytes at times.
    assert pa.total_allocated_bytes() - before < 1 << 20
    assert all((found.rows_read, found.quarantined, found.reasons) == (7, 0, {}) for found in counts)


@pytest.mark.parametrize(("reason", "is_told"), [("time_out_of_range", True), ("bad_time", False)])
def test_days_outside_the_split_that_break_the_budget_say_what_is_allowed(reason: str, is_told: bool) -> None:
    letters = to_batch([Reject("log.csv", row, -1, "ms", reason, "0", "raw") for row in (1, 2)])
    summary = Counts.of_letters(letters, 4).quarantine_summary()
    with pytest.raises(DataError, match=r"2 of 4 rows \(50.00%\) are malformed") as error:
        check_budget(4, summary, Budget(), "log.csv")
    with pytest.raises(DataError, match=r"seconds[?]$"):
        check_budget(4, summary, Budget(), "log.csv", hint="  seconds?")
    hint = "files by {day} (source.files), which reads the split's days alone, a split of more days, or a larger budget"
    assert (hint in str(error.value)) == is_told


class Budget(NamedTuple):
    max_share: float = 0.01
    max_rows: int | None = None
    max_damaged_files: int = 0
