"""Rows of BigQuery as columns. A run opens read sessions once; their streams are what files are elsewhere, and a row's number is its place in
its stream. Or it lets BigQuery export the rows, once too (`features.logs.bigquery_export`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import pyarrow as pa

from features.bigquery import BigQueryPart, BigQuerySource
from features.errors import DataError
from features.logs.bigquery_client import batches, open_session, run_query
from features.logs.bigquery_export import cut_exported, export_part, read_exported, remove_exported, run_folder
from features.logs.columnar import BATCH_ROWS, raw_batch, wanted_columns
from features.logs.pieces import Piece
from features.logs.quarantine import RawBatch
from features.paths import options_of
from features.spec import Column, Dataset, Source, TimeSplit

BATCH_BYTES = 32 << 20
"""Of messages handed on at once: BigQuery's may have a few rows, or many."""


class OpenedTable(NamedTuple):
    """What a run reads.

    Attributes:
        files: a name for each stream, ``bigquery://TABLE/DAY/NUMBER?stream=...&bytes=...``, or exported file; without what stands behind the
            question mark it is the same in every run, and known by it is the stream or file.
        sessions: what the manifest says of each session or export.
    """

    files: list[str]
    sessions: list[dict[str, Any]]


def open_table(dataset: Dataset) -> OpenedTable:
    """Runs the query, if there is one, and opens the read sessions, or exports the rows: of a source by day one a day.

    Raises:
        ConfigError: if no moment is fixed, the extra is not installed, or there are no credentials.
        DataError: if BigQuery refuses or does not answer, the table lacks a column, or a part has no row; and as of
            `features.logs.bigquery_export.export_part`.
    """
    source = dataset.source.bigquery
    assert source is not None
    assert source.moment  # one that is not fixed yet says so, before a query costs anything
    columns = {name: column for name, column in dataset.columns.items() if name not in dataset.source.from_name}
    files, sessions = [], []
    days = dataset.split.days() if isinstance(dataset.split, TimeSplit) else []
    run = run_folder()
    for part in source.parts(days):
        of_part, said = (
            _opened_session(source, part, list(columns))
            if source.export is None
            else export_part(source, part, columns, run)
        )
        if not of_part:
            raise _no_rows(part.name, part.where)
        files += of_part
        sessions.append(said)
    return OpenedTable(files, sessions)


def _opened_session(
    source: BigQuerySource, part: BigQueryPart, columns: Sequence[str]
) -> tuple[list[str], dict[str, Any]]:
    """Names of a session's streams, and what the manifest says of it."""
    result = run_query(source, part) if part.query else None
    session = open_session(source, part, part.table if result is None else result.table, columns)
    wanted_columns(part.name, session.columns, columns, ())
    of_stream = session.bytes // max(len(session.streams), 1)
    files = [
        f"{part.name}/{number:05d}?stream={quote(stream, safe='')}&bytes={of_stream}"
        for number, stream in enumerate(session.streams)
    ]
    said: dict[str, Any] = {
        "path": part.name,
        "table": session.table,
        "where": part.where,
        "snapshot": session.snapshot,
    }
    said |= {"session": session.name, "expires": session.expires, "streams": len(session.streams)}
    return files, said if result is None else said | {"job": result.job, "query_rows": result.rows}


def close_table(dataset: Dataset, opened: OpenedTable) -> None:
    """Removes exported files that are not kept, when all has been read that is wanted of them. Sessions end by themselves.

    Raises:
        DataError: if the store refuses.
    """
    source = dataset.source.bigquery
    if source is not None and source.export is not None and not source.export.keep:
        remove_exported(opened.files)


def count_rows(sessions: Sequence[dict[str, Any]], files: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the manifest says of each session or export, with the rows read of it.

    Args:
        sessions: of :class:`OpenedTable`.
        files: ``path`` and ``rows`` of each stream or file.
    """
    rows: dict[str, int] = {}
    for file in files:
        path = file["path"].rpartition("/")[0]
        rows[path] = rows.get(path, 0) + file["rows"]
    return [{**session, "rows": rows.get(session["path"], 0)} for session in sessions]


def check_rows(sessions: Iterable[Mapping[str, Any]]) -> None:
    """Whether every session or export gave rows, of a query's result and an export all.

    Args:
        sessions: of :func:`count_rows`.

    Raises:
        DataError: if one did not.
    """
    for session in sessions:
        if not session["rows"]:
            raise _no_rows(session["path"], session["where"])
        if session["rows"] != session.get("query_rows", session["rows"]):
            raise DataError(
                f"{session['path']}: the query's result has {session['query_rows']:,} rows, and {session['rows']:,} were read"
            )
        exported = session.get("exported_rows")  # None: nobody says how many
        if exported is not None and session["rows"] != exported:
            raise DataError(
                f"{session['path']}: BigQuery says that it exported {exported:,} rows to {session['export']}, and {session['rows']:,} were read"
            )


def _no_rows(name: str, where: str) -> DataError:
    return DataError(f"{name}: BigQuery has no row of it" + (f" where {where}" if where else ""))


def bytes_of(file: str) -> int:
    """Of a stream, as BigQuery estimated them when its session was opened, or of an exported file."""
    return int(_option(file, "bytes"))


def check_bigquery(
    file: str, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> None:
    """Nothing: :func:`open_table` has looked, for a stream or file is one of a table that has all columns."""
    del file, name, source, columns, optional


def cut_bigquery(file: str, source: Source, columns: Sequence[str], size: int) -> list[Piece]:
    """A stream as a whole, an exported file in pieces of about `size` bytes."""
    assert source.bigquery is not None
    return [Piece(file)] if source.bigquery.export is None else cut_exported(file, source, columns, size)


def read_bigquery(
    piece: Piece, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads a stream, or an exported file.

    Args:
        piece: the stream, as a whole, or a piece of the file.
        name: its name in dead letters.
        source: says who is asked.
        columns: columns to read.
        optional: those of `columns` that the table may lack.

    Yields:
        batches of at most :data:`~features.logs.columnar.BATCH_ROWS` rows with columns of BigQuery's Arrow types; of a file also rejects.

    Raises:
        ConfigError: if the extra is not installed, or there are no credentials.
        DataError: if BigQuery or the store refuses, as after the session's end, or does not answer.
    """
    assert source.bigquery is not None
    if source.bigquery.export is not None:
        yield from read_exported(piece, name, source, columns, optional)
        return
    first_row = 1
    for batch in _gathered(batches(source.bigquery, name, unquote(_option(piece.file, "stream")))):
        wanted = wanted_columns(name, batch.schema.names, columns, optional)
        yield raw_batch(
            name,
            {column: batch.column(batch.schema.get_field_index(column)) for column in wanted},
            first_row,
            batch.num_rows,
        )
        first_row += batch.num_rows


def _gathered(messages: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, in batches of :data:`~features.logs.columnar.BATCH_ROWS` where they are not too large."""
    waiting: list[pa.RecordBatch] = []
    rows = held = 0
    for message in messages:
        if waiting and (rows + message.num_rows > BATCH_ROWS or held + message.nbytes > BATCH_BYTES):
            yield from _joined(waiting)
            waiting, rows, held = [], 0, 0
        waiting.append(message)
        rows, held = rows + message.num_rows, held + message.nbytes
    if waiting:
        yield from _joined(waiting)


def _joined(messages: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from pa.Table.from_batches(messages).combine_chunks().to_batches(BATCH_ROWS)


def _option(file: str, name: str) -> str:
    options = options_of(file)
    if name not in options:
        raise DataError(f"'{file}' is no stream of a read session; allowed: those that a run's ingest opens")
    return options[name]
