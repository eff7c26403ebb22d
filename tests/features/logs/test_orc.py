"""ORC logs: other types, damaged files, timestamps, and the process that reads them; the same table in three formats."""

from __future__ import annotations

import datetime
import os
import signal
import sys
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.orc as po
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import DataError
from features.logs import orc_reader
from features.logs.orc_program import stripes_of
from features.logs.orc_reader import check_orc, read_orc
from features.logs.pieces import Piece
from features.spec import DAY, Column, Dataset, RandomSplit, Source, TimeColumn
from tests.features.logs.small_log import COLUMNS, dataset, read

ORC = Source(files="*.orc", format="orc")


def _table(rows: int = 4) -> dict[str, pa.Array]:
    return {
        "user": pa.array(range(rows), pa.int32()),
        "item": pa.array(np.arange(rows), pa.int16()),
        "score": pa.array(np.arange(rows) % 4 / 2, pa.float64()),
        "name": pa.array(["a"] * rows),
        "tags": pa.array([[1, 2]] * rows, pa.list_(pa.int32())),
        "day": pa.array([20240101] * rows),
        "click": pa.array([True] * rows),
        "like": pa.array([0.0] * rows),
        "seen": pa.array([1] * rows, pa.int8()),
    }


def _write(
    path: Path,
    file: str = "log.orc",
    stripe: int | None = None,
    rows: int = 4,
    kind: str = "uncompressed",
    **changes: pa.Array,
) -> Path:
    """`stripe`: rows of a stripe; compressed, a stripe ends only where 64 KiB of values are full."""
    with po.ORCWriter(
        str(path / file), compression=kind, stripe_size=1 if stripe else 1 << 20, batch_size=stripe or 1024
    ) as writer:
        writer.write(pa.table(_table(rows) | changes))
    return path


def test_other_types_of_the_same_family(tmp_path: Path) -> None:
    rows, bad = read(dataset(source=ORC), _write(tmp_path))
    assert bad == []
    assert rows["user"].to_pylist() == [0, 1, 2, 3]
    assert rows["score"].to_pylist() == [0, 0.5, 1, 1.5]
    assert rows["name"].to_pylist() == ["a"] * 4
    assert rows["tags"].to_pylist() == [[1, 2]] * 4
    assert rows["label_click"].to_pylist() == [1.0] * 4


def test_bad_values_are_refused_row_by_row(tmp_path: Path) -> None:
    _write(
        tmp_path,
        rows=8,
        user=pa.array([0, 1.0, 2.5, np.nan, np.inf, 5, 6, 7]),
        score=pa.array(["1", "2", "3", "4", "5", "x", "7", None]),
        name=pa.array([b"a", b"a", b"a", b"a", b"a", b"a", b"\xff", b""], pa.binary()),
        tags=pa.array([[1, None], [], None, [1], [1], [1], [1], [2]]),
    )
    rows, bad = read(dataset(source=ORC), tmp_path)
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
    rows, bad = read(dataset(source=ORC), _write(tmp_path, name=text))
    assert rows["user"].to_pylist() == [0, 2, 3]
    assert [(b["row"], b["reason"], b["value"]) for b in bad] == [(2, "bad_utf8", "\\xfe")]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("user", pa.array([[1]] * 4), "column 'user' is list<item: int64> in the file; int64 is read from"),
        ("tags", pa.array([1] * 4), "column 'tags' is int64 in the file; list<int64> is read from a list or from text"),
        ("name", pa.array([{"x": 1}] * 4), "column 'name' is struct<x: int64> in the file; string is read from text"),
    ],
)
def test_types_that_never_fit(tmp_path: Path, column: str, values: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(dataset(source=ORC), _write(tmp_path, **{column: values}))


def test_a_missing_column(tmp_path: Path) -> None:
    file = str(tmp_path / "a.orc")
    po.write_table(pa.table({"user": [1]}), file)
    with pytest.raises(DataError, match=r"a.orc: the file lacks item, .*columns present: user"):
        read(dataset(source=ORC), tmp_path)
    with pytest.raises(DataError, match=r"a.orc: the file lacks item; columns present: user"):
        check_orc(file, "a.orc", ORC, ["user", "item"])
    check_orc(file, "a.orc", ORC, ["user"])
    [batch] = read_orc(Piece(file), "a.orc", ORC, ["user", "item"], optional=["item"])
    assert {name: values.to_pylist() for name, values in batch.columns.items()} == {"user": [1]}


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    file = str(tmp_path / "a.orc")
    po.write_table(pa.table([[1], [2], [9]], names=["user", "user", "label"]), file)
    message = r"a.orc: the file has column 'user' 2 times; allowed: columns of different names"
    with pytest.raises(DataError, match=message):
        check_orc(file, "a.orc", ORC, ["user", "label"])
    with pytest.raises(DataError, match=message):
        list(read_orc(Piece(file), "a.orc", ORC, ["user", "label"]))
    [batch] = read_orc(Piece(file), "a.orc", ORC, ["label"])
    assert batch.columns["label"].to_pylist() == [9]


def test_rows_without_any_column_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orc_reader, "BATCH_ROWS", 40)
    file = str(_write(tmp_path, rows=50) / "log.orc")
    batches = list(read_orc(Piece(file), "a.orc", ORC, ["other"], optional=["other"]))
    assert [(batch.columns, len(batch.rows)) for batch in batches] == [({}, 40), ({}, 10)]


