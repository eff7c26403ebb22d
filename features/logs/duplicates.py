"""Which rows of a log have the values of an earlier row: by 128 bits of hash, brought together in shards.

Two rows that differ are taken for equal with a probability of 1.5e-21 for a log of a billion rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.logs.action_log import KeyedRows
from features.logs.personal import Pseudonyms
from features.logs.pieces import Piece
from features.logs.places import BEGIN, FILE, ROW
from features.logs.quarantine import Faults, to_batch
from features.logs.sources import read_source
from features.logs.typed import TypedSource, typed
from features.spec import Dataset

_HASHES = ("feedrank_hash", "feedrank_hash_2")
SCHEMA = pa.schema(
    [*((name, pa.uint64()) for name in _HASHES), (FILE, pa.int32()), (BEGIN, pa.int64()), (ROW, pa.int64())]
)
"""Of rows that are compared."""
_PLACES = pa.schema([(FILE, pa.int32()), (BEGIN, pa.int64()), (ROW, pa.int64())])
_KEYS = ("feedrank 1st key", "feedrank 2nd key")
"""Of the two hashes; 16 bytes each."""
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
_MISSING, _LIST = np.uint64(0x165667B19E3779F9), np.uint64(0x27D4EB2F165667C5)


def read_hashes(
    dataset: Dataset, piece: Piece, file: int, name: str, pseudonyms: Pseudonyms | None
) -> Iterator[KeyedRows]:
    """Hashes and places of a piece's rows; those that cannot be read as the spec says equal none.

    Args:
        dataset: the spec.
        piece: the file, or a part of it.
        file: its number, by name among the log's files.
        name: its name in messages.
        pseudonyms: for columns that are hashed.

    Raises:
        DataError: as `features.logs.sources.read_source`.
    """
    kept = TypedSource(dataset.source, dataset.columns, dataset.time, pseudonyms)
    for raw in read_source(piece, name, dataset.source, dataset.columns):
        faults = Faults(raw)
        columns = list(typed(raw, kept, faults).values())
        size = len(raw.rows)
        values = [
            *(pa.array(row_hashes(columns, which)) for which in (0, 1)),
            pa.array(np.full(size, file, dtype=np.int32)),
        ]
        values += [pa.array(np.full(size, piece.begin, dtype=np.int64)), pa.array(raw.rows)]
        rows = pa.RecordBatch.from_arrays(values, schema=SCHEMA).filter(pa.array(~faults.bad))
        yield KeyedRows(rows, np.asarray(rows.column(0)), to_batch([]), raw.rows_read)


def row_hashes(columns: list[pa.Array], which: int) -> NDArray[Any]:
    """One of two independent hashes of each row's values; uint64 (n,).

    Args:
        columns: of any of the spec's types, length n each.
        which: 0 or 1.
    """
    total = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        of_column = _of_lists(column, which) if pa.types.is_list(column.type) else _of_values(column, which)
        total = _mixed((total ^ of_column) * _ODD[which])
    return total


def _mixed(values: NDArray[Any]) -> NDArray[Any]:
    return values ^ (values >> np.uint64(29))


def _of_values(column: pa.Array, which: int) -> NDArray[Any]:
    """-0.0 equals 0.0; a missing value equals a missing one."""
    if pa.types.is_floating(column.type):
        numbers = pc.fill_null(column, 0).to_numpy(zero_copy_only=False) + np.float32(0)
        missing = np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False))
        column = pa.array(numbers.view(np.int32).astype(np.int64), mask=missing)
    encoded = column.dictionary_encode()
    distinct = encoded.dictionary.to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type):
        hashed = pd.util.hash_array(distinct, hash_key=_KEYS[which], categorize=False)
    else:
        hashed = _mixed(_mixed(distinct.view(np.uint64) * _ODD[which] + _LIST) * _ODD[1 - which])
    return np.append(hashed, _MISSING)[encoded.indices.fill_null(-1).to_numpy()]


def _of_lists(column: pa.Array, which: int) -> NDArray[Any]:
    """A polynomial of the elements' hashes, and the length; a missing list equals a missing one alone."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False), dtype=np.int64)
    elements = _of_values(pc.list_flatten(column), which)
    counts = np.maximum(lengths, 0)
    begins = np.cumsum(counts) - counts
    powers = np.cumprod(np.full(int(counts.max(initial=0)) + 1, _ODD[1 - which]))
    rows = np.repeat(np.arange(len(counts)), counts)
    terms = elements * powers[np.arange(len(elements)) - begins[rows]]
    sums = np.append(np.uint64(0), np.cumsum(terms))  # wraps around, as does the difference
    return _mixed(((sums[begins + counts] - sums[begins]) ^ lengths.astype(np.uint64) * _LIST) * _ODD[which])


def repeated_rows(rows: pa.Table) -> pa.Table:
    """Places of the rows of a shard that equal an earlier one (files by name, then rows), sorted.

    Args:
        rows: of `SCHEMA`.
    """
    first, second, files, begins, numbers = (np.asarray(column) for column in rows.columns)
    order = np.lexsort((numbers, files, second, first))
    same = (first[order[1:]] == first[order[:-1]]) & (second[order[1:]] == second[order[:-1]])
    found = order[1:][same]
    found = found[np.lexsort((numbers[found], begins[found], files[found]))]
    return rows.select(_PLACES.names).take(pa.array(found))
