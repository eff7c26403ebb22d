"""What the readers of files with named and typed columns share: which columns to read, raw batches, rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pyarrow as pa

from features.errors import DataError
from features.frozen import nearest
from features.logs.quarantine import RawBatch, Reject, row_texts, text

BATCH_ROWS = 65_536
"""Rows of a batch, at most."""


def wanted_columns(name: str, present: Collection[str], columns: Iterable[str], optional: Collection[str]) -> list[str]:
    """Those of `columns` that a file has.

    Args:
        name: the file's name.
        present: the columns that the file has, as often as it has them.
        columns: columns to read.
        optional: those of `columns` that the file may lack.

    Raises:
        DataError: if the file lacks a column that is not optional, or has one more than once: nobody can say which is meant.
    """
    wanted = list(columns)
    if missing := [column for column in wanted if column not in present and column not in optional]:
        shown = ", ".join(list(present)[:60])
        hint = near_columns(missing, present, wanted)
        raise DataError(f"{name}: the file lacks {', '.join(missing)}; columns present: {shown}{hint}")
    counts = Counter(iter(present))
    if several := [f"'{column}' {counts[column]} times" for column in wanted if counts[column] > 1]:
        raise DataError(f"{name}: the file has column {', '.join(several)}; allowed: columns of different names")
    return [column for column in wanted if column in counts]


def near_columns(missing: Iterable[str], present: Iterable[str], wanted: Collection[str]) -> str:
    """What to add to a message about columns that a file lacks: of those it has and nobody wants, the nearest ones."""
    others = [column for column in present if column not in wanted]
    near = [(column, found) for column in missing if (found := nearest(column, others))]
    return "; did you mean " + ", ".join(f"'{found}' for {column}" for column, found in near) + "?" if near else ""


def pass_on(file: str, error: Exception) -> None:
    """Raises what is no damage of the file.

    Raises:
        DataError: if the system said why the file cannot be read: that costs no rows, the next attempt may read them.
    """
    if isinstance(error, OSError) and error.errno is not None:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error


def raw_batch(name: str, columns: Mapping[str, pa.Array], first_row: int, rows: int) -> RawBatch:
    """Rows of a file.

    Args:
        name: the file's name in dead letters.
        columns: the wanted columns, each of length `rows`.
        first_row: the first row's number in the file, from 1.
        rows: number of rows; `columns` may be empty.
    """
    numbers = np.arange(first_row, first_row + rows, dtype=np.int64)
    return RawBatch(
        name,
        dict(columns),
        numbers,
        np.full(rows, -1, dtype=np.int64),
        lambda i: row_texts(columns, np.array([i]))[0].as_py(),
        many_raw=lambda at: row_texts(columns, at),
    )


def rejected(name: str, row: int, rows: int, error: object, reason: str = "unreadable_file") -> RawBatch:
    """A stretch of a file that cannot be read, as one dead letter.

    Args:
        name: the file's name in dead letters.
        row: number of the first row that is lost, or :data:`~features.logs.quarantine.WHOLE_FILE`.
        rows: rows known to be lost.
        error: what went wrong.
        reason: a key of :data:`~features.logs.quarantine.REASONS`.
    """
    nothing = np.zeros(0, dtype=np.int64)
    return RawBatch(
        name, {}, nothing, nothing, lambda _: "", [Reject(name, row, -1, "", reason, text(error), "", rows)]
    )
