"""Which rows of a log have the values of an earlier row: by 128 bits of hash, brought together in shards.

Two rows that differ are taken for equal with a probability of 1.5e-21 for a log of a billion rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from features.logs.action_log import KeyedRows
from features.logs.personal import Pseudonyms
from features.logs.pieces import Piece
from features.logs.places import BEGIN, FILE, ROW
from features.logs.quarantine import Faults, to_batch
from features.logs.row_hashes import row_hashes
from features.logs.sources import read_source
from features.logs.typed import TypedSource, typed
from features.spec import Dataset

_HASHES = ("feedrank_hash", "feedrank_hash_2")
SCHEMA = pa.schema(
    [*((name, pa.uint64()) for name in _HASHES), (FILE, pa.int32()), (BEGIN, pa.int64()), (ROW, pa.int64())]
)
"""Of rows that are compared."""
_PLACES = pa.schema([(FILE, pa.int32()), (BEGIN, pa.int64()), (ROW, pa.int64())])


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