def test_large_stripes_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orc_reader, "BATCH_ROWS", 40)
    batches = list(read_orc(Piece(str(_write(tmp_path, rows=100) / "log.orc")), "log.orc", ORC, ["name", "user"]))
    assert [len(batch.rows) for batch in batches] == [40, 40, 20]
    assert [n for batch in batches for n in batch.rows.tolist()] == [*range(1, 101)]
    assert [n for batch in batches for n in batch.columns["user"].to_pylist()] == [*range(100)]


def test_the_rows_of_stripes(tmp_path: Path) -> None:
    file = str(_write(tmp_path, stripe=20, rows=50) / "log.orc")
    tail = po.ORCFile(file).reader.serialized_file_tail()
    rows, sizes = stripes_of(tail)
    assert rows == [20, 20, 10]
    assert sum(sizes) == po.ORCFile(file).content_length
    with pytest.raises(ValueError, match="the footer says 50 rows; its 3 stripes have 51"):
        stripes_of(tail.replace(b"\x28\x0a", b"\x28\x0b", 1))
    with pytest.raises(ValueError, match="no protocol buffer"):
        stripes_of(b"\x07" + tail)
    with pytest.raises(ValueError, match="no protocol buffer"):
        stripes_of(b"\x80")


MOMENT = datetime.datetime(2024, 1, 1, 23, 59, 59)


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("stored", [pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.timestamp("ns")])
def test_timestamps(tmp_path: Path, unit: str, stored: pa.DataType) -> None:
    spec = dataset(source=ORC, time=TimeColumn(column="day", unit=unit))
    rows, bad = read(spec, _write(tmp_path, day=pa.array([MOMENT] * 4, stored)))
    assert bad == []
    assert rows[DAY].to_pylist() == [20240101] * 4


def _timed(unit: str) -> Dataset:
    columns = COLUMNS | {"day": Column(type="string" if unit == "iso8601" else "int64")}
    return dataset(source=ORC, columns=columns, time=TimeColumn(column="day", unit=unit))


@pytest.mark.parametrize("unit", ["yyyymmdd", "iso8601"])
def test_dates(tmp_path: Path, unit: str) -> None:
    dates = [datetime.date(2024, 2, 29), None, datetime.date(2024, 1, 2), datetime.date(2023, 12, 31)]
    spec = _timed(unit).model_copy(update={"split": RandomSplit()})
    rows, bad = read(spec, _write(tmp_path, day=pa.array(dates, pa.date32())))
    assert rows[DAY].to_pylist() == [20240229, 20240102, 20231231]
    assert [(b["row"], b["reason"]) for b in bad] == [(2, "bad_time")]


def test_timestamps_as_iso8601(tmp_path: Path) -> None:
    rows, bad = read(_timed("iso8601"), _write(tmp_path, day=pa.array([MOMENT] * 4, pa.timestamp("us"))))
    assert bad == []
    assert rows[DAY].to_pylist() == [20240101] * 4


# -- damage -----------------------------------------------------------------------------------------------------


