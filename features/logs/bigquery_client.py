"""Google's clients of BigQuery: read sessions, their streams, jobs of queries and exports. The one module of features that loads Google's
libraries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from features.bigquery import BigQueryPart, BigQuerySource
from features.errors import ConfigError, DataError

_GIGABYTE = 10**9
_OURS = "feedrank"
_UNBOUNDED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
"""As the library's own channels are: a message of rows has up to 128 MB."""


class Session(NamedTuple):
    """A read session: every stream gives the same rows in the same order as long as it lives, for six hours.

    Attributes:
        name: its resource name.
        table: what is read, ``project.dataset.table``.
        streams: resource names; none where the table is known to have no row.
        snapshot: the moment as which the table is read; empty for what a query wrote.
        columns: as the table spells them.
        bytes: that are scanned, estimated.
        expires: when it ends.
    """

    name: str
    table: str
    streams: tuple[str, ...]
    snapshot: str
    columns: tuple[str, ...]
    bytes: int
    expires: str


class QueryResult(NamedTuple):
    """What a query's job wrote.

    Attributes:
        job: ``project:location.id``.
        table: ``project.dataset.table`` of the result, which BigQuery keeps for about a day.
        rows: how many it has, exactly.
    """

    job: str
    table: str
    rows: int


class ExportResult(NamedTuple):
    """What a job of `EXPORT DATA` says that it wrote.

    Attributes:
        job: ``project:location.id``.
        files: how many.
        rows: in all of them; None where BigQuery does not say it, for which its reference has no promise ("alpha").
    """

    job: str
    files: int
    rows: int | None


def open_session(source: BigQuerySource, part: BigQueryPart, table: str, columns: Sequence[str]) -> Session:
    """Asks for rows of a table, in Arrow.

    Args:
        source: says who pays, and the moment.
        part: restricts the rows; its name is told in messages.
        table: ``project.dataset.table``: the part's, or what its query wrote.
        columns: columns to read.

    Raises:
        ConfigError: if the extra is not installed, or there are no credentials.
        DataError: if BigQuery refuses (no such table or column, no permission, a moment before its time travel) or does not answer.
    """
    storage = _storage()
    project, dataset, name = table.rsplit(".", 2)
    wanted = storage.types.ReadSession(
        table=f"projects/{project}/datasets/{dataset}/tables/{name}",
        data_format=storage.types.DataFormat.ARROW,
        read_options={"selected_fields": list(columns), "row_restriction": part.where},
        trace_id=_OURS,
    )
    if not part.query:  # what a query wrote is newer than the moment that it was asked about
        wanted.table_modifiers = storage.types.ReadSession.TableModifiers(snapshot_time=source.moment)
    with _told(f"{part.name}: BigQuery opens no read session of {table}"), _reader(source) as client:
        made = client.create_read_session(
            parent=f"projects/{source.payer}",
            read_session=wanted,
            max_stream_count=source.streams,
            retry=_retry(source),
            timeout=float(source.patience_s),
        )
        schema = pa.ipc.read_schema(pa.py_buffer(made.arrow_schema.serialized_schema))
    return Session(
        made.name,
        table,
        tuple(stream.name for stream in made.streams),
        "" if part.query else source.moment.isoformat(),
        tuple(schema.names),
        made.estimated_total_bytes_scanned,
        made.expire_time.isoformat() if made.expire_time else "",
    )


def batches(source: BigQuerySource, name: str, stream: str) -> Iterator[pa.RecordBatch]:
    """A stream's rows as they come; Google's client goes on from the right row where the connection breaks.

    Args:
        source: says who is asked.
        name: the stream's, for messages.
        stream: its resource name.

    Raises:
        ConfigError: as of :func:`open_session`.
        DataError: if BigQuery refuses, as after the session's end, does not answer, or a message is damaged: the next attempt may read
            all rows.
    """
    with _told(f"{name}: BigQuery's rows end early"), _reader(source) as client:
        for page in client.read_rows(stream, retry=_retry(source)).rows().pages:
            batch = page.to_arrow()
            if batch.num_rows != page.num_items:
                raise DataError(f"{name}: a message of {page.num_items} rows has {batch.num_rows}; it is damaged")
            yield batch


