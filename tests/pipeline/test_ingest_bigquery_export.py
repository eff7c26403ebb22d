"""Rows that a server of BigQuery's jobs exports into a server of Cloud Storage, both on this machine: those of read sessions, or a stop that says
why. Never tried on Google's own."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from features import stores
from features.errors import DataError
from features.logs import Tables, bigquery_export, bigquery_reader, read_log
from features.logs.bigquery_reader import open_table
from features.logs.pieces import Piece
from features.logs.sources import cut_source, read_source
from features.spec import ROW_ID, Column, Dataset
from tests.bigquery_server import BigQueryServer, bigquery_server
from tests.features.logs.small_log import dataset
from tests.gcs_server import GcsServer
from tests.pipeline.bigquery_log import MAY, TABLE, UTC, ingested, log, read_opened, spec, typed_log

_buckets = iter(range(10**6))


@pytest.fixture
def bucket(gcs: GcsServer) -> str:
    """An empty one."""
    name = f"exports-{next(_buckets)}"
    gcs.make(name)
    return name


@pytest.fixture
def folder(gcs: GcsServer, bucket: str) -> str:
    """For ``bigquery.export``."""
    return gcs.uri(f"{bucket}/feed/")


@pytest.fixture
def server(gcs: GcsServer) -> Iterator[BigQueryServer]:
    with bigquery_server() as running:
        running.put(TABLE, log(0, 200))
        running.store = gcs.url
        yield running


def _plain(letters: list[dict[str, Any]]) -> list[str]:
    return sorted(str({name: of for name, of in letter.items() if name not in ("file", "row")}) for letter in letters)


def _sorted(rows: pa.Table) -> pa.Table:
    """Rows whose order and ids are those of one run."""
    return rows.drop([ROW_ID]).sort_by("user")


def test_every_row_once_as_if_it_were_read_by_sessions(
    server: BigQueryServer, gcs: GcsServer, bucket: str, folder: str, tmp_path: Path
) -> None:
    by_sessions, refused = read_opened(spec(server, snapshot=MAY))
    del server.sessions[:]
    emulator = {"jobs": server.rest}
    asked = spec(server, export=folder, snapshot=MAY, location="EU", max_gigabytes_billed=20, emulator=emulator)
    manifest, rows, letters = ingested(asked, tmp_path / "export")
    users = sorted(row["user"][0] for part in rows.values() for row in part)
    assert users == [user for user in range(200) if user % 50 != 49]
    assert _plain(letters) == _plain(refused)
    keys = gcs.keys(bucket)
    run = keys[0].split("/")[1]
    assert keys == [f"feed/{run}/{file:012d}.parquet" for file in range(3)]
    name = f"bigquery://{TABLE}"
    assert [(file["path"], file["rows"]) for file in manifest["files"]] == [
        (f"{name}/{file:012d}.parquet", rows) for file, rows in enumerate([67, 67, 66])
    ]
    (said,) = manifest["bigquery"]
    assert said.pop("job").startswith("feed-project:EU.")
    assert said == {
        "path": name,
        "table": TABLE,
        "where": "",
        "snapshot": "2026-05-01T00:00:00+00:00",
        "export": f"gs://{bucket}/feed/{run}",
        "files": 3,
        "exported_rows": 200,
        "kept": True,
        "rows": 200,
    }
    (job,) = server.jobs
    assert job["maximumBytesBilled"] == "20000000000"
    assert job["query"] == (
        f"EXPORT DATA OPTIONS(uri='gs://{bucket}/feed/{run}/*.parquet', format='PARQUET', compression='SNAPPY', overwrite=false) AS\n"
        "SELECT `user`, `item`, `score`, `name`, `tags`, `day`, `click`, `like`, `seen`\n"
        f"FROM `{TABLE}` FOR SYSTEM_TIME AS OF TIMESTAMP '2026-05-01T00:00:00+00:00'"
    )
    by_export, _ = read_opened(asked)
    assert _sorted(by_export) == _sorted(by_sessions)
    assert server.sessions == []


def test_a_rerun_of_what_was_saved_reads_the_same_moment_by_day_and_mixes_with_nothing(
    server: BigQueryServer, gcs: GcsServer, bucket: str, folder: str, tmp_path: Path
) -> None:
    asked = spec(server, export={"folder": folder, "keep": False}, where="day = {day:%Y%m%d} AND item = 3")
    saved = asked.model_dump_json()
    kept = Dataset.model_validate_json(saved.replace('"keep":false', '"keep":true'))
    first = open_table(kept).sessions
    server.put(TABLE, log(50, 300), datetime.datetime.now(UTC) + datetime.timedelta(seconds=1))
    second, rows, _ = ingested(Dataset.model_validate_json(saved), tmp_path)
    users = [user for user in range(200) if user % 9 == 3 and user % 50 != 49]
    assert sorted(row["user"][0] for part in rows.values() for row in part) == users
    folders = [[of["export"] for of in sessions] for sessions in (first, second["bigquery"])]
    assert not {*folders[0]} & {*folders[1]}
    assert [of["path"].rpartition("/")[2] for of in first] == [f"2024-01-0{day}" for day in range(1, 5)]
    assert [of.rpartition("/")[2] for of in folders[0]] == [f"2024-01-0{day}" for day in range(1, 5)]
    assert "\nWHERE (\nday = 20240103 AND item = 3\n)" in server.jobs[2]["query"]
    # What the second run exported is gone, and nothing else.
    assert {f"gs://{bucket}/{key}".rpartition("/")[0] for key in gcs.keys(bucket)} == {*folders[0]}


def test_a_query(server: BigQueryServer, folder: str) -> None:
    text = "SELECT * FROM log FOR SYSTEM_TIME AS OF TIMESTAMP '{snapshot}'"
    sent = text.replace("{snapshot}", "2026-05-01T00:00:00+00:00")
    server.queries[sent] = log(0, 120)
    server.busy = 1
    asked = spec(server, query=text + " ;\n", project="payer", export=folder, snapshot=MAY)
    rows, letters = read_opened(asked)
    assert sorted(rows.column("user").to_pylist()) == [user for user in range(120) if user % 50 != 49]
    assert len(letters) == 2
    (said,) = open_table(asked).sessions
    assert (said["path"], said["table"], said["snapshot"], said["exported_rows"]) == ("bigquery://query", "", "", 120)
    assert said["job"].startswith("payer:EU.")
    with pytest.raises(DataError, match="bigquery://query: the file lacks age; columns present: unread, user, item"):
        open_table(
            spec(
                server,
                {"columns": {**dataset().columns, "age": Column(type="int64")}},
                query=sent,
                project="payer",
                export=folder,
            )
        )


def test_types_are_those_of_sessions(server: BigQueryServer, folder: str) -> None:
    values, changes = typed_log()
    server.put(TABLE, values)
    expected, refused = read_opened(spec(server, changes, streams=1))
    server.files = 1
    rows, letters = read_opened(spec(server, changes, export=folder))
    assert _sorted(rows) == _sorted(expected)
    assert _plain(letters) == _plain(refused)
    assert (rows.num_rows, len(letters)) == (1, 2)


@pytest.mark.parametrize("zone", ["UTC", None])
def test_a_moment_is_read_by_a_time_column(server: BigQueryServer, folder: str, zone: str | None) -> None:
    """TIMESTAMP and DATETIME are the same in Parquet."""
    one = log(0, 1)
    moment = pa.array([datetime.datetime(2024, 1, 2, 23, 30, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    of_zone = moment.cast(pa.timestamp("us", zone))
    server.put(TABLE, one.set_column(one.schema.get_field_index("day"), "day", of_zone))
    for unit in ("ms", "iso8601"):
        time = {"column": "day", "unit": unit, "utc_offset_hours": 1}
        changes = {"time": time}
        if unit == "iso8601":
            changes["columns"] = dataset().columns | {"day": Column(type="string")}
        rows, _ = read_opened(spec(server, changes, export=folder))
        assert rows.column("feedrank_day").to_pylist() == [20240103]


def test_a_file_is_read_in_pieces(server: BigQueryServer, folder: str) -> None:
    server.files = 1
    asked = spec(server, export=folder)
    (file,) = open_table(asked).files
    pieces = cut_source(file, asked.source, list(asked.columns), 1)
    assert [piece.first_row for piece in pieces] == [1, 65, 129, 193]
    users: list[Any] = []
    numbers: list[int] = []
    for piece in pieces:
        for batch in read_source(piece, "name", asked.source, asked.columns):
            numbers += batch.rows.tolist()
            users += batch.columns["user"].to_pylist()
    assert numbers == [*range(1, 201)]
    assert sorted(user for user in users if user is not None) == [user for user in range(200) if user % 50 != 49]
    whole = spec(server)
    assert cut_source("bigquery://t/0?stream=a&bytes=9", whole.source, [], 1) == [
        Piece("bigquery://t/0?stream=a&bytes=9")
    ]


def test_what_an_export_writes_in_another_way_is_refused(server: BigQueryServer, folder: str) -> None:
    """FLOAT64 as FLOAT, as Google's table of types has it, and GEOGRAPHY as bytes that GeoParquet's notes tell."""
    server.narrow = True
    assert read_opened(spec(server, export=folder))[0].num_rows == 196  # `score` is a float32
    one = log(0, 1)
    at = one.schema.get_field_index("item")
    server.put(TABLE, one.set_column(at, "item", pa.array([3.0], pa.float64())))
    with pytest.raises(
        DataError, match=r"exports column 'item', a FLOAT64, as a float of 32 bits, which rounds .*; allowed: float32"
    ):
        open_table(spec(server, export=folder))
    server.put(TABLE, one.replace_schema_metadata({"geo": json.dumps({"columns": {"name": {"encoding": "WKB"}}})}))
    with pytest.raises(
        DataError, match=r"exports column 'name', a GEOGRAPHY, as bytes; allowed: a query with ST_ASTEXT"
    ):
        open_table(spec(server, export=folder))
    server.put(TABLE, one.set_column(one.schema.get_field_index("tags"), "tags", pa.array([1])))
    with pytest.raises(DataError, match=f"bigquery://{TABLE}: column 'tags' is int64 in the file; list<int64> is read"):
        open_table(spec(server, export=folder))


@pytest.mark.parametrize(
    ("changes", "bigquery", "said"),
    [
        ({}, {"table": "feed-project.log.absent"}, "BigQuery exports nothing: 404 .*Not found: Table feed-project.log.absent"),
        ({}, {"table": "feed-project.log.secret"}, "BigQuery exports nothing: 403 .*Access Denied: Table feed-project.log.secret"),
        ({}, {"where": "SUM(day) > 3"}, r"400 .*row restriction cannot be parsed: SUM\(day\) > 3"),
        ({}, {"where": "day = 7"}, f"bigquery://{TABLE}: BigQuery has no row of it where day = 7"),
        ({}, {"snapshot": "2019-01-01T00:00:00Z"}, "400 .*Invalid snapshot time 2019-01-01 00:00:00"),
        ({}, {"max_gigabytes_billed": 1}, "Query exceeded limit for bytes billed"),
        ({}, {"table": None, "query": "DELETE FROM log", "project": "p"}, "400 .*Syntax error: DELETE FROM log"),
        ({"columns": {**dataset().columns, "age": Column(type="int64")}}, {}, "400 .*Unrecognized name: age"),
    ],
)  # fmt: skip
def test_what_bigquery_refuses(
    server: BigQueryServer, folder: str, changes: dict[str, Any], bigquery: dict[str, Any], said: str
) -> None:
    server.put("feed-project.log.secret", log(0, 1))
    server.forbidden.add("feed-project.log.secret")
    with pytest.raises(DataError, match=said):
        open_table(spec(server, changes, export=folder, **bigquery))


def test_a_bucket_that_is_not_there_or_closed(server: BigQueryServer, gcs: GcsServer, bucket: str, folder: str) -> None:
    with pytest.raises(DataError, match="BigQuery exports nothing: 404 Not found: Bucket no-such-bucket"):
        open_table(spec(server, export=gcs.uri("no-such-bucket")))
    server.closed.add(bucket)
    with pytest.raises(
        DataError, match=f"exports nothing: 403 Access Denied: {bucket}: Permission denied while writing"
    ):
        open_table(spec(server, export=folder))
    assert len(server.jobs) == 2
    away = "gs://anonymous@b/x?endpoint_override=127.0.0.1:1&scheme=http&retry_limit_seconds=1"
    with pytest.raises(DataError, match=r"cannot read gs://anonymous@b/x/.*; the store does not answer"):
        open_table(spec(server, export=away))
    assert len(server.jobs) == 2  # nobody pays for what cannot be read


def test_a_folder_that_holds_something(
    server: BigQueryServer, gcs: GcsServer, bucket: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigquery_reader, "run_folder", lambda: "same")
    gcs.put(bucket, "feed/same/old/x.parquet", b"")
    with pytest.raises(
        DataError, match=f"gs://{bucket}/feed/same holds old; allowed: a folder that is empty, or not there"
    ):
        open_table(spec(server, export=folder))
    assert server.jobs == []
    monkeypatch.setattr(stores, "list_names", lambda _: None)  # as if it came in between
    with pytest.raises(DataError, match=r"exports nothing: 400 .*/feed/same/ is not empty"):
        open_table(spec(server, export=folder))


def test_run_folders_differ() -> None:
    assert len({bigquery_export.run_folder() for _ in range(100)}) == 100


def test_files_and_rows_are_those_that_the_job_counts(
    server: BigQueryServer, gcs: GcsServer, bucket: str, folder: str, tmp_path: Path
) -> None:
    asked = spec(server, export={"folder": folder, "keep": False})
    server.lost_files = 1
    with pytest.raises(
        DataError, match=r"says that it exported 3 files to gs://.*, and 2 are there \(feed-project:EU\."
    ):
        open_table(asked)
    server.lost_files, server.lost_rows = 0, 5
    with pytest.raises(DataError, match=r"says that it exported 200 rows to gs://.*, and 195 were read"):
        ingested(asked, tmp_path / "lost")
    assert len(gcs.keys(bucket)) == 2 + 3  # of a run that failed they stay, kept or not
    server.counts_rows = False
    assert _checked(asked) == {"exported_rows": None, "files": 3, "rows": 195}
    with pytest.raises(DataError, match="BigQuery has no row of it where day = 7"):  # a file has none
        _checked(spec(server, export=folder, where="day = 7"))


def _checked(asked: Dataset) -> dict[str, Any]:
    """What the manifest says of all that is read."""
    opened = open_table(asked)
    read = [
        {"path": batch.file, "rows": batch.rows_read} for batch in read_log(asked, "nowhere", Tables(), opened.files)
    ]
    (said,) = sessions = bigquery_reader.count_rows(opened.sessions, read)
    bigquery_reader.check_rows(sessions)
    return {name: said[name] for name in ("exported_rows", "files", "rows")}
