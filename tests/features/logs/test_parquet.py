"""Parquet logs: other types, damaged files, timestamps."""

from __future__ import annotations

import datetime
import decimal
import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import DataError
from features.logs.casting import cast_column
from features.logs.parquet_reader import check_parquet, read_parquet
from features.logs.pieces import Piece
from features.logs.quarantine import Faults, RawBatch, from_batch
from features.logs.sources import check_columns
from features.spec import DAY, Column, Dataset, RandomSplit, Source, TimeColumn
from tests.features.logs.small_log import COLUMNS, dataset, read

PARQUET = Source(files="*.parquet", format="parquet")


def _table(rows: int = 4) -> dict[str, pa.Array]:
    return {
        "user": pa.array(range(rows), pa.int32()),
        "item": pa.array(np.arange(rows), pa.uint16()),
        "score": pa.array(np.arange(rows) % 4 / 2, pa.float64()),
        "name": pa.array(["a"] * rows).dictionary_encode(),
        "tags": pa.array([[1, 2]] * rows, pa.list_(pa.int32())),
        "day": pa.array([20240101] * rows),
        "click": pa.array([True] * rows),
        "like": pa.array([0.0] * rows),
        "seen": pa.array([1] * rows, pa.int8()),
    }


def _write(path: Path, file: str = "log.parquet", group: int | None = None, rows: int = 4, **changes: pa.Array) -> Path:
    pq.write_table(pa.table(_table(rows) | changes), path / file, row_group_size=group)
    return path


def test_other_types_of_the_same_family(tmp_path: Path) -> None:
    rows, bad = read(dataset(source=PARQUET), _write(tmp_path))
    assert bad == []
    assert rows["user"].to_pylist() == [0, 1, 2, 3]
    assert rows["score"].to_pylist() == [0, 0.5, 1, 1.5]
    assert rows["name"].to_pylist() == ["a"] * 4
    assert rows["tags"].to_pylist() == [[1, 2]] * 4
    assert rows["label_click"].to_pylist() == [1.0] * 4


@pytest.mark.parametrize("kind", [pa.decimal128(38, 9), pa.decimal256(76, 38)])
def test_decimals_are_whole_numbers_exactly(tmp_path: Path, kind: pa.DataType) -> None:
    """Through a float64, 2**53 + 1 would be another number, and what lies beyond it refused."""
    values = [2**53 + 1, -(2**63) + 1, 2**63 - 1, None, 2**63, -(2**63), decimal.Decimal("1.5"), 10**28, -(10**28)]
    numbers = pa.array([None if value is None else decimal.Decimal(value) for value in values], kind)
    faults = Faults(RawBatch("log", {}, np.arange(9), np.arange(9), str))
    typed = cast_column("user", Column(type="int64"), numbers, PARQUET, faults)
    assert typed.to_pylist() == [2**53 + 1, -(2**63) + 1, 2**63 - 1, *([None] * 6)]
    assert np.flatnonzero(faults.bad).tolist() == [4, 5, 6, 7, 8]
    assert {reject.reason for reject in from_batch(faults.letters)} == {"bad_number"}


def test_bad_values_are_refused_row_by_row(tmp_path: Path) -> None:
    _write(
        tmp_path,
        rows=8,
        user=pa.array([0, 1.0, 2.5, np.nan, np.inf, 5, 6, 7]),
        score=pa.array(["1", "2", "3", "4", "5", "x", "7", None]),
        name=pa.array([b"a", b"a", b"a", b"a", b"a", b"a", b"\xff", b""], pa.binary()),
        tags=pa.array([[1, None], [], None, [1], [1], [1], [1], [2]]),
    )
    rows, bad = read(dataset(source=PARQUET), tmp_path)
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