def jobs_library() -> Any:
    """Google's library of the REST API.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        from google.cloud import bigquery
    except ImportError as error:
        raise _not_installed("google-cloud-bigquery") from error
    return bigquery


def run_query(source: BigQuerySource, part: BigQueryPart) -> QueryResult:
    """Runs a query and waits for it; what is tried again, and how long, is left to Google's client.

    Raises:
        ConfigError: as of :func:`open_session`.
        DataError: if BigQuery refuses the query or stops it, does not answer, or the query has no result.
    """
    with _told(f"{part.name}: BigQuery gives no result of the query"), _finished(source, part.query) as done:
        job, rows = done
        table = job.destination
    if table is None or rows is None:
        raise DataError(f"{part.name}: the statement has no result ({job.statement_type}); allowed: a SELECT")
    return QueryResult(_id_of(job), f"{table.project}.{table.dataset_id}.{table.table_id}", int(rows))


def run_export(source: BigQuerySource, name: str, statement: str) -> ExportResult:
    """Runs a statement `EXPORT DATA` and waits for it, as :func:`run_query` does.

    Args:
        source: says who pays and who is asked.
        name: the part's, for messages.
        statement: of GoogleSQL.

    Raises:
        ConfigError: as of :func:`open_session`.
        DataError: if BigQuery refuses the statement or stops it (no such table, column or bucket, no permission, a moment before its time
            travel, files that are there already), or does not answer.
    """
    with _told(f"{name}: BigQuery exports nothing"), _finished(source, statement) as (job, _):
        kind = job.statement_type
        # The resource as Google's REST API gives it: the library has no name for these statistics.
        said = job._properties["statistics"].get("query", {}).get("exportDataStatistics", {})
    if kind != "EXPORT_DATA":
        raise DataError(f"{name}: BigQuery ran {kind}, which exports nothing; allowed: a query of one SELECT")
    rows = said.get("rowCount")
    return ExportResult(_id_of(job), int(said.get("fileCount", 0)), None if rows is None else int(rows))


@contextlib.contextmanager
def _finished(source: BigQuerySource, statement: str) -> Iterator[tuple[Any, Any]]:
    """A job that is done, and its number of rows; its client lives as long as it is looked at."""
    library, emulator = jobs_library(), source.emulator
    config = library.QueryJobConfig(labels={"started_by": _OURS})
    if source.max_gigabytes_billed is not None:  # of None the library would make a text
        config.maximum_bytes_billed = source.max_gigabytes_billed * _GIGABYTE
    anonymous = (
        {} if emulator is None else {"credentials": _anonymous(), "client_options": {"api_endpoint": emulator.jobs}}
    )
    with contextlib.closing(library.Client(source.payer, location=source.location, **anonymous)) as client:
        job = client.query(statement, job_config=config)
        yield job, job.result(max_results=0).total_rows


def _id_of(job: Any) -> str:
    return f"{job.project}:{job.location}.{job.job_id}"


@contextlib.contextmanager
def _reader(source: BigQuerySource) -> Iterator[Any]:
    storage = _storage()
    if source.emulator is None:
        client = storage.BigQueryReadClient()
    else:
        import grpc

        channel = grpc.insecure_channel(source.emulator.storage, options=_UNBOUNDED)
        transport = storage.BigQueryReadClient.get_transport_class("grpc")(channel=channel)
        client = storage.BigQueryReadClient(transport=transport)
    with contextlib.closing(client.transport):
        yield client


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """What the libraries raise, in the words that a user can act on."""
    from google.api_core import exceptions
    from google.auth import exceptions as auth

    try:
        yield
    except auth.DefaultCredentialsError as error:
        raise ConfigError(
            f"{what}: no credentials of Google; allowed: those that its own tools find, by `gcloud auth application-default login`, "
            f"GOOGLE_APPLICATION_CREDENTIALS or the machine's service account ({error})"
        ) from error
    except (exceptions.GoogleAPIError, auth.GoogleAuthError, pa.ArrowException) as error:
        raise DataError(f"{what}: {error}") from error


def _retry(source: BigQuerySource) -> Any:
    from google.api_core import exceptions, retry

    away = retry.if_exception_type(exceptions.ServiceUnavailable)
    return retry.Retry(predicate=away, initial=0.1, maximum=20.0, multiplier=1.5, timeout=float(source.patience_s))


def _anonymous() -> Any:
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()


def _storage() -> Any:
    """Google's library of the Storage Read API.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        from google.cloud import bigquery_storage_v1
    except ImportError as error:
        raise _not_installed("google-cloud-bigquery-storage") from error
    return bigquery_storage_v1


def _not_installed(library: str) -> ConfigError:
    return ConfigError(
        f"source.bigquery needs {library}: install feedrank[bigquery] (uv sync --extra pipeline --extra bigquery)"
    )
