"""Rows of a server of BigQuery's APIs on this machine: every row, the same ones again, or a stop that says why. Never tried on Google's own."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.bigquery import BigQuerySource
from features.errors import ConfigError, DataError
from features.logs import read_log
from features.logs.bigquery_reader import open_table
from features.logs.tables import Tables
from features.spec import Column, Dataset, Downsample, RandomSplit, Source
from tests.bigquery_server import BigQueryServer, bigquery_server
from tests.features.logs.small_log import dataset
from tests.pipeline.bigquery_log import MAY, TABLE, UTC, ingested, log, read_opened, spec, typed_log


@pytest.fixture
def server() -> Iterator[BigQueryServer]:
    with bigquery_server() as running:
        running.put(TABLE, log(0, 200))
        yield running


def test_every_row_once_as_if_it_were_read_from_parquet(server: BigQueryServer, tmp_path: Path) -> None:
    server.breaks_after = 3  # of ten messages a stream, twice: each goes on from where it broke
    manifest, rows, letters = ingested(spec(server, snapshot=MAY, streams=2), tmp_path / "bigquery")
    (tmp_path / "parquet").mkdir()
    pq.write_table(log(0, 200), tmp_path / "parquet" / "log.parquet")
    of_file, expected, refused = ingested(dataset(source=Source(files="log.parquet")), tmp_path / "parquet")
    assert rows == expected
    assert sum(map(len, rows.values())) == 196
    places = ("file", "row", "line")
    assert sorted(str({n: v for n, v in letter.items() if n not in places}) for letter in letters) == sorted(
        str({n: v for n, v in letter.items() if n not in places}) for letter in refused
    )
    assert {letter["reason"] for letter in letters} == {"missing_value"}
    assert manifest["rows_read"] == of_file["rows_read"] == 200
    name = f"bigquery://{TABLE}"
    assert manifest["files"] == [{"path": f"{name}/{n:05d}", "rows": 100, "bytes": None} for n in (0, 1)]
    assert manifest["bigquery"] == [
        {
            "path": name,
            "table": TABLE,
            "where": "",
            "snapshot": "2026-05-01T00:00:00+00:00",
            "session": "projects/feed-project/locations/us/sessions/s1",
            "expires": "2020-01-01T06:00:00+00:00",
            "streams": 2,
            "rows": 200,
        }
    ]
    (request,) = server.sessions
    assert request.parent == "projects/feed-project"
    assert set(request.read_session.read_options.selected_fields) == set(dataset().columns)
    offsets = sorted(offset for stream, offset in server.reads if stream.endswith("t0"))
    assert offsets == [0, 21, 42]


def test_a_rerun_draws_the_same_rows_in_another_order(server: BigQueryServer, tmp_path: Path) -> None:
    drawn: dict[str, Any] = {"split": RandomSplit(by="random"), "downsample": Downsample(keep=0.5)}
    asked = spec(server, drawn)
    saved = asked.model_dump_json()
    manifest, rows, _ = ingested(asked, tmp_path / "first")
    assert all(manifest["rows_out"].values())
    later = datetime.datetime.now(UTC) + datetime.timedelta(seconds=1)
    server.put(TABLE, log(50, 300), later)  # rows are deleted, others come
    again, same, _ = ingested(Dataset.model_validate_json(saved), tmp_path / "second")
    assert same == rows
    counts = ("rows_read", "rows_out", "sampled_out")
    assert [again[name] for name in counts] == [manifest[name] for name in counts]
    first, second = (pq.read_table(tmp_path / run / "examples/7/Split-train") for run in ("first", "second"))
    assert first.column("user") != second.column("user")
    server.put(TABLE, log(50, 300))
    assert read_opened(spec(server, drawn))[0].num_rows == 250 - 5


@pytest.mark.parametrize(
    ("day", "sent"),
    [
        ({"where": "day = {day:%Y%m%d} AND item = 3"}, "day = 20240103 AND item = 3"),
        ({"table": "feed-project.log.d{day:%Y%m%d}"}, ""),
    ],
)
def test_a_session_a_day(server: BigQueryServer, tmp_path: Path, day: dict[str, str], sent: str) -> None:
    for number in range(4):
        rows = log(0, 200)
        server.put(
            f"feed-project.log.d{20240101 + number}", rows.filter(pa.array([row % 4 == number for row in range(200)]))
        )
    manifest, rows, _ = ingested(spec(server, **day), tmp_path)
    expected = [user for user in range(200) if user % 50 != 49 and (not sent or user % 9 == 3)]
    assert sorted(row["user"][0] for part in rows.values() for row in part) == expected
    assert [session["path"].rpartition("/")[2] for session in manifest["bigquery"]] == [
        f"2024-01-0{day}" for day in range(1, 5)
    ]
    assert server.sessions[2].read_session.read_options.row_restriction == sent
    assert sum(session["rows"] for session in manifest["bigquery"]) == manifest["rows_read"]


def test_a_day_without_a_row_stops_before_a_row_is_read(server: BigQueryServer, tmp_path: Path) -> None:
    full = log(0, 200)
    server.put(TABLE, full.filter(pa.array([row % 4 != 2 for row in range(200)])))
    with pytest.raises(DataError, match=rf"{TABLE}/2024-01-03: BigQuery has no row of it where day = 20240103"):
        ingested(spec(server, where="day = {day:%Y%m%d}"), tmp_path)
    assert server.reads == []


def test_a_query(server: BigQueryServer, tmp_path: Path) -> None:
    text = "SELECT * FROM log FOR SYSTEM_TIME AS OF TIMESTAMP '{snapshot}' WHERE REGEXP_CONTAINS(name, '[0-9]{2}')"
    sent = text.replace("{snapshot}", "2026-05-01T00:00:00+00:00")
    server.queries[sent] = log(0, 120)
    server.busy = 1  # the job is posted again
    asked = spec(server, query=text, project="payer", location="EU", max_gigabytes_billed=20, snapshot=MAY)
    manifest, rows, _ = ingested(asked, tmp_path)
    assert sorted(row["user"][0] for part in rows.values() for row in part) == [u for u in range(120) if u % 50 != 49]
    (job,) = server.jobs
    assert (job["query"], job["maximumBytesBilled"], job["useLegacySql"]) == (sent, "20000000000", False)
    (session,) = manifest["bigquery"]
    assert session["path"] == "bigquery://query"
    assert session["table"] == "payer._results.anon1"
    assert session["job"].startswith("payer:EU.")
    assert session["rows"] == session["query_rows"] == 120
    assert not server.sessions[0].read_session.table_modifiers  # the result is younger than the moment


@pytest.mark.parametrize(
    ("query", "more", "said"),
    [
        ("SELEC 1", {}, "bigquery://query: BigQuery gives no result of the query: 400 .*Syntax error: SELEC 1"),
        ("SELECT 1", {"max_gigabytes_billed": 1}, "Query exceeded limit for bytes billed"),
        ("DELETE FROM log", {}, r"the statement has no result \(DELETE\); allowed: a SELECT"),
    ],
)
def test_a_query_that_gives_nothing(server: BigQueryServer, query: str, more: dict[str, Any], said: str) -> None:
    server.queries["SELECT 1"] = log(0, 1)
    with pytest.raises(DataError, match=said):
        open_table(spec(server, query=query, project="payer", **more))


def test_a_query_whose_result_is_not_all_there(server: BigQueryServer, tmp_path: Path) -> None:
    server.queries["SELECT 1"] = log(0, 120)
    put = server.put
    server.put = lambda table, rows, since: put(table, rows.slice(20), since)  # type: ignore[method-assign, assignment]
    with pytest.raises(DataError, match="the query's result has 120 rows, and 100 were read"):
        ingested(spec(server, query="SELECT 1", project="payer"), tmp_path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"tables": {"users": {"on": "user", "source": "users.csv", "columns": {"user": "int64", "age": "int64"}}}},
            "no file matches 'users.csv'",
        ),
        (
            {
                "time": {"column": "ms", "unit": "ms"},
                "columns": dataset().model_dump(mode="json")["columns"] | {"ms": "int64"},
                "actions": {
                    "source": "actions.csv",
                    "columns": {"user": "int64", "at": "int64"},
                    "on": "user",
                    "time": "at",
                    "window": "1h",
                    "labels": {"acted": {}},
                },
            },
            "no file matches 'actions.csv'",
        ),
    ],
)
def test_nothing_is_paid_for_while_a_file_is_missing(
    server: BigQueryServer, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    server.queries["SELECT 1"] = log(0, 120)
    asked = Dataset.model_validate(spec(server, query="SELECT 1", project="payer").model_dump(mode="json") | more)
    with pytest.raises(DataError, match=said):
        ingested(asked, tmp_path)
    assert (server.jobs, server.sessions) == ([], [])


def test_equal_rows_are_found_over_streams(server: BigQueryServer, tmp_path: Path) -> None:
    server.put(TABLE, pa.concat_tables([log(0, 40), log(0, 30)]))
    manifest, rows, letters = ingested(spec(server, {"duplicates": "drop"}), tmp_path)
    assert sorted(row["user"][0] for part in rows.values() for row in part) == [*range(40)]
    assert (manifest["duplicates"], manifest["rows_read"]) == (30, 70)
    assert {letter["reason"] for letter in letters} == {"duplicate"}
    assert len(server.sessions) == 1


def test_counters_are_those_of_a_file_with_the_same_rows(server: BigQueryServer, tmp_path: Path) -> None:
    counted = {
        "counters": {"items": {"by": "item", "days": 2, "columns": {"shown": "count", "clicks": {"of": "click"}}}},
        "features": {"item": "id", "shown": "numeric", "clicks": "numeric"},
        "duplicates": "drop",
    }
    twice = pa.concat_tables([log(0, 200), log(0, 50)])
    server.put(TABLE, twice)
    asked = Dataset.model_validate(spec(server, streams=3).model_dump(mode="json") | counted)
    manifest, rows, _ = ingested(asked, tmp_path / "bigquery")
    (tmp_path / "parquet").mkdir()
    pq.write_table(twice, tmp_path / "parquet" / "log.parquet")
    source = {"source": "log.parquet"}
    of_file, expected, _ = ingested(
        Dataset.model_validate(asked.model_dump(mode="json") | source), tmp_path / "parquet"
    )
    assert rows == expected
    assert manifest["counters"] == of_file["counters"]
    before = [user for user in range(200) if user % 9 == 4 and user % 4 in (1, 2) and user % 50 != 49]
    assert {row["shown"][0] for row in rows["test"] if row["item"] == [4]} == {len(before)}


@pytest.mark.parametrize(
    ("changes", "bigquery", "said"),
    [
        ({}, {"table": "feed-project.log.absent"}, "opens no read session of feed-project.log.absent: 404 Not found: Table"),
        ({}, {"table": "feed-project.log.secret"}, "403 Access Denied: Table feed-project.log.secret"),
        ({}, {"where": "SUM(day) > 3"}, r"400 row restriction cannot be parsed: SUM\(day\) > 3"),
        ({}, {"where": "day = 7"}, "BigQuery has no row of it where day = 7"),
        ({}, {"snapshot": "2019-01-01T00:00:00Z"}, "400 Invalid snapshot time 2019-01-01 00:00:00"),
        ({"columns": {**dataset().columns, "age": Column(type="int64")}}, {}, r"400 selected fields do not exist .*'age'"),
        ({}, {"emulator": {"storage": "127.0.0.1:1"}, "patience_s": 1}, "opens no read session .*Timeout of 1.0s exceeded"),
    ],
)  # fmt: skip
def test_what_is_refused_stops_in_words(
    server: BigQueryServer, changes: dict[str, Any], bigquery: dict[str, Any], said: str
) -> None:
    server.put("feed-project.log.secret", log(0, 1))
    server.forbidden.add("feed-project.log.secret")
    with pytest.raises(DataError, match=said):
        open_table(spec(server, changes, **bigquery))


def test_a_stream_that_cannot_be_read_to_its_end(server: BigQueryServer) -> None:
    asked = spec(server, patience_s=1)
    opened = open_table(asked)
    server.breaks_after, server.breaks = 0, 10**9
    with pytest.raises(
        DataError, match=f"bigquery://{TABLE}/00000: BigQuery's rows end early: Timeout of 1.0s exceeded"
    ):
        next(read_log(asked, "nowhere", Tables(), opened.files))
    server.breaks_after, server.wrong_count = None, 1
    with pytest.raises(DataError, match="a message of 8 rows has 7; it is damaged"):
        next(read_log(asked, "nowhere", Tables(), opened.files))
    server.wrong_count = 0
    server.expire()
    with pytest.raises(DataError, match=r"rows end early: 400 the session of .*/streams/t0 has expired"):
        next(read_log(asked, "nowhere", Tables(), opened.files))


def test_types_of_bigquery(server: BigQueryServer) -> None:
    """INT64, NUMERIC, BIGNUMERIC, BOOL, FLOAT64, STRING, BYTES, DATE, TIMESTAMP, ARRAY: exactly, or as a dead letter."""
    values, changes = typed_log()
    server.put("feed-project.log.types", values)
    asked = spec(server, changes, table="feed-project.log.types")
    rows, letters = read_opened(asked)
    (row,) = rows.to_pylist()
    assert (row["user"], row["item"], row["wide"], row["flag"]) == (2**53 + 1, 3, 2**53 + 1, 1)
    assert row["score"] == pytest.approx(0.1)
    assert (row["name"], row["raw"], row["tags"], row["prices"]) == ("é", "ab", [1, 2], [1.25])
    assert row["feedrank_day"] == 20240101
    assert sorted((letter["column"], letter["reason"], letter["value"]) for letter in letters) == [
        ("item", "bad_number", "4.500000000"),
        ("user", "bad_number", str(-(2**63))),
    ]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("tags", pa.array([1], pa.int64()), r"column 'tags' is int64 in the file; list<int64> is read from a list"),
        ("name", pa.array([{"first": "a"}]), "column 'name' is struct<first: string> in the file; string is read from"),
        ("item", pa.array([MAY], pa.timestamp("us", "UTC")), r"'item' is timestamp\[us, tz=UTC\] in the file; int64"),
        ("day", pa.array([MAY], pa.timestamp("us", "UTC")), r"which is not read by unit yyyymmdd; allowed: s, ms, us"),
        ("score", pa.array([datetime.time(1)], pa.time64("us")), r"'score' is time64\[us\] in the file; float32"),
    ],
)  # fmt: skip
def test_a_type_that_never_fits_stops(server: BigQueryServer, column: str, values: pa.Array, said: str) -> None:
    one = log(0, 1)
    server.put(TABLE, one.set_column(one.schema.get_field_index(column), column, values))
    with pytest.raises(DataError, match=said):
        read_opened(spec(server))


def test_a_moment_is_read_by_a_time_column(server: BigQueryServer) -> None:
    one = log(0, 1)
    moment = pa.array([datetime.datetime(2024, 1, 2, 23, 30, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    server.put(TABLE, one.set_column(one.schema.get_field_index("day"), "day", moment))
    time = {"column": "day", "unit": "ms", "utc_offset_hours": 1}
    rows, _ = read_opened(spec(server, {"time": time}))
    assert rows.column("feedrank_day").to_pylist() == [20240103]


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("google.cloud.bigquery_storage_v1")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    source = Source.model_validate({"bigquery": {"table": TABLE, "snapshot": MAY}})
    with pytest.raises(ConfigError, match="no credentials of Google; allowed: those that its own tools find"):
        open_table(dataset(source=source))
    asked = Source(bigquery=BigQuerySource(query="SELECT 1", project="payer", snapshot=MAY))
    with pytest.raises(ConfigError, match="bigquery://query: BigQuery gives no result of the query: no credentials"):
        open_table(dataset(source=asked))


@pytest.mark.parametrize(
    ("library", "source"),
    [
        ("bigquery_storage_v1", {"table": TABLE}),
        ("bigquery", {"query": "SELECT 1", "project": "payer"}),
        ("bigquery", {"table": TABLE, "export": "gs://bucket"}),
    ],
)
def test_without_the_libraries(monkeypatch: pytest.MonkeyPatch, library: str, source: dict[str, Any]) -> None:
    monkeypatch.setitem(sys.modules, f"google.cloud.{library}", None)
    monkeypatch.delattr(f"google.cloud.{library}", raising=False)
    with pytest.raises(ConfigError, match=r"needs google-cloud-bigquery.*: install feedrank\[bigquery\]"):
        open_table(dataset(source=Source.model_validate({"bigquery": {**source, "snapshot": MAY}})))
