"""Rows come out of their shards as they went in, those of one key together; times are the microseconds of Python's datetime."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import DataError
from features.logs import shards
from features.logs.instants import instants
from features.logs.quarantine import Faults, RawBatch, from_batch
from features.logs.row_hashes import row_hashes
from features.logs.shards import Part, ShardWriter, read_shard, shards_for
from features.sources import TimeColumn

SCHEMA = pa.schema([("user", pa.int64()), ("name", pa.string()), ("place", pa.int64())])


@given(
    st.lists(
        st.lists(st.tuples(st.none() | st.integers(-5, 5), st.sampled_from(["a", "b", None])), max_size=20), max_size=4
    ),
    st.integers(1, 6),
    st.sampled_from([1, 1 << 20]),
)
@settings(max_examples=60, deadline=None)
def test_every_row_comes_out_once_with_those_of_its_key(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[Any, Any]]], number: int, buffer: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "BUFFER_BYTES", buffer)
        files: dict[int, list[Part]] = {}
        place = 0
        for half in (batches[::2], batches[1::2]):
            writer = ShardWriter(str(folder), number)
            for rows in half:
                table = [*zip(*rows, strict=True)] or [(), ()]
                places = range(place, place + len(rows))
                place += len(rows)
                batch = pa.RecordBatch.from_arrays(
                    [pa.array(column, field.type) for column, field in zip([*table, places], SCHEMA, strict=True)],
                    schema=SCHEMA,
                )
                writer.add(batch, row_hashes(batch.columns[:2]))
            for shard, file in writer.close().items():
                files.setdefault(shard, []).append(file)
    found = {shard: read_shard(names, SCHEMA).to_pylist() for shard, names in files.items()}
    went_in = [row for half in (batches[::2], batches[1::2]) for rows in half for row in rows]
    came_out = sorted((row["place"], row["user"], row["name"]) for rows in found.values() for row in rows)
    assert came_out == [(place, *row) for place, row in enumerate(went_in)]
    of_key: dict[Any, set[int]] = {}
    for shard, rows in found.items():
        assert 0 <= shard < number
        for row in rows:
            of_key.setdefault((row["user"], row["name"]), set()).add(shard)
    assert all(len(of) == 1 for of in of_key.values())
    assert read_shard([], SCHEMA).num_rows == 0


def test_a_writer_of_many_shards_has_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker may open 1,024 files, and has one writer for each of both logs and for duplicates."""
    monkeypatch.setattr(shards, "BUFFER_BYTES", 20_000)
    writer = ShardWriter(str(tmp_path), 500)
    for begin in range(0, 10_000, 1000):
        places = pa.array(range(begin, begin + 1000))
        batch = pa.RecordBatch.from_arrays([places, places.cast(pa.string()), places], schema=SCHEMA)
        writer.add(batch, np.asarray(places).astype(np.uint64))
    parts = writer.close()
    assert len(list(tmp_path.iterdir())) == 1
    assert sorted(parts) == list(range(500))
    for shard in (0, 7, 499):
        assert read_shard([parts[shard]], SCHEMA)["place"].to_pylist() == list(range(shard, 10_000, 500))
    assert ShardWriter(str(tmp_path), 5).close() == {}
    assert len(list(tmp_path.iterdir())) == 1


def test_hashes_spread_and_are_the_same_in_another_process() -> None:
    users = pa.array(range(100_000))
    counts = np.bincount((row_hashes([users]) % np.uint64(50)).astype(int), minlength=50)
    assert abs(counts - 2000).max() < 5 * 2000**0.5
    told = "import pyarrow as pa; from features.logs.row_hashes import row_hashes; print(row_hashes([pa.array([7]), pa.array(['é'])])[0])"
    other = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True).stdout
    assert int(other) == row_hashes([pa.array([7]), pa.array(["é"])])[0]


def test_the_number_of_shards_follows_the_size() -> None:
    assert [shards_for(size) for size in (0, 128 << 20, 1 << 30, 1 << 50)] == [1, 2, 9, 512]


def test_a_shard_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.arrow").write_bytes(b"no arrow")
    with pytest.raises(DataError, match=r"cannot read .*x\.arrow, which ingest wrote"):
        read_shard([Part(str(tmp_path / "x.arrow"), (0,))], SCHEMA)


def faults_of(rows: int) -> Faults:
    return Faults(RawBatch("f", {}, np.arange(1, rows + 1), np.full(rows, -1), lambda _: ""))


@given(st.lists(st.none() | st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)), min_size=1))
def test_times_are_microseconds(moments: list[datetime.datetime | None]) -> None:
    zero = datetime.datetime(1970, 1, 1)
    for unit, span in {"s": 1_000_000, "ms": 1_000, "us": 1}.items():
        ticks = [None if m is None else (m - zero) // datetime.timedelta(microseconds=span) for m in moments]
        faults = faults_of(len(moments))
        found = instants(TimeColumn(column="t", unit=unit, utc_offset_hours=8), pa.array(ticks, pa.int64()), faults)
        assert found.tolist() == [0 if tick is None else tick * span for tick in ticks]
        assert faults.bad.tolist() == [tick is None for tick in ticks]
    texts = [None if m is None else m.isoformat() for m in moments]
    faults = faults_of(len(moments))
    found = instants(TimeColumn(column="t", unit="iso8601"), pa.array(texts, pa.string()), faults)
    assert found.tolist() == [0 if m is None else (m - zero) // datetime.timedelta(microseconds=1) for m in moments]


def test_times_beyond_the_calendar_are_none() -> None:
    values = pa.array([253_402_300_799, 253_402_300_800, 2**62, -(2**63) + 1])
    faults = faults_of(4)
    assert instants(TimeColumn(column="t", unit="s"), values, faults).tolist() == [253_402_300_799_000_000, 0, 0, 0]
    assert [reject.reason for reject in from_batch(faults.letters)] == ["bad_time"] * 3
