"""Parquet, one row group at a time; what cannot be read is set aside with its number of rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from features.logs.casting import check_type
from features.logs.columnar import BATCH_ROWS, pass_on, raw_batch, rejected, wanted_columns
from features.logs.files import open_arrow
from features.logs.pieces import Piece, cut_groups
from features.logs.quarantine import WHOLE_FILE, RawBatch
from features.spec import Column, Source

_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError)
"""What pyarrow raises for damaged files; names that are no UTF-8 among them. An OSError with a number is none of these:
the system's own, of a file that is not there or a disk that failed (see :func:`~features.logs.columnar.pass_on`)."""


def read_parquet(
    piece: Piece, name: str, source: Source, columns: Iterable[str], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads one Parquet file, or some of its row groups.

    A file without a readable footer is one dead letter of 1 row; a row group that cannot be read is one dead letter of
    as many rows as the footer says it has, and reading goes on with the next group.

    Args:
        piece: the file, or a part of it.
        name: its name in dead letters.
        source: asks nothing of this format.
        columns: columns to read.
        optional: those of `columns` that the file may lack.

    Yields:
        batches of at most :data:`~features.logs.columnar.BATCH_ROWS` rows with columns of the file's own types.

    Raises:
        DataError: if the file lacks a column that is not optional or has one twice, or the system cannot read it.
    """
    del source
    file = piece.file
    try:
        opened = open_arrow(file)
        parquet = pq.ParquetFile(
            opened, pre_buffer=opened is not file
        )  # a store gives few large parts sooner than many small
        groups = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
        present = list(parquet.schema_arrow.names)
    except _UNREADABLE as error:
        pass_on(file, error)
        yield rejected(name, WHOLE_FILE, 1, error)
        return
    wanted = wanted_columns(name, present, columns, optional)
    with parquet:
        try:
            yield from _read_groups(parquet, name, groups, wanted, piece)
        except OSError as error:
            pass_on(file, error)
            raise


def check_parquet(
    file: str, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> None:
    """Looks at the footer only; arguments as of :func:`read_parquet`. A damaged file is no error here.

    Raises:
        DataError: as of :func:`read_parquet`, and if a column that is not optional can never become what the spec says.
    """
    del source
    try:
        schema = pq.read_schema(open_arrow(file))
        present = list(schema.names)
    except _UNREADABLE as error:
        pass_on(file, error)
        return
    for column in wanted_columns(name, present, columns, optional):
        if column not in optional:
            check_type(name, column, columns[column], schema.field(column).type)


def cut_parquet(file: str, source: Source, columns: Iterable[str], size: int) -> list[Piece]:
    """A file in pieces of row groups, each of about `size` bytes uncompressed; one with an unreadable footer as a whole."""
    del source, columns
    try:
        metadata = pq.read_metadata(open_arrow(file))
    except _UNREADABLE as error:
        pass_on(file, error)
        return [Piece(file)]
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return cut_groups(file, [(group.num_rows, group.total_byte_size) for group in groups], size)


def _read_groups(
    parquet: pq.ParquetFile, name: str, groups: list[int], wanted: list[str], piece: Piece
) -> Iterator[RawBatch]:
    first_row = piece.first_row
    for group, rows in list(enumerate(groups))[piece.begin : piece.end]:
        seen = 0
        problem: Exception | None = None
        try:
            for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=wanted, use_threads=False):
                found = {column: batch.column(batch.schema.get_field_index(column)) for column in wanted}
                yield raw_batch(name, found, first_row + seen, batch.num_rows)
                seen += batch.num_rows
        except _UNREADABLE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            problem = error
        if problem is None and seen < rows:
            problem = ValueError(f"the footer promises {rows} rows in row group {group}, {seen} are there")
        if problem is not None:
            yield rejected(name, first_row + seen, max(rows - seen, 1), problem)
        first_row += max(rows, seen)
