"""A log in the tests' server of BigQuery, and how tests read it."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions

from features.logs import read_log
from features.logs.bigquery_reader import open_table
from features.logs.tables import Tables
from features.spec import ROW_ID, SPLITS, Column, Dataset, Source
from pipeline.components.ingest import Folders, ingest
from pipeline.config import Budget, DataConfig
from tests.bigquery_server import BigQueryServer
from tests.features.logs.small_log import dataset

TABLE = "feed-project.log.impressions"
UTC = datetime.timezone.utc
MAY = datetime.datetime(2026, 5, 1, tzinfo=UTC)
Rows = dict[str, list[Any]]


def log(begin: int, end: int) -> pa.Table:
    """Rows of `tests.features.logs.small_log`, of the types that BigQuery gives; every 50th user is missing, which quarantines the row."""
    users = range(begin, end)
    return pa.table(
        {
            "unread": pa.array([f"row {user}" for user in users]),
            "user": pa.array([None if user % 50 == 49 else user for user in users], pa.int64()),
            "item": pa.array([user % 9 for user in users], pa.int64()),
            "score": pa.array([user / 100 for user in users], pa.float64()),
            "name": pa.array([f"ann {user}" for user in users]),
            "tags": pa.array([[*range(user % 3)] for user in users], pa.list_(pa.int64())),
            "day": pa.array([20240101 + user % 4 for user in users], pa.int64()),
            "click": pa.array([user % 2 for user in users], pa.int64()),
            "like": pa.array([user % 5 == 0 for user in users], pa.bool_()),
            "seen": pa.array([True for user in users], pa.bool_()),
        }
    )


def typed_log() -> tuple[pa.Table, dict[str, Any]]:
    """INT64, NUMERIC, BIGNUMERIC, BOOL, FLOAT64, STRING, BYTES, DATE and ARRAYs, as the Storage Read API gives them, and changes of the spec
    that reads them."""
    number = decimal.Decimal
    values: dict[str, pa.Array] = {
        "user": pa.array([2**53 + 1, 2, -(2**63)], pa.int64()),
        "item": pa.array([number(3), number("4.5"), number(5)], pa.decimal128(38, 9)),
        "wide": pa.array([number(2**53 + 1), None, number(7)], pa.decimal256(76, 38)),
        "flag": pa.array([True, False, None], pa.bool_()),
        "score": pa.array([0.1, float("nan"), 0.3], pa.float64()),
        "name": pa.array(["é", None, ""], pa.string()),
        "raw": pa.array([b"ab", b"cd", b"\xff"], pa.binary()),
        "tags": pa.array([[1, 2], [], [3]], pa.list_(pa.int64())),
        "prices": pa.array([[number("1.25")], [], []], pa.list_(pa.decimal128(38, 9))),
        "day": pa.array([datetime.date(2024, 1, 1)] * 3, pa.date32()),
        "click": pa.array([1, 0, 1], pa.int64()),
        "like": pa.array([1, 0, 1], pa.int64()),
        "seen": pa.array([1, 0, 1], pa.int64()),
    }
    extra: dict[str, Any] = {"wide": "int64", "flag": "int64", "raw": "string", "prices": "list<float32>"}
    columns = dataset().columns | {name: Column(type=kind) for name, kind in extra.items()}
    tags = Column(type="list<int64>")
    features = dataset().features | {name: {"kind": "numeric"} for name in ("wide", "flag")}
    features |= {"name": {"kind": "id"}, "raw": {"kind": "id"}}
    return pa.table(values), {"columns": columns | {"tags": tags}, "features": features}


def spec(server: BigQueryServer, _changes: dict[str, Any] | None = None, **bigquery: Any) -> Dataset:
    now = datetime.datetime.now(UTC).replace(microsecond=0)
    said = (
        {"emulator": server.emulator, "snapshot": now}
        | ({"table": TABLE} if "query" not in bigquery else {})
        | bigquery
    )
    return dataset(**({"source": Source.model_validate({"bigquery": said})} | (_changes or {})))


def ingested(asked: Dataset, out: Path) -> tuple[dict[str, Any], Rows, list[dict[str, Any]]]:
    """Manifest, the rows of each part without their ids, sorted, and dead letters."""
    folders = Folders(*[str(out / name / "7") for name in ("examples", "quarantine", "manifest", "tables")])
    data = DataConfig(path=str(out), budget=Budget(max_share=0.5))
    manifest = ingest(asked, data, folders, beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])))
    rows = {s: pq.read_table(f"{folders.examples}/Split-{s}").to_pylist() for s in SPLITS}
    ids = [row.pop(ROW_ID)[0] for part in rows.values() for row in part]
    assert len({*ids}) == len(ids) == sum(manifest["rows_out"].values())
    letters = pq.read_table(folders.quarantine).to_pylist()
    return manifest, {s: sorted(part, key=str) for s, part in rows.items()}, letters


def read_opened(asked: Dataset) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Rows with their numbers, and dead letters, of all streams."""
    opened = open_table(asked)
    batches = [*read_log(asked, "nowhere", Tables(), opened.files)]
    return pa.Table.from_batches([batch.rows for batch in batches]), [
        letter for batch in batches for letter in batch.quarantined.to_pylist()
    ]
