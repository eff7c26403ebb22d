from __future__ import annotations

import itertools
import pathlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ConfigError, DataError
from features.spec import ROW_ID
from models import arrow_stream, input_pipeline
from models.arrow_stream import stream_tensors
from models.input_pipeline import Order, TransformedRows, batch_schema
from tests.models.transformed import LAYOUT, TASKS, transformed_table, write_split

SCHEMA = batch_schema(LAYOUT, TASKS, row_id=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_split(tmp_path_factory.mktemp("split"), rows=1_030, row_group_rows=100)


def row_ids(batches: Iterator[pa.RecordBatch]) -> list[int]:
    return [i for batch in batches for i in batch.column(SCHEMA.get_field_index(ROW_ID)).to_pylist()]


def test_only_needed_columns_are_read() -> None:
    expected = ["user", "item", "history", "age", "label_click", "label_buy", "mask_buy"]
    assert batch_schema(LAYOUT, TASKS).names == expected


def test_file_order_gives_every_row_as_written(files: list[str]) -> None:
    rows = TransformedRows(files, SCHEMA)
    batches = list(rows.batches(64))
    assert [batch.num_rows for batch in batches] == [64] * 16 + [6]
    assert rows.steps(64) == 17
    found = pa.Table.from_batches(batches).replace_schema_metadata()
    assert found.select([ROW_ID, "history", "age"]).to_pydict() == (
        transformed_table(1_030).select([ROW_ID, "history", "age"]).to_pydict()
    )


def test_shuffled_rows_keep_their_values_together(files: list[str]) -> None:
    rows = TransformedRows(files, SCHEMA, pool_rows=250)
    found = pa.Table.from_batches(list(rows.batches(64, Order(3, 0))))
    order = np.argsort(found.column(ROW_ID).to_numpy())
    assert found.column(ROW_ID).to_pylist() != list(range(1_030))
    assert found.take(order).to_pydict() == transformed_table(1_030).select(SCHEMA.names).to_pydict()


@pytest.mark.parametrize("pool_rows", [250, 2_000])
def test_order_depends_on_seed_and_epoch_alone(files: list[str], pool_rows: int) -> None:
    rows = TransformedRows(files, SCHEMA, pool_rows)
    assert row_ids(rows.batches(64)) == list(range(1_030))
    list(rows.batches(64, Order(3, 1)))
    first = row_ids(rows.batches(64, Order(3, 0)))
    assert row_ids(TransformedRows(files, SCHEMA, pool_rows).batches(64, Order(3, 0))) == first
    assert row_ids(rows.batches(64)) == list(range(1_030))
    assert row_ids(rows.batches(64, Order(3, 1))) != first
    assert row_ids(rows.batches(64, Order(4, 0))) != first


def test_a_pool_mixes_row_groups_and_files(files: list[str]) -> None:
    first_batch = next(TransformedRows(files, SCHEMA, pool_rows=2_000).batches(200, Order(0, 0)))
    groups = {i // 100 for i in first_batch.column(SCHEMA.get_field_index(ROW_ID)).to_pylist()}
    assert len(groups) >= 9


@settings(max_examples=40, deadline=None)
@given(
    batch_size=st.integers(1, 1_200),
    pool_rows=st.integers(1, 1_500),
    first=st.integers(0, 30),
    shuffled=st.booleans(),
)
def test_starting_at_a_batch_equals_skipping_to_it(
    files: list[str], batch_size: int, pool_rows: int, first: int, shuffled: bool
) -> None:
    rows = TransformedRows(files, SCHEMA, pool_rows)
    order = Order(7, 2) if shuffled else None
    whole = [batch.to_pydict() for batch in rows.batches(batch_size, order)]
    assert [batch.to_pydict() for batch in rows.batches(batch_size, order, first)] == whole[first:]
    assert sorted(i for batch in whole for i in batch[ROW_ID]) == list(range(1_030))
    assert all(len(batch[ROW_ID]) == batch_size for batch in whole[:-1])


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the row groups that were read."""
    numbers: list[int] = []
    original = pq.ParquetFile.read_row_group

    def spy(self: pq.ParquetFile, number: int, columns: list[str]) -> pa.Table:
        numbers.append(number)
        return original(self, number, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    return numbers


def test_pools_before_the_first_batch_are_not_read(files: list[str], read: list[int]) -> None:
    rows = TransformedRows(files, SCHEMA, pool_rows=100)
    list(rows.batches(103, Order(0, 0), first_batch=9))
    assert len(read) <= 3


@pytest.mark.parametrize(("pool_rows", "times"), [(1_030, 1), (1_029, 3)])
def test_rows_that_fit_in_one_pool_are_read_once(files: list[str], read: list[int], pool_rows: int, times: int) -> None:
    rows = TransformedRows(files, SCHEMA, pool_rows)
    groups = sum(pq.ParquetFile(path).num_row_groups for path in files)
    for epoch in range(3):
        list(rows.batches(103, Order(0, epoch)))
    assert len(read) == times * groups


@pytest.mark.parametrize("first", [0, 2, 9])
@pytest.mark.parametrize("pool_rows", [250, 2_000])
def test_how_many_rows_are_permuted_together_changes_no_order(
    files: list[str], monkeypatch: pytest.MonkeyPatch, pool_rows: int, first: int
) -> None:
    rows = TransformedRows(files, SCHEMA, pool_rows)
    at_once = row_ids(rows.batches(64, Order(3, 1), first))
    for together in (1, 77, 250):
        monkeypatch.setattr(input_pipeline, "PERMUTED_ROWS", together)
        assert row_ids(rows.batches(64, Order(3, 1), first)) == at_once
        assert row_ids(rows.batches(64, None, first)) == list(range(64 * first, 1_030))


@pytest.mark.parametrize("first", [0, 3])
def test_the_order_of_one_pool_is_numpys_permutation(
    files: list[str], monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setattr(input_pipeline, "PERMUTED_ROWS", 100)
    expected = np.random.default_rng((3, 1, 1, 0)).permutation(1_030)[64 * first :]
    assert row_ids(TransformedRows(files, SCHEMA).batches(64, Order(3, 1), first)) == expected.tolist()


def test_an_error_of_a_later_pool_is_raised_after_the_rows_before_it(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, original, read = TransformedRows(files, SCHEMA, pool_rows=200), pq.ParquetFile.read_row_group, []

    def breaks(self: pq.ParquetFile, number: int, columns: list[str]) -> pa.Table:
        read.append(number)
        if len(read) > 4:
            raise OSError("the disk is gone")
        return original(self, number, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", breaks)
    batches = rows.batches(100)
    assert [next(batches).num_rows for _ in range(4)] == [100] * 4
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_whoever_stops_early_leaves_no_thread(files: list[str]) -> None:
    def readers() -> list[str]:
        return [
            thread.name
            for thread in threading.enumerate()
            if thread.name.startswith(("feedrank-read", "feedrank-perm"))
        ]

    batches = TransformedRows(files, SCHEMA, pool_rows=200).batches(50, Order(0, 0))
    next(batches)
    assert readers() != []
    batches.close()
    assert readers() == []


def test_one_column_in_file_order(files: list[str]) -> None:
    np.testing.assert_array_equal(TransformedRows(files, SCHEMA).column(ROW_ID), np.arange(1_030))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(["age"]), "'age' should be float, is missing"),
        (lambda t: t.set_column(3, "age", t["age"].cast(pa.float64())), "'age' should be float, is double"),
        (lambda t: t.set_column(3, "age", pa.array([None] * t.num_rows, pa.float32())), "'age' has missing values"),
        (lambda t: t.set_column(2, "history", pa.array([[1, 2]] * t.num_rows)), "'history' should hold 3 values"),
        (lambda t: t[:0], "0 rows"),
    ],
)
def test_bad_files_are_named(tmp_path: pathlib.Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    pq.write_table(change(transformed_table(10)), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=message):
        list(TransformedRows([str(tmp_path / "bad.parquet")], SCHEMA).batches(4))


def test_tensors_have_the_values_and_shapes_of_the_rows(files: list[str]) -> None:
    rows = TransformedRows(files, SCHEMA)
    batches = list(stream_tensors(rows.batches(500), SCHEMA))
    assert [tuple(batch["user"].shape) for batch in batches] == [(500,), (500,), (30,)]
    assert [tuple(batch["history"].shape) for batch in batches] == [(500, 3), (500, 3), (30, 3)]
    table = transformed_table(1_030)
    for name in SCHEMA.names:
        np.testing.assert_array_equal(
            np.concatenate([batch[name].numpy() for batch in batches]), np.array(table.column(name).to_pylist())
        )


def test_two_streams_at_once_do_not_mix(files: list[str]) -> None:
    rows = TransformedRows(files, SCHEMA)
    pairs = zip(
        stream_tensors(rows.batches(100), SCHEMA), stream_tensors(rows.batches(100, Order(1, 1)), SCHEMA), strict=True
    )
    first, second = (np.concatenate(ids) for ids in zip(*((a[ROW_ID], b[ROW_ID]) for a, b in pairs), strict=True))
    np.testing.assert_array_equal(first, np.arange(1_030))
    np.testing.assert_array_equal(np.sort(second), np.arange(1_030))


def stream_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("feedrank")]


def open_descriptors() -> int:
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


def test_an_error_of_the_reader_is_raised_to_the_trainer(files: list[str]) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from list(TransformedRows(files, SCHEMA).batches(100))[:5]
        raise DataError("the disk is gone")

    received = 0
    with pytest.raises(DataError, match="the disk is gone"):  # noqa: PT012
        for _ in stream_tensors(failing(), SCHEMA):
            received += 1
    assert received <= 5
    assert stream_threads() == []


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_stream_left_early_releases_threads_and_sockets(files: list[str], taken: int) -> None:
    def endless() -> Iterator[pa.RecordBatch]:
        while True:
            yield from TransformedRows(files, SCHEMA).batches(100)

    def leave() -> None:
        stream = stream_tensors(endless(), SCHEMA)
        for _ in range(taken):
            next(stream)
        stream.close()

    leave()
    before = open_descriptors()
    for _ in range(5):
        leave()
    assert stream_threads() == []
    assert open_descriptors() <= before + 1


def test_a_stream_without_batches_ends_at_once() -> None:
    assert list(stream_tensors(iter(()), SCHEMA)) == []


def test_an_error_before_the_first_batch_is_raised() -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        raise DataError("no disk at all")
        yield

    with pytest.raises(DataError, match="no disk at all"):
        next(stream_tensors(failing(), SCHEMA))


def test_an_error_of_the_source_keeps_its_cause_and_may_be_one_of_a_connection(files: list[str]) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from list(TransformedRows(files, SCHEMA).batches(100))[:2]
        raise ConnectionResetError("the bucket hung up") from KeyError("why")

    with pytest.raises(ConnectionResetError, match="the bucket hung up") as caught:
        list(stream_tensors(failing(), SCHEMA))
    assert isinstance(caught.value.__cause__, KeyError)
    assert stream_threads() == []


@pytest.fixture
def ends_after_a_batch(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A reader that takes one batch and no more, without an error, and keeps its connection; set once it has ended."""
    ended, reader = threading.Event(), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def read(schema: pa.Schema, path: pathlib.Path) -> Iterator[tuple[tf.Tensor, ...]]:
        reader.connect(str(path))
        batch = pa.ipc.open_stream(reader.makefile("rb", buffering=0)).read_next_batch()
        yield (tf.constant(batch.column(0).to_numpy()),)
        ended.set()

    monkeypatch.setattr(arrow_stream, "_dataset", read)
    with reader:
        yield ended


def wait_for(ended: threading.Event) -> Iterator[pa.RecordBatch]:
    """The second batch comes well after the reader has ended: until then both sides have counted the same rows."""
    yield IDS
    assert ended.wait(20)
    time.sleep(0.3)
    yield IDS


IDS = pa.record_batch([pa.array(range(100))], names=["id"])


@pytest.mark.parametrize(
    ("batches", "rows"),
    [
        (lambda _: iter([IDS] * 3), "(300|[123]00 or more)"),
        (lambda _: itertools.repeat(IDS), r"\d+ or more"),
        (wait_for, r"[12]00( or more)?"),
    ],
    ids=["written", "endless", "between"],
)
def test_a_reader_that_ends_early_is_told(
    ends_after_a_batch: threading.Event,
    batches: Callable[[threading.Event], Iterator[pa.RecordBatch]],
    rows: str,
) -> None:
    with pytest.raises(RuntimeError, match=f"^the stream ended after 100 of {rows} rows$"):
        list(stream_tensors(batches(ends_after_a_batch), IDS.schema))
    assert stream_threads() == []


@pytest.mark.parametrize("fails", [True, False], ids=["fails", "ends"])
def test_a_reader_that_never_connects_leaves_no_source_open(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    def read(schema: pa.Schema, path: pathlib.Path) -> Iterator[tuple[tf.Tensor, ...]]:
        if fails:
            raise tf.errors.UnavailableError(None, None, "no reader")
        yield from ()

    monkeypatch.setattr(arrow_stream, "_dataset", read)
    closed = []

    def source() -> Iterator[pa.RecordBatch]:
        try:
            yield IDS
            yield IDS
        finally:
            closed.append(threading.current_thread().name)

    said = (tf.errors.UnavailableError, "no reader") if fails else (RuntimeError, "ended after 0 of 0 or more rows")
    batches = source()
    with pytest.raises(said[0], match=said[1]):
        next(stream_tensors(batches, IDS.schema))
    assert len(closed) == 1
    assert stream_threads() == []


def test_a_source_is_closed_where_no_socket_can_be_made(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * 107)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    batches = (IDS for _ in range(2))
    with pytest.raises(ConfigError):
        next(stream_tensors(batches, IDS.schema))
    assert list(batches) == []


@pytest.fixture
def short_folder() -> Iterator[pathlib.Path]:
    """Whatever the path is below which pytest makes folders."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield pathlib.Path(folder)


def test_a_socket_of_too_long_a_path_is_refused_in_words(
    files: list[str], short_folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = len("/feedrank-12345678/arrow.sock")
    for length in (107, 108):
        folder = short_folder / ("x" * (length - name - len(str(short_folder)) - 1))
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        stream = stream_tensors(TransformedRows(files, SCHEMA).batches(100), SCHEMA)
        if length == 107:
            assert len(list(stream)) == 11
        else:
            with pytest.raises(ConfigError, match="path of 108 bytes; allowed: 107 at most; set TMPDIR to a shorter"):
                next(stream)
