"""A server of BigQuery's two APIs on this machine, over Arrow tables: the Storage Read API by gRPC, jobs by REST. What it does was written after
Google's protocol buffers and reference pages; nobody has compared it with Google's own."""

from __future__ import annotations

import contextlib
import datetime
import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.bigquery_exports import Export, Refused, check_empty, export_of, parquet, restricted, selection_of, upload

SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"
EPOCH = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


@dataclass
class BigQueryServer:
    """What the server holds, and what it was asked.

    Attributes:
        streams: of a session, unless less are asked for.
        message_rows: of a message of rows.
        breaks_after: messages of rows after which a connection breaks; None: never.
        breaks: of each stream at most.
        forbidden: tables that nobody may read.
        wrong_count: what is added to the number of rows that a message says it has.
        busy: requests for jobs that are refused for now.
        store: URL of the server of Cloud Storage that exports are written to.
        files: of an export.
        closed: buckets that nobody may write to.
        narrow: whether exports write FLOAT64 as FLOAT.
        counts_rows: whether a job says how many rows it exported.
        lost_rows: of the first file of each export, rows that a job counts, and that are not there.
        lost_files: of each export, files that a job counts, and that are not there.
        queries: results by SQL.
        sessions: requests for sessions, in their order.
        jobs: what was posted to run queries.
        reads: stream and offset of each read.
    """

    storage: str = ""
    rest: str = ""
    streams: int = 3
    message_rows: int = 7
    breaks_after: int | None = None
    breaks: int = 2
    forbidden: set[str] = field(default_factory=set)
    wrong_count: int = 0
    busy: int = 0
    store: str = ""
    files: int = 3
    closed: set[str] = field(default_factory=set)
    narrow: bool = False
    counts_rows: bool = True
    lost_rows: int = 0
    lost_files: int = 0
    queries: dict[str, pa.Table] = field(default_factory=dict)
    sessions: list[Any] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    reads: list[tuple[str, int]] = field(default_factory=list)
    _versions: dict[str, list[tuple[datetime.datetime, pa.Table]]] = field(default_factory=dict)
    _rows: dict[str, pa.Table] = field(default_factory=dict)
    _destinations: dict[str, tuple[str, str, pa.Table | None]] = field(default_factory=dict)
    _exports: dict[str, dict[str, str] | Refused] = field(default_factory=dict)

    def put(self, table: str, rows: pa.Table, since: datetime.datetime = EPOCH) -> None:
        """``project.dataset.table`` as it is from a moment on."""
        self._versions.setdefault(table, []).append((since, rows))

    def expire(self) -> None:
        """Ends all sessions."""
        self._rows.clear()

    @property
    def emulator(self) -> dict[str, str]:
        """For ``bigquery.emulator``."""
        return {"storage": self.storage, "jobs": self.rest}

    # -- BigQueryRead --------------------------------------------------------------------------------------------

    def create_read_session(self, request: Any, context: Any) -> Any:
        import grpc
        from google.cloud.bigquery_storage_v1 import types

        wanted = request.read_session
        self.sessions.append(request)
        _, project, _, dataset, _, name = wanted.table.split("/")
        table = f"{project}.{dataset}.{name}"
        if table in self.forbidden:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, f"Access Denied: Table {table}: no bigquery.readsessions")
        if table not in self._versions:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Not found: Table {table}")
        try:
            rows = self._at(table, wanted.table_modifiers.snapshot_time or datetime.datetime.now(datetime.timezone.utc))
            rows = restricted(rows, wanted.read_options.row_restriction)
        except Refused as refused:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, refused.message)
            raise AssertionError from refused  # abort has raised
        columns = list(wanted.read_options.selected_fields)
        if absent := [column for column in columns if column not in rows.schema.names]:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"selected fields do not exist in the table schema: {absent}"
            )
        rows = rows.select([name for name in rows.schema.names if name in columns])  # in the table's order
        session = f"projects/{request.parent.split('/')[1]}/locations/us/sessions/s{len(self.sessions)}"
        number = min(request.max_stream_count or self.streams, self.streams) if rows.num_rows else 0
        # In no order that another session has.
        of_rows = np.random.default_rng(len(self.sessions)).permutation(rows.num_rows)
        names = [f"{session}/streams/t{stream}" for stream in range(number)]
        for stream, name in enumerate(names):
            self._rows[name] = rows.take(pa.array(of_rows[stream::number]))
        return types.ReadSession(
            name=session,
            table=wanted.table,
            expire_time=EPOCH + datetime.timedelta(hours=6),
            data_format=wanted.data_format,
            arrow_schema={"serialized_schema": rows.schema.serialize().to_pybytes()},
            streams=[{"name": name} for name in names],
            estimated_total_bytes_scanned=rows.nbytes,
        )

    def _at(self, table: str, moment: datetime.datetime) -> pa.Table:
        found = [rows for since, rows in self._versions[table] if since <= moment]
        if not found:
            raise Refused("invalid", f"Invalid snapshot time {moment} for Table {table}")
        return found[-1]

    def read_rows(self, request: Any, context: Any) -> Iterator[Any]:
        import grpc
        from google.cloud.bigquery_storage_v1 import types

        self.reads.append((request.read_stream, request.offset))
        if request.read_stream not in self._rows:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"the session of {request.read_stream} has expired")
        rows = self._rows[request.read_stream]
        begun = sum(stream == request.read_stream for stream, _ in self.reads)
        schema = {"serialized_schema": rows.schema.serialize().to_pybytes()}
        for sent, batch in enumerate(rows.slice(request.offset).combine_chunks().to_batches(self.message_rows)):
            if sent == self.breaks_after and begun <= self.breaks:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the connection is broken, as the test wants it")
            yield types.ReadRowsResponse(
                row_count=batch.num_rows + self.wrong_count,
                arrow_record_batch={"serialized_record_batch": batch.serialize().to_pybytes()},
                **({} if sent else {"arrow_schema": schema}),
            )

    # -- jobs ----------------------------------------------------------------------------------------------------

    def post_job(self, project: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.busy:
            self.busy -= 1
            return 503, {"error": {"code": 503, "message": "busy", "errors": [{"reason": "backendError"}]}}
        self.jobs.append(body["configuration"]["query"])
        try:
            self._run(project, body["jobReference"]["jobId"], self.jobs[-1])
        except Refused as refused:
            code = {"accessDenied": 403, "notFound": 404}.get(refused.reason, 400)
            return code, {"error": {"code": code, "message": refused.message, "errors": [refused.said]}}
        return 200, self.job(project, body["jobReference"]["jobId"], "RUNNING")

    def _run(self, project: str, job: str, asked: Mapping[str, Any]) -> None:
        export = export_of(asked["query"])
        if asked["query"].startswith("DELETE"):
            self._destinations[job] = ("", "DELETE", None)
            return
        rows = self._selected(asked["query"] if export is None else export.query)
        if int(asked.get("maximumBytesBilled", 10**18)) < 10**10:
            raise Refused("bytesBilledLimitExceeded", "Query exceeded limit for bytes billed")
        if export is not None:
            self._destinations[job] = ("", "EXPORT_DATA", None)
            try:
                self._exports[job] = self._exported(export, rows)
            except Refused as refused:  # what is wrong with a bucket, a job finds when it runs
                self._exports[job] = refused
            return
        table = f"anon{len(self.jobs)}"
        self.put(f"{project}._results.{table}", rows, datetime.datetime.now(datetime.timezone.utc))
        self._destinations[job] = (table, "SELECT", rows)

    def _selected(self, query: str) -> pa.Table:
        if query in self.queries:
            return self.queries[query]
        selection = selection_of(query)
        if selection is None:
            raise Refused("invalidQuery", f"Syntax error: {query}")
        if selection.table in self.forbidden:
            raise Refused("accessDenied", f"Access Denied: Table {selection.table}: no bigquery.tables.getData")
        if selection.table not in self._versions:
            raise Refused("notFound", f"Not found: Table {selection.table}")
        rows = restricted(self._at(selection.table, selection.moment), selection.where)
        if absent := [column for column in selection.columns if column not in rows.schema.names]:
            raise Refused("invalidQuery", f"Unrecognized name: {absent[0]}")
        return rows.select(selection.columns)

    def _exported(self, export: Export, rows: pa.Table) -> dict[str, str]:
        """What the job's statistics say of the files that it wrote."""
        if export.bucket in self.closed:
            raise Refused("accessDenied", f"Access Denied: {export.bucket}: Permission denied while writing data")
        check_empty(self.store, export.bucket, export.key.rpartition("/")[0] + "/")
        # In no order that another export has; of no row a file without one.
        order = np.random.default_rng(len(self.jobs)).permutation(rows.num_rows)
        number = self.files if rows.num_rows else 1
        for file in range(number - self.lost_files):
            of_file = rows.take(pa.array(order[file::number])).slice(0 if file else self.lost_rows)
            upload(self.store, export.bucket, export.key.replace("*", f"{file:012d}"), parquet(of_file, self.narrow))
        return {"fileCount": str(number)} | ({"rowCount": str(rows.num_rows)} if self.counts_rows else {})

    def job(self, project: str, job: str, state: str) -> dict[str, Any]:
        table, kind, _ = self._destinations[job]
        place = {"projectId": project, "datasetId": "_results", "tableId": table}
        exported = self._exports.get(job, {})
        status: dict[str, Any] = {"state": state}
        if isinstance(exported, Refused) and state == "DONE":
            status |= {"errorResult": exported.said, "errors": [exported.said]}
        statistics = {} if isinstance(exported, Refused) or not exported else {"exportDataStatistics": exported}
        return {
            "id": f"{project}:EU.{job}",
            "jobReference": {"projectId": project, "jobId": job, "location": "EU"},
            "configuration": {"jobType": "QUERY", "query": {"destinationTable": place} if table else {}},
            "statistics": {"query": {"statementType": kind} | (statistics if state == "DONE" else {})},
            "status": status,
        }

    def results(self, project: str, job: str) -> dict[str, Any]:
        rows = self._destinations[job][2]
        found = {} if rows is None else {"totalRows": str(rows.num_rows), "schema": {"fields": []}}
        return {"jobComplete": True, "jobReference": {"projectId": project, "jobId": job, "location": "EU"}} | found


@contextlib.contextmanager
def bigquery_server() -> Iterator[BigQueryServer]:
    """Starts both on free ports of the loopback address; skips the test where Google's libraries are not installed."""
    pytest.importorskip("google.cloud.bigquery_storage_v1", reason="needs the extra feedrank[bigquery]")
    import grpc
    from google.cloud.bigquery_storage_v1 import types

    served = BigQueryServer()
    handlers = {
        "CreateReadSession": grpc.unary_unary_rpc_method_handler(
            served.create_read_session, types.CreateReadSessionRequest.deserialize, types.ReadSession.serialize
        ),
        "ReadRows": grpc.unary_stream_rpc_method_handler(
            served.read_rows, types.ReadRowsRequest.deserialize, types.ReadRowsResponse.serialize
        ),
    }
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    served.storage = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    rest = ThreadingHTTPServer(("127.0.0.1", 0), type("Jobs", (_Jobs,), {"served": served}))
    served.rest = f"http://127.0.0.1:{rest.server_port}"
    thread = threading.Thread(target=rest.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        rest.shutdown()
        rest.server_close()
        thread.join()
        server.stop(None).wait()


class _Jobs(BaseHTTPRequestHandler):
    served: BigQueryServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(*self.served.post_job(self.path.split("/")[4], body))

    def do_GET(self) -> None:
        _, _, _, _, project, what, job = self.path.partition("?")[0].split("/")
        self._answer(
            200, self.served.results(project, job) if what == "queries" else self.served.job(project, job, "DONE")
        )

    def _answer(self, code: int, found: dict[str, Any]) -> None:
        data = json.dumps(found).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        del format, args
