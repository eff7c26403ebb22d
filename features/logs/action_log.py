"""Both logs as the join of actions reads them: impressions by key, time and place, actions with all their columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.actions import Actions
from features.columns import arrow_type
from features.logs.instants import instants
from features.logs.personal import Pseudonyms, without_personal
from features.logs.pieces import Piece
from features.logs.places import BEGIN, FILE, ROW, TIME
from features.logs.quarantine import Faults, RawBatch, joined, to_batch
from features.logs.row_hashes import row_hashes
from features.logs.sources import read_source
from features.logs.typed import TypedSource, typed
from features.spec import Dataset, Source


@dataclass(frozen=True)
class KeyedRows:
    """Rows of one of the logs.

    Attributes:
        rows: what the join needs of them.
        hashed: uint64 (rows,), equal for rows that must meet.
        quarantined: dead letters (of actions; impressions get theirs when they are read for good).
        rows_read: good and bad rows.
        without: columns of which no row of this batch has a value.
    """

    rows: pa.RecordBatch
    hashed: NDArray[Any]
    quarantined: pa.RecordBatch
    rows_read: int
    without: frozenset[str] = frozenset()


def impression_schema(dataset: Dataset) -> pa.Schema:
    """Columns of impressions' rows: key, `TIME`, `FILE`, `BEGIN`, `ROW`."""
    assert dataset.actions is not None
    keys = [(key, arrow_type(dataset.columns[key].type)) for key in dataset.actions.keys]
    return pa.schema([*keys, (TIME, pa.int64()), (FILE, pa.int32()), (BEGIN, pa.int64()), (ROW, pa.int64())])


def action_schema(actions: Actions) -> pa.Schema:
    """Columns of actions' rows: all that are read, `TIME`, `FILE`, `ROW`."""
    columns = [(name, arrow_type(column.type)) for name, column in actions.columns.items()]
    return pa.schema([*columns, (TIME, pa.int64()), (FILE, pa.int32()), (ROW, pa.int64())])


def read_impressions(
    dataset: Dataset, piece: Piece, file: int, name: str, pseudonyms: Pseudonyms | None
) -> Iterator[KeyedRows]:
    """The rows of a piece of the log that have key and time; the others can have no action.

    Args:
        dataset: the spec.
        piece: the file, or a part of it.
        file: its number, by name among the log's files.
        name: its name in messages.
        pseudonyms: for columns that are hashed.

    Raises:
        DataError: as `features.logs.sources.read_source`.
    """
    assert dataset.actions is not None
    assert dataset.time is not None
    needed = {*dataset.actions.keys, dataset.time.column}
    columns = {n: column for n, column in dataset.columns.items() if n in needed or _by_place(dataset.source)}
    kept = {n: column for n, column in columns.items() if n in needed}
    reading = TypedSource(dataset.source, kept, dataset.time, pseudonyms)
    schema = impression_schema(dataset)
    for raw in read_source(piece, name, _of_any_time(dataset.source), columns):
        faults = Faults(raw)
        values = _keyed(raw, reading, faults)
        values[FILE] = pa.array(np.full(len(raw.rows), file, dtype=np.int32))
        values[BEGIN] = pa.array(np.full(len(raw.rows), piece.begin, dtype=np.int64))
        values[ROW] = pa.array(raw.rows)
        good = ~faults.bad
        for key in dataset.actions.keys:
            good &= np.asarray(pc.is_valid(values[key]).to_numpy(zero_copy_only=False))
        rows = pa.RecordBatch.from_arrays([values[n] for n in schema.names], schema=schema).filter(pa.array(good))
        yield KeyedRows(
            rows, row_hashes([rows.column(n) for n in range(len(dataset.actions.keys))]), to_batch([]), raw.rows_read
        )


def read_actions(
    actions: Actions, piece: Piece, file: int, name: str, pseudonyms: Pseudonyms | None
) -> Iterator[KeyedRows]:
    """The rows of a piece of the log of actions; what cannot be read as the spec says is set aside.

    Args:
        actions: the spec.
        piece: the file, or a part of it.
        file: its number, by name among the actions' files.
        name: its name in dead letters.
        pseudonyms: for columns that are hashed.

    Raises:
        DataError: as `features.logs.sources.read_source`.
    """
    schema = action_schema(actions)
    reading = TypedSource(actions.source, actions.columns, actions.time, pseudonyms)
    for raw in read_source(piece, name, actions.source, actions.columns):
        faults = Faults(raw)
        values = _keyed(raw, reading, faults)
        values[FILE] = pa.array(np.full(len(raw.rows), file, dtype=np.int32))
        values[ROW] = pa.array(raw.rows)
        rows = pa.RecordBatch.from_arrays([values[n] for n in schema.names], schema=schema).filter(
            pa.array(~faults.bad)
        )
        letters = without_personal(joined([to_batch(raw.rejects), faults.letters]), actions.columns)
        without = frozenset(
            n for n in actions.columns if n not in raw.columns or raw.columns[n].null_count == len(raw.rows)
        )
        yield KeyedRows(rows, _hashes_of(rows, actions), letters, raw.rows_read, without)


def _hashes_of(rows: pa.RecordBatch, actions: Actions) -> NDArray[Any]:
    """Rows without a key meet no impression, and are spread by their time, at which their duplicates are."""
    columns = dict(zip(rows.schema.names, rows.columns, strict=True))
    keyed = np.ones(rows.num_rows, dtype=bool)
    for key in actions.keys:
        keyed &= np.asarray(pc.is_valid(columns[key]).to_numpy(zero_copy_only=False))
    by_key = row_hashes([columns[key] for key in actions.keys])
    return by_key if keyed.all() else np.where(keyed, by_key, row_hashes([columns[TIME]]))


def _of_any_time(source: Source) -> Source:
    """A topic's messages of other times than its window's are no rows of the run, but have actions of their own."""
    if source.kafka is None:
        return source
    return source.model_copy(update={"kafka": source.kafka.model_copy(update={"window": None})})


def _by_place(source: Source) -> bool:
    """Whether only all columns together say where each of them is."""
    return source.format == "csv" and not source.header


def _keyed(raw: RawBatch, kept: TypedSource, faults: Faults) -> dict[str, pa.Array]:
    """The columns as the spec types them, and `TIME`."""
    assert kept.time is not None
    columns = typed(raw, kept, faults)
    return columns | {TIME: pa.array(instants(kept.time, columns[kept.time.column], faults))}