def test_a_truncated_and_an_empty_file_are_one_dead_letter_each(tmp_path: Path) -> None:
    data = (_write(tmp_path, "a.orc") / "a.orc").read_bytes()
    (tmp_path / "b.orc").write_bytes(data[: len(data) // 2])
    (tmp_path / "c.orc").write_bytes(b"")
    rows, bad = read(dataset(source=ORC), tmp_path)
    assert rows.num_rows == 4
    assert [(b["file"], b["row"], b["reason"], b["rows"]) for b in bad] == [
        ("b.orc", -1, "unreadable_file", 1),
        ("c.orc", -1, "unreadable_file", 1),
    ]
    check_orc(str(tmp_path / "b.orc"), "b.orc", ORC, ["user"])


def _spoil(file: Path, begin: float, end: float) -> None:
    """Overwrites a stretch of the stripes, which come first in a file; given as shares of them."""
    data = bytearray(file.read_bytes())
    length = po.ORCFile(str(file)).content_length
    data[int(begin * length) : int(end * length)] = b"\xff" * (int(end * length) - int(begin * length))
    file.write_bytes(bytes(data))


def test_damaged_stripes_count_their_rows_and_the_next_is_read(tmp_path: Path) -> None:
    file = _write(tmp_path, stripe=100, rows=500, user=pa.array([7] * 500), item=pa.array([1] * 500)) / "log.orc"
    _spoil(file, 0.3, 0.5)  # of 2nd and 3rd
    _spoil(file, 0.9, 1)
    rows, bad = read(dataset(source=ORC), tmp_path)
    assert rows.num_rows == 200
    assert [(b["row"], b["reason"], b["rows"]) for b in bad] == [
        (101, "unreadable_file", 100),
        (201, "unreadable_file", 100),
        (401, "unreadable_file", 100),
    ]
    assert "the ORC library ended with SIGABRT: terminate called after throwing" in bad[0]["value"]


@pytest.mark.parametrize("kind", ["zlib", "snappy", "zstd"])
def test_a_damaged_compressed_stripe(tmp_path: Path, kind: str) -> None:
    scores = pa.array(np.random.default_rng(1).integers(0, 40, 30_000) / 4)
    file = (
        _write(tmp_path, stripe=10_000, rows=30_000, kind=kind, score=scores, item=pa.array([1] * 30_000)) / "log.orc"
    )
    _spoil(file, 0.34, 0.6)  # a short stretch of 0xff may be other values: zstd and snappy decode it
    rows, bad = read(dataset(source=ORC), tmp_path)
    assert rows["user"].to_pylist() == [*range(10_000), *range(20_000, 30_000)]
    assert [(b["row"], b["reason"], b["rows"]) for b in bad] == [(10_001, "unreadable_file", 10_000)]


def _flipped(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    flipped = bytearray(data)
    for place, value in edits:
        flipped[place % len(data)] = value
    return bytes(flipped)


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
    st.sampled_from(["uncompressed", "zlib", "snappy", "zstd"]),
)
@settings(max_examples=40, deadline=None)  # each starts processes
def test_flipped_bytes_always_add_up(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], kind: str
) -> None:
    folder = tmp_path_factory.mktemp("flips")
    file = _write(folder, stripe=20, rows=60, kind=kind) / "log.orc"
    file.write_bytes(_flipped(file.read_bytes(), edits))
    try:
        read(dataset(source=ORC), folder)  # checks itself that each batch adds up
    except DataError as error:  # a flipped name or type in the footer is a column that is not there
        if "in the file" not in str(error) and "the file lacks" not in str(error):
            raise


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_cut_anywhere_nothing_is_made_up(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("cuts")
    file = _write(folder, stripe=20, rows=60) / "log.orc"
    data = file.read_bytes()
    file.write_bytes(data[: cut % len(data)])
    rows, bad = read(dataset(source=ORC), folder)
    assert rows.num_rows == 0
    assert [(b["row"], b["reason"], b["rows"]) for b in bad] == [(-1, "unreadable_file", 1)]


# -- the process that reads -------------------------------------------------------------------------------------


def test_what_the_system_cannot_read_is_an_error_and_no_row(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere.orc")
    with pytest.raises(DataError, match=f"cannot read {nowhere}: .*No such file"):
        list(read_orc(Piece(nowhere), "a", ORC, ["user"]))
    with pytest.raises(DataError, match=f"cannot read {nowhere}: .*No such file"):
        check_orc(nowhere, "a", ORC, ["user"])


def _instead(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr("inspect.getsource", lambda _: program)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with status -9"),
        ("raise SystemExit('no such library')", "ended with status 1: no such library"),
        ("""print('{"system": "Input/output error"}')""", "Input/output error"),
    ],
)
def test_a_process_that_fails_by_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str
) -> None:
    file = str(_write(tmp_path) / "log.orc")
    _instead(monkeypatch, program)
    with pytest.raises(DataError, match=f"cannot read {file}: .*{said}"):
        list(read_orc(Piece(file), "log.orc", ORC, ["user"]))


def test_a_process_that_breaks_off_in_a_stripe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(_write(tmp_path) / "log.orc")
    _instead(
        monkeypatch,
        """print('{"names": ["user"], "rows": [4], "sizes": [99]}'); print('{"rows": 4}'); raise SystemExit(3)""",
    )
    with pytest.raises(DataError, match="ended with status 3"):
        list(read_orc(Piece(file), "log.orc", ORC, ["user"]))


def test_a_stripe_of_fewer_rows_than_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(_write(tmp_path) / "log.orc")
    _instead(
        monkeypatch,
        "import pyarrow as pa, sys\n"
        """print('{"names": ["user"], "rows": [4], "sizes": [99]}'); print('{"rows": 1}', flush=True)\n"""
        "batch = pa.record_batch([pa.array([1])], ['user'])\n"
        "with pa.ipc.new_stream(sys.stdout.buffer, batch.schema) as stream: stream.write_batch(batch)\n",
    )
    first, second = read_orc(Piece(file), "log.orc", ORC, ["user"])
    assert len(first.rows) == 1
    assert [(r.row, r.reason, r.rows) for r in second.rejects] == [(2, "unreadable_file", 3)]


def test_no_process_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    start = orc_reader.subprocess.Popen
    monkeypatch.setattr(orc_reader.subprocess, "Popen", lambda *a, **k: started.append(start(*a, **k)) or started[-1])
    file = str(_write(tmp_path, stripe=100, rows=10_000) / "log.orc")
    batches = read_orc(Piece(file), "log.orc", ORC, ["user"])
    next(batches)
    assert started[0].poll() is None
    batches.close()
    assert [process.poll() for process in started] == [-signal.SIGKILL]


def test_the_program_sees_the_libraries_of_its_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tables.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.chdir(os.path.dirname(orc_reader.__file__))
    assert read(dataset(source=ORC), _write(tmp_path))[0].num_rows == 4


# -- three formats ----------------------------------------------------------------------------------------------

ROW = st.fixed_dictionaries(
    {
        "user": st.none() | st.integers(-(2**31), 2**31 - 1),
        "item": st.none() | st.integers(-5, 1005),
        "score": st.none() | st.floats(-2, 12) | st.just(float("nan")),
        "name": st.none() | st.sampled_from(["", "a", "é", "x\ny"]),
        "tags": st.none() | st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3),
        "day": st.sampled_from([20240101, 20240104, 20240109, 1]),
        "click": st.booleans(),
        "like": st.none() | st.sampled_from([0.0, 1.0, 2.0]),
        "seen": st.integers(0, 1),
    }
)
SCHEMA = pa.schema(
    [
        ("user", pa.int32()),
        ("item", pa.int64()),
        ("score", pa.float64()),
        ("name", pa.string()),
        ("tags", pa.list_(pa.int64())),
        ("day", pa.int64()),
        ("click", pa.bool_()),
        ("like", pa.float32()),
        ("seen", pa.int32()),
    ]
)
AVRO_NAMES = {"int32": "int", "int64": "long", "bool": "boolean"}


