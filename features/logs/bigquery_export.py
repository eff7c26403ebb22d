"""Rows that BigQuery exports: Parquet files in Cloud Storage, written by one statement as of one moment, and read as any others are."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from features import stores
from features.bigquery import BigQueryPart, BigQuerySource
from features.errors import DataError
from features.logs.bigquery_client import jobs_library, run_export
from features.logs.casting import check_type
from features.logs.columnar import wanted_columns
from features.logs.files import find_files, open_arrow, size_of
from features.logs.parquet_reader import cut_parquet, read_parquet
from features.logs.pieces import Piece
from features.logs.quarantine import RawBatch
from features.paths import Remote, options_of, remote, without_options
from features.spec import Column, Source

_GEOGRAPHIES = b"geo"
"""Key of GeoParquet's notes in a file's footer."""


def run_folder() -> str:
    """A name that no other run gives: the time, for people, and what chance adds."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}"


def export_part(
    source: BigQuerySource, part: BigQueryPart, columns: Mapping[str, Column], run: str
) -> tuple[list[str], dict[str, Any]]:
    """Lets BigQuery write the rows, and looks at what it wrote.

    Args:
        source: says where to.
        part: what is exported.
        columns: to read: of a table these are exported, of a query all of its own.
        run: :func:`run_folder` of the run.

    Returns:
        a name for each file, ``bigquery://TABLE/DAY/000000000000.parquet?file=...&bytes=...``, and what the manifest says of the part.

    Raises:
        ConfigError: if the extra is not installed, or there are no credentials.
        DataError: if BigQuery refuses or does not answer, the folder cannot be listed or holds something, there is no row, a column is
            missing, the files are not those that BigQuery says it wrote, or an export writes a column in another way than the spec reads.
    """
    assert source.export is not None
    jobs_library()  # if it is not installed, that is told before a store is asked
    folder = source.export.below(*[name for name in (run, part.day) if name])
    where = _uri(folder)
    if found := stores.list_names(folder):  # nobody pays for an export that cannot be read
        raise DataError(f"{part.name}: {where} holds {found[0]}; allowed: a folder that is empty, or not there")
    result = run_export(source, part.name, export_statement(source, part, columns, folder))
    files = find_files(str(folder.below("*.parquet")))
    if len(files) != result.files:
        raise DataError(
            f"{part.name}: BigQuery says that it exported {result.files:,} files to {where}, and {len(files):,} are there ({result.job})"
        )
    said: dict[str, Any] = {
        "path": part.name,
        "table": part.table,
        "where": part.where,
        "snapshot": "" if part.query else source.moment.isoformat(),
        "export": where,
        "files": len(files),
        "exported_rows": result.rows,
        "kept": source.export.is_kept,
        "job": result.job,
    }
    if files and result.rows != 0:
        _check_written(files[0], part.name, columns)
    return ([] if result.rows == 0 else [_named(part, file) for file in files]), said


def export_statement(source: BigQuerySource, part: BigQueryPart, columns: Collection[str], folder: Remote) -> str:
    """The statement that exports a part: one job reads and writes.

    Args:
        source: says the moment.
        part: a table and what restricts it, or a query.
        columns: of a table, those that are exported.
        folder: where to.
    """
    if part.query:
        rows = part.query.strip().removesuffix(";").rstrip()
    else:
        rows = f"SELECT {', '.join(map(_quoted, columns))}\nFROM {_quoted(part.table)} FOR SYSTEM_TIME AS OF TIMESTAMP '{source.moment.isoformat()}'"
        # On lines of its own: it may end with a comment.
        rows += f"\nWHERE (\n{part.where}\n)" if part.where else ""
    return (
        f"EXPORT DATA OPTIONS(uri='{_uri(folder)}/*.parquet', format='PARQUET', compression='SNAPPY', overwrite=false) AS\n"
        f"{rows}"
    )


def _uri(folder: Remote) -> str:
    """As BigQuery takes it: who reads (``anonymous@``) and by which server is nothing to it."""
    return f"gs://{folder.authority.rpartition('@')[2]}/{folder.key}"


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def _named(part: BigQueryPart, file: str) -> str:
    base = without_options(file).rpartition("/")[2]
    return f"{part.name}/{base}?file={quote(file, safe='')}&bytes={size_of(file)}"


def _check_written(file: str, name: str, columns: Mapping[str, Column]) -> None:
    """Whether the spec reads from this file of an export, and so from all, what it would read of a session.

    Raises:
        DataError: if it lacks a column, or has one of another type than the spec reads, a GEOGRAPHY, or integers that were rounded.
    """
    try:
        schema = pq.read_schema(open_arrow(file))
    except pa.ArrowException as error:
        raise DataError(f"{name}: {without_options(file)}, which BigQuery exported, is no Parquet: {error}") from error
    geographies = json.loads((schema.metadata or {}).get(_GEOGRAPHIES, b"{}")).get("columns", {})
    for column in wanted_columns(name, schema.names, columns, ()):
        kind = schema.field(column).type
        check_type(name, column, columns[column], kind)
        if columns[column].element_type == "int64" and pa.types.is_float32(_element(kind)):
            raise DataError(
                f"{name}: BigQuery exports column '{column}', a FLOAT64, as a float of 32 bits, which rounds integers from 2**24 on; "
                "allowed: float32 in the spec, a query that casts it to INT64, or read sessions"
            )
        if column in geographies:
            raise DataError(
                f"{name}: BigQuery exports column '{column}', a GEOGRAPHY, as bytes; allowed: a query with ST_ASTEXT, or read sessions"
            )


def _element(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_list(kind) else kind


def cut_exported(file: str, source: Source, columns: Sequence[str], size: int) -> list[Piece]:
    """An exported file in pieces, as `features.logs.parquet_reader.cut_parquet` cuts it."""
    return [piece._replace(file=file) for piece in cut_parquet(_stored(file), source, columns, size)]


def read_exported(
    piece: Piece, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads an exported file, or some of its row groups; arguments, results and errors as of `features.logs.parquet_reader.read_parquet`."""
    yield from read_parquet(piece._replace(file=_stored(piece.file)), name, source, columns, optional)


def remove_exported(files: Sequence[str]) -> None:
    """Removes exported files, and nothing else.

    Raises:
        DataError: if the store refuses.
    """
    for file in files:
        place = remote(_stored(file))
        assert place is not None
        stores.remove(place)


def _stored(file: str) -> str:
    return unquote(options_of(file)["file"])
