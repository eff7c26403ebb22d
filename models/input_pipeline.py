"""From transformed Parquet files to batches of tensors, shuffled, exactly sized and resumable.

Row groups are read in a seeded random order, a few at a time (a *pool*), and each pool is permuted: one pool is used and one
read, however many rows there are, and a few batches of permuted rows are ahead. Every order depends on ``(seed, epoch, pool)``
alone: batch `n` of an epoch can be produced without reading the pools before it. Rows that fit in one pool are read once, not
every epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import DataError
from features.layout import Layout
from features.spec import POSITION, ROW_ID, ROW_WEIGHT, Task, label_column, mask_column, weight_column

POOL_ROWS = 262_144
"""Rows permuted together. Larger mixes better and takes more memory."""

PERMUTED_ROWS = 4_096
"""Rows of a pool that are brought into their order together: the first batches need not wait for all of it."""

Columns = dict[str, npt.NDArray[Any]]
T = TypeVar("T")


def batch_schema(layout: Layout, tasks: Mapping[str, Task], row_id: bool = False) -> pa.Schema:
    """Columns that training needs: every input, position, label, mask and weight (and the row's id where it is asked for).

    A list of fixed length is a ``list<int64>`` whose field carries its length as metadata.
    """
    fields = [
        pa.field(i.name, pa.list_(pa.int64()), metadata={"length": str(i.length)})
        if i.kind == "indices"
        else pa.field(i.name, pa.float32() if i.kind == "number" else pa.int64())
        for i in layout.inputs
    ]
    fields += [pa.field(POSITION, pa.int64())] if layout.position else []
    fields += [pa.field(label_column(name), pa.float32()) for name in tasks]
    fields += [pa.field(mask_column(name), pa.float32()) for name, task in tasks.items() if task.mask]
    fields += [pa.field(weight_column(name), pa.float32()) for name, task in tasks.items() if task.sample_weight]
    fields += [pa.field(ROW_WEIGHT, pa.float32())] if layout.row_weights else []
    fields += [pa.field(ROW_ID, pa.int64())] if row_id else []
    return pa.schema(fields)


def list_length(field: pa.Field) -> int | None:
    """The fixed length of a list column of `batch_schema`, None for a scalar column."""
    return int(field.metadata[b"length"]) if pa.types.is_list(field.type) else None


@dataclasses.dataclass(frozen=True)
class Order:
    """Which order an epoch's rows come in. The same `seed` and `epoch` give the same order."""

    seed: int
    epoch: int

    def generator(self, *key: int) -> np.random.Generator:
        """A generator of its own for each `key`."""
        return np.random.default_rng((self.seed, self.epoch, *key))


@dataclasses.dataclass(frozen=True)
class _RowGroup:
    path: str
    number: int
    rows: int


class TransformedRows:
    """The transformed rows of one split.

    Args:
        files: Parquet files with the columns of `schema`.
        schema: what is read, from `batch_schema`.
        pool_rows: rows that are permuted together (whole row groups: at least one).

    Raises:
        DataError: if there is no file, no row, or a column is missing or has another type.
    """

    def __init__(self, files: Sequence[str], schema: pa.Schema, pool_rows: int = POOL_ROWS) -> None:
        self.schema = schema
        self._pool_rows = pool_rows
        self._groups = tuple(group for path in sorted(files) for group in _row_groups(path, schema))
        self.rows = sum(group.rows for group in self._groups)
        self._all: Columns | None = None
        """All rows, from the first reading on, where they fit in one pool."""
        if not self.rows:
            raise DataError(
                f"no transformed rows to read: {len(files)} files, 0 rows: {', '.join(files[:3]) or '(none)'}"
            )

    def steps(self, batch_size: int) -> int:
        """Batches in an epoch; the last may be smaller."""
        return -(-self.rows // batch_size)

    def batches(self, batch_size: int, order: Order | None = None, first_batch: int = 0) -> Iterator[pa.RecordBatch]:
        """Record batches of exactly `batch_size` rows (the last: what is left), from batch number `first_batch` on.

        Args:
            batch_size: rows a batch.
            order: a shuffled order, or None for the files' own.
            first_batch: how many batches to leave out; pools before it are not read.

        Raises:
            DataError: if a value is missing or a list has another length than the schema says.
        """
        parts: list[pa.RecordBatch] = []
        held = 0
        for pool in self._parts(order, first_batch * batch_size):
            start = 0
            while held + pool.num_rows - start >= batch_size:
                parts.append(pool.slice(start, batch_size - held))
                yield _joined(parts)
                start += batch_size - held
                parts, held = [], 0
            if start < pool.num_rows:
                parts.append(pool.slice(start))
                held += pool.num_rows - start
        if parts:
            yield _joined(parts)

    def column(self, name: str) -> npt.NDArray[Any]:
        """One whole scalar column in the files' order: (rows,)."""
        schema = pa.schema([self.schema.field(name)])
        return np.concatenate([_read([group], schema)[name] for group in self._groups])

    def _parts(self, order: Order | None, skip_rows: int) -> Iterator[pa.RecordBatch]:
        """All rows in order, some at a time; they are permuted, and the next pool is read, while others are used."""
        pools = _ahead(self._pools(order, skip_rows), "feedrank-read")
        return _ahead(_in_order(pools, self.schema), "feedrank-permute")

    def _pools(self, order: Order | None, skip_rows: int) -> Iterator[_Pool]:
        groups, one = list(self._groups), self.rows <= self._pool_rows
        if order is not None and not one:
            groups = [groups[i] for i in order.generator(0).permutation(len(groups))]
        for number, pool in enumerate(_in_pools(groups, self._pool_rows)):
            rows = sum(group.rows for group in pool)
            if skip_rows < rows:
                columns = self._all or _read(pool, self.schema)
                if one:
                    self._all = columns
                yield _Pool(columns, order.generator(1, number).permutation(rows) if order else None, rows, skip_rows)
            skip_rows = max(0, skip_rows - rows)


class _Pool(NamedTuple):
    columns: Columns
    order: npt.NDArray[np.int64] | None
    """Rows in the order that they come in; None for the columns' own."""
    rows: int
    skipped: int
    """How many of the order's first rows are not wanted."""


def _in_order(pools: Iterator[_Pool], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for pool in pools:
        for start in range(pool.skipped, pool.rows, PERMUTED_ROWS):
            part = slice(start, start + PERMUTED_ROWS)
            chosen = part if pool.order is None else pool.order[part]
            yield _record_batch({name: values[chosen] for name, values in pool.columns.items()}, schema)


def _ahead(items: Iterator[T], thread_name: str) -> Iterator[T]:
    """The same items, each made in a thread of its own while the one before it is used."""
    with ThreadPoolExecutor(1, thread_name) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _row_groups(path: str, schema: pa.Schema) -> Iterator[_RowGroup]:
    with pq.ParquetFile(path) as file:
        found = file.schema_arrow
        for field in schema:
            index = found.get_field_index(field.name)
            kind = None if index < 0 else found.field(index).type
            if kind is None or not _same_type(kind, field.type):
                raise DataError(
                    f"transformed file {path}: column '{field.name}' should be {field.type}, is {kind or 'missing'}; "
                    f"columns: {', '.join(found.names)}"
                )
        for number in range(file.num_row_groups):
            yield _RowGroup(path, number, file.metadata.row_group(number).num_rows)


def _same_type(found: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_list(expected):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
        return is_list and bool(found.value_type == expected.value_type)
    return bool(found == expected)


def _in_pools(groups: Sequence[_RowGroup], pool_rows: int) -> Iterator[list[_RowGroup]]:
    pool: list[_RowGroup] = []
    for group in groups:
        if pool and sum(g.rows for g in pool) + group.rows > pool_rows:
            yield pool
            pool = []
        pool.append(group)
    if pool:
        yield pool


def _read(groups: Iterable[_RowGroup], schema: pa.Schema) -> Columns:
    tables = []
    for group in groups:
        with pq.ParquetFile(group.path) as file:
            table = file.read_row_group(group.number, columns=schema.names)
        tables.append({field.name: _values(table.column(field.name), field, group.path) for field in schema})
    if len(tables) == 1:
        return tables[0]
    return {name: np.concatenate([table[name] for table in tables]) for name in schema.names}


def _values(column: pa.ChunkedArray, field: pa.Field, path: str) -> npt.NDArray[Any]:
    """A scalar column as (rows,), a list column as (rows, length)."""
    length = list_length(field)
    nulls = column.null_count
    flat = pa.chunked_array([chunk.flatten() for chunk in column.chunks]) if length is not None else column
    if nulls or flat.null_count:
        raise DataError(f"transformed file {path}: column '{field.name}' has missing values; Transform fills them all")
    values: npt.NDArray[Any] = flat.to_numpy()
    if length is None:
        return values
    lengths = np.concatenate([chunk.value_lengths().to_numpy() for chunk in column.chunks])
    if (lengths != length).any():
        raise DataError(
            f"transformed file {path}: lists of '{field.name}' should hold {length} values each; "
            f"found lengths from {lengths.min()} to {lengths.max()}"
        )
    return values.reshape(-1, length)


def _record_batch(columns: Columns, schema: pa.Schema) -> pa.RecordBatch:
    arrays = []
    for field in schema:
        values = columns[field.name]
        array = pa.array(values.reshape(-1))
        if (length := list_length(field)) is not None:
            # int32 offsets: a pool holds fewer than 2**31 list elements.
            array = pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1) * length, pa.int32()), array)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _joined(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One record batch; a single part is not copied."""
    return parts[0] if len(parts) == 1 else pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