def _avro_type(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return ["null", {"type": "array", "items": _avro_type(kind.value_type)}]
    return ["null", AVRO_NAMES.get(str(kind), str(kind))]


@given(st.lists(ROW, min_size=1, max_size=20))
@settings(max_examples=25, deadline=None)
def test_the_same_table_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    found = {}
    for kind in ("parquet", "orc", "avro"):
        folder = tmp_path_factory.mktemp(kind)
        file = str(folder / "log")  # one name: it is a part of the row ids
        table = pa.Table.from_pylist(rows, SCHEMA)
        if kind == "parquet":
            pq.write_table(table, file)
        elif kind == "orc":
            po.write_table(table, file)
        else:
            fields = [{"name": field.name, "type": _avro_type(field.type)} for field in SCHEMA]
            with open(file, "wb") as stream:
                fastavro.writer(stream, {"type": "record", "name": "Row", "fields": fields}, rows)
        good, bad = read(dataset(source=Source(files="log", format=kind)), folder)
        found[kind] = (good, [(b["row"], b["reason"], b["column"], b["value"], b["rows"]) for b in bad])
    assert found["orc"][1] == found["avro"][1] == found["parquet"][1]
    assert found["orc"][0].equals(found["parquet"][0])
    assert found["avro"][0].equals(found["parquet"][0])
