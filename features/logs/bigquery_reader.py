"""Rows of BigQuery as columns. A run opens read sessions once; their streams are what files are elsewhere, and a row's number is its place in
its stream."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import pyarrow as pa

from features.errors import DataError
from features.logs.bigquery_client import batches, open_session, run_query
from features.logs.columnar import BATCH_ROWS, raw_batch, wanted_columns
from features.logs.pieces import Piece
from features.logs.quarantine import RawBatch
from features.paths import remote
from features.spec import Column, Dataset, Source, TimeSplit

BATCH_BYTES = 32 << 20
"""Of messages handed on at once: BigQuery's may have a few rows, or many."""


class OpenedTable(NamedTuple):
    """What a run reads.

    Attributes:
        files: a name for each stream, ``bigquery://TABLE/DAY/NUMBER?stream=...&bytes=...``; without what stands behind the question mark
            it is the same in every run, and known by it is the stream.
        sessions: what the manifest says of each session.
    """

    files: list[str]
    sessions: list[dict[str, Any]]


def open_table(dataset: Dataset) -> OpenedTable:
    """Runs the query, if there is one, and opens the read sessions: of a source by day one a day.

    Raises:
        ConfigError: if no moment is fixed, the extra is not installed, or there are no credentials.
        DataError: if BigQuery refuses or does not answer, the table lacks a column, or a part has no row.
    """
    source = dataset.source.bigquery
    assert source is not None
    assert source.moment  # one that is not fixed yet says so, before a query costs anything
    columns = [name for name in dataset.columns if name not in dataset.source.from_name]
    files, sessions = [], []
    days = dataset.split.days() if isinstance(dataset.split, TimeSplit) else []
    for part in source.parts(days):
        result = run_query(source, part) if part.query else None
        session = open_session(source, part, part.table if result is None else result.table, columns)
        wanted_columns(part.name, session.columns, columns, ())
        if not session.streams:
            raise _no_rows(part.name, part.where)
        of_stream = session.bytes // len(session.streams)
        files += [
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
        sessions.append(said if result is None else said | {"job": result.job, "query_rows": result.rows})
    return OpenedTable(files, sessions)


def count_rows(sessions: Sequence[dict[str, Any]], files: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the manifest says of each session, with the rows read of it.

    Args:
        sessions: of :class:`OpenedTable`.
        files: ``path`` and ``rows`` of each stream.
    """
    rows: dict[str, int] = {}
    for file in files:
        path = file["path"].rpartition("/")[0]
        rows[path] = rows.get(path, 0) + file["rows"]
    return [{**session, "rows": rows.get(session["path"], 0)} for session in sessions]


def check_rows(sessions: Iterable[Mapping[str, Any]]) -> None:
    """Whether every session gave rows, and of a query's result all.

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


def _no_rows(name: str, where: str) -> DataError:
    return DataError(f"{name}: BigQuery has no row of it" + (f" where {where}" if where else ""))


def bytes_of(file: str) -> int:
    """Of a stream, as BigQuery estimated them when its session was opened."""
    return int(_option(file, "bytes"))


def check_bigquery(
    file: str, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> None:
    """Nothing: :func:`open_table` has looked, for a stream is one of a table that has all columns."""
    del file, name, source, columns, optional


def read_bigquery(
    piece: Piece, name: str, source: Source, columns: Iterable[str], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads a stream.

    Args:
        piece: the stream, as a whole.
        name: its name in dead letters.
        source: says who is asked.
        columns: columns to read.
        optional: those of `columns` that the table may lack.

    Yields:
        batches of at most :data:`~features.logs.columnar.BATCH_ROWS` rows with columns of BigQuery's Arrow types.

    Raises:
        ConfigError: if the extra is not installed, or there are no credentials.
        DataError: if BigQuery refuses, as after the session's end, or does not answer.
    """
    assert source.bigquery is not None
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
    found = remote(file)
    options = dict(option.partition("=")[::2] for option in (found.options if found is not None else "").split("&"))
    if name not in options:
        raise DataError(f"'{file}' is no stream of a read session; allowed: those that a run's ingest opens")
    return options[name]