def test_text_columns_that_are_not_utf8(tmp_path: Path) -> None:
    raw = pa.array([b"ok", b"\xfe", b"ok", b"ok"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    rows, bad = read(dataset(source=PARQUET), _write(tmp_path, name=text))
    assert rows["user"].to_pylist() == [0, 2, 3]
    assert [(b["row"], b["reason"], b["value"]) for b in bad] == [(2, "bad_utf8", "\\xfe")]


def test_uint64_and_null_columns(tmp_path: Path) -> None:
    spec = dataset(source=PARQUET, columns=COLUMNS | {"item": Column(type="int64")})
    _write(tmp_path, item=pa.array([1, 2**64 - 1, None, 4], pa.uint64()), name=pa.nulls(4), tags=pa.nulls(4))
    rows, bad = read(spec, tmp_path)
    assert rows["item"].to_pylist() == [1, None, 4]
    assert rows["tags"].to_pylist() == [None] * 3
    assert [(b["row"], b["reason"]) for b in bad] == [(2, "bad_number")]


def test_oversized_text(tmp_path: Path) -> None:
    source = PARQUET.model_copy(update={"max_field_bytes": 50})
    rows, bad = read(dataset(source=source), _write(tmp_path, name=pa.array(["a", "b" * 51, "c" * 50, None])))
    assert rows["user"].to_pylist() == [0, 2, 3]
    assert [(b["row"], b["reason"]) for b in bad] == [(2, "oversized_field")]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("user", pa.array([[1]] * 4), "column 'user' is list<item: int64> in the file; int64 is read from"),
        ("tags", pa.array([1] * 4), "column 'tags' is int64 in the file; list<int64> is read from a list or from text"),
        ("name", pa.array([1.5] * 4), "column 'name' is double in the file; string is read from text or integers"),
    ],
)
def test_types_that_never_fit(tmp_path: Path, column: str, values: pa.Array, message: str) -> None:
    _write(tmp_path, **{column: values})
    with pytest.raises(DataError, match=f"^log.parquet: {message}"):
        read(dataset(source=PARQUET), tmp_path)
    file = str(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=f"^log.parquet: {message}"):
        check_columns(file, "log.parquet", PARQUET, COLUMNS)
    check_columns(file, "log.parquet", PARQUET, COLUMNS, optional={column})


def test_types_that_fit_pass_the_look_at_the_footer(tmp_path: Path) -> None:
    """So do times, which the dataset's unit says how to read."""
    for changes in ({}, {"day": pa.array([datetime.date(2024, 1, 1)] * 4)}, {"name": pa.array([1] * 4)}):
        file = str(_write(tmp_path, **changes) / "log.parquet")
        check_columns(file, "log.parquet", PARQUET, COLUMNS)


def test_a_missing_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet: the file lacks item, .*columns present: user"):
        read(dataset(source=PARQUET), tmp_path)


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    """Neither is read in silence, nor a third one in their place; a column that is not wanted may stand there twice."""
    table = pa.table([[1], [2], [3], [4], [9]], names=["user", "other", "other", "user", "label"])
    file = str(tmp_path / "a.parquet")
    pq.write_table(table, file)
    message = r"a.parquet: the file has column 'user' 2 times; allowed: columns of different names"
    with pytest.raises(DataError, match=message):
        check_parquet(file, "a.parquet", PARQUET, dict.fromkeys(["user", "label"], Column(type="int64")))
    with pytest.raises(DataError, match=message):
        list(read_parquet(Piece(file), "a.parquet", PARQUET, ["user", "label"], optional=["user"]))
    [batch] = read_parquet(Piece(file), "a.parquet", PARQUET, ["label"])
    assert batch.columns["label"].to_pylist() == [9]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("stored", ["ms", "us", "ns"])
def test_timestamps(tmp_path: Path, unit: str, stored: str) -> None:
    moment = datetime.datetime(2024, 1, 1, 23, 59, 59)
    spec = dataset(source=PARQUET, time=TimeColumn(column="day", unit=unit))
    rows, bad = read(spec, _write(tmp_path, day=pa.array([moment] * 4, pa.timestamp(stored))))
    assert bad == []
    assert rows[DAY].to_pylist() == [20240101] * 4


DATES = [datetime.date(2024, 2, 29), None, datetime.date(2024, 1, 2), datetime.date(2023, 12, 31)]


def _timed(unit: str) -> Dataset:
    kind = "string" if unit == "iso8601" else "int64"
    return dataset(
        source=PARQUET, columns=COLUMNS | {"day": Column(type=kind)}, time=TimeColumn(column="day", unit=unit)
    )


