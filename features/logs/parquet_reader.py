"""Parquet, one row group at a time; what cannot be read is set aside with its number of rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import DataError
from features.logs.quarantine import RAW_CHARS, WHOLE_FILE, RawBatch, Reject, text, value_text
from features.spec import Source

BATCH_ROWS = 65_536
_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError)
"""What pyarrow raises for damaged files; names that are no UTF-8 among them. An OSError with a number is none of these:
the system's own, of a file that is not there or a disk that failed (see :func:`_pass_on`)."""


def read_parquet(
    file: str, name: str, source: Source, columns: Iterable[str], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads one Parquet file.

    A file without a readable footer is one dead letter of 1 row; a row group that cannot be read is one dead letter of
    as many rows as the footer says it has, and reading goes on with the next group.

    Args:
        file: path of the file.
        name: its name in dead letters.
        source: asks nothing of this format.
        columns: columns to read.
        optional: those of `columns` that the file may lack.

    Yields:
        batches of at most :data:`BATCH_ROWS` rows with columns of the file's own types.

    Raises:
        DataError: if the file lacks a column that is not optional, or the system cannot read it.
    """
    del source
    try:
        parquet = pq.ParquetFile(file)
        groups = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
        present = list(parquet.schema_arrow.names)
    except _UNREADABLE as error:
        _pass_on(file, error)
        yield _rejected(name, WHOLE_FILE, 1, error)
        return
    wanted = _wanted(name, present, columns, optional)
    with parquet:
        try:
            yield from _read_groups(parquet, name, groups, wanted)
        except OSError as error:
            _pass_on(file, error)
            raise


def check_parquet(file: str, name: str, source: Source, columns: Iterable[str]) -> None:
    """Looks at the footer only; arguments and errors as of :func:`read_parquet`. A damaged file is no error here."""
    del source
    try:
        present = list(pq.read_schema(file).names)
    except _UNREADABLE as error:
        _pass_on(file, error)
        return
    _wanted(name, present, columns, ())


def _pass_on(file: str, error: Exception) -> None:
    """Raises what is no damage of the file.

    Raises:
        DataError: if the system said why the file cannot be read: that costs no rows, the next attempt may read them.
    """
    if isinstance(error, OSError) and error.errno is not None:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error


def _wanted(name: str, present: list[str], columns: Iterable[str], optional: Collection[str]) -> list[str]:
    wanted = list(columns)
    if missing := [column for column in wanted if column not in present and column not in optional]:
        raise DataError(f"{name}: the file lacks {', '.join(missing)}; columns present: {', '.join(present[:60])}")
    return [column for column in wanted if column in present]


def _read_groups(parquet: pq.ParquetFile, name: str, groups: list[int], wanted: list[str]) -> Iterator[RawBatch]:
    first_row = 1
    for group, rows in enumerate(groups):
        seen = 0
        problem: Exception | None = None
        try:
            for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=wanted, use_threads=False):
                yield _batch(name, batch, wanted, first_row + seen)
                seen += batch.num_rows
        except _UNREADABLE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            problem = error
        if problem is None and seen < rows:
            problem = ValueError(f"the footer promises {rows} rows in row group {group}, {seen} are there")
        if problem is not None:
            yield _rejected(name, first_row + seen, max(rows - seen, 1), problem)
        first_row += max(rows, seen)


def _batch(name: str, batch: pa.RecordBatch, wanted: list[str], first_row: int) -> RawBatch:
    rows = np.arange(first_row, first_row + batch.num_rows, dtype=np.int64)
    columns = {column: batch.column(batch.schema.get_field_index(column)) for column in wanted}
    return RawBatch(
        name, columns, rows, np.full(len(rows), -1, dtype=np.int64), lambda i: text(_row_text(columns, i), RAW_CHARS)
    )


def _row_text(columns: dict[str, pa.Array], index: int) -> str:
    return repr({name: value_text(column, index) for name, column in columns.items()})


def _rejected(name: str, row: int, rows: int, error: Exception) -> RawBatch:
    nothing = np.zeros(0, dtype=np.int64)
    reject = Reject(name, row, -1, "", "unreadable_file", text(error), "", rows)
    return RawBatch(name, {}, nothing, nothing, lambda _: "", [reject])