@pytest.mark.parametrize("unit", ["yyyymmdd", "iso8601"])
@pytest.mark.parametrize("stored", [pa.date32(), pa.date64()])
def test_dates(tmp_path: Path, unit: str, stored: pa.DataType) -> None:
    spec = _timed(unit).model_copy(update={"split": RandomSplit()})
    rows, bad = read(spec, _write(tmp_path, day=pa.array(DATES, stored)))
    assert rows[DAY].to_pylist() == [20240229, 20240102, 20231231]
    assert [(b["row"], b["reason"]) for b in bad] == [(2, "bad_time")]


@pytest.mark.parametrize("stored", [pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("ms", "Asia/Shanghai")])
def test_timestamps_as_iso8601(tmp_path: Path, stored: pa.DataType) -> None:
    moment = datetime.datetime(2024, 1, 1, 23, 59, 59, tzinfo=datetime.timezone.utc)
    rows, bad = read(_timed("iso8601"), _write(tmp_path, day=pa.array([moment] * 4, stored)))
    assert bad == []
    assert rows[DAY].to_pylist() == [20240101] * 4


@pytest.mark.parametrize(
    ("unit", "values", "said"),
    [
        ("ms", pa.array(DATES), "time column 'day' is date32.* in the file, .* by unit ms; allowed: yyyymmdd, iso8601"),
        ("yyyymmdd", pa.nulls(4, pa.timestamp("ms")), "is timestamp.* by unit yyyymmdd; allowed: s, ms, us, iso8601"),
    ],
)
def test_a_time_of_another_unit_names_those_that_work(tmp_path: Path, unit: str, values: pa.Array, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(_timed(unit), _write(tmp_path, day=values))


def test_a_truncated_and_an_empty_file_are_one_dead_letter_each(tmp_path: Path) -> None:
    _write(tmp_path, "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(data[: len(data) // 2])
    (tmp_path / "c.parquet").write_bytes(b"")
    rows, bad = read(dataset(source=PARQUET), tmp_path)
    assert rows.num_rows == 4
    assert [(b["file"], b["row"], b["reason"], b["rows"]) for b in bad] == [
        ("b.parquet", -1, "unreadable_file", 1),
        ("c.parquet", -1, "unreadable_file", 1),
    ]


def test_what_the_system_cannot_read_is_an_error_and_no_row(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere.parquet")
    with pytest.raises(DataError, match=f"cannot read {nowhere}: .*No such file"):
        list(read_parquet(Piece(nowhere), "a", PARQUET, ["user"]))
    with pytest.raises(DataError, match=f"cannot read {nowhere}: .*No such file"):
        check_parquet(nowhere, "a", PARQUET, {"user": Column(type="int64")})


def test_a_disk_that_fails_later_is_an_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    _write(tmp_path)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", fails)
    with pytest.raises(DataError, match=r"cannot read .*log.parquet: Input/output error"):
        list(read_parquet(Piece(str(tmp_path / "log.parquet")), "log.parquet", PARQUET, ["user"]))


def test_a_damaged_row_group_counts_its_rows_and_the_next_is_read(tmp_path: Path) -> None:
    _write(tmp_path, group=100, rows=300)
    file = tmp_path / "log.parquet"
    place = pq.read_metadata(file).row_group(1).column(0).data_page_offset
    data = bytearray(file.read_bytes())
    data[place : place + 30] = b"\xff" * 30
    file.write_bytes(bytes(data))
    rows, bad = read(dataset(source=PARQUET), tmp_path)
    assert rows["user"].to_pylist() == [*range(100), *range(200, 300)]
    assert [(b["row"], b["reason"], b["rows"]) for b in bad] == [(101, "unreadable_file", 100)]


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_flipped_bytes_always_add_up(tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]]) -> None:
    # The same examples each time: Arrow 10 checks no page's checksum, and about one flip in some hundreds kills the process.
    folder = tmp_path_factory.mktemp("flips")
    _write(folder, group=20, rows=60)
    data = bytearray((folder / "log.parquet").read_bytes())
    for place, value in edits:
        data[place % len(data)] = value
    (folder / "log.parquet").write_bytes(bytes(data))
    try:
        read(dataset(source=PARQUET), folder)  # checks itself that each batch adds up
    except DataError as error:  # a flipped name or type in the footer is a column that is not there
        if "in the file" not in str(error) and "the file lacks" not in str(error):
            raise
