"""Whole runs of logs that are no files, a topic of Kafka and a table of BigQuery (the tests' own server): from the slice to a model that
answers, the slice again when the log has grown, and the day after.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions

from features.spec import ROW_ID, SPLITS
from pipeline import loading
from pipeline.components.ingest import Folders, ingest
from pipeline.runs import RunFolder, RunRecord
from tests.bigquery_server import BigQueryServer, bigquery_server
from tests.e2e.conftest import run_pipeline, versions
from tests.kafka_broker import CLUSTER, KafkaBroker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
UTC = datetime.timezone.utc
FIRST = datetime.date(2024, 1, 1)
DAY_MS = 86_400_000
DAY_ROWS = 400
STEP_MS = DAY_MS // DAY_ROWS
BAD = 3
"""Rows of each day that are none."""
LATE = 10
"""Rows of the third day that come on the fifth."""
CONFIG: dict[str, Any] = {
    "name": "elsewhere",
    "dataset": {
        "name": "elsewhere",
        "columns": {
            "user_id": {"type": "int64", "required": True},
            "item_id": "int64",
            "age": "float32",
            "time_ms": "int64",
            "clicked": "int64",
            "liked": "int64",
        },
        "time": "time_ms",
        "group": "user_id",
        "item": "item_id",
        "features": {"user_id": "id", "item_id": "id", "age": "numeric"},
        "tasks": {"click": "clicked", "like": "liked"},
        "split": {"by": "window", "train": 2, "until": "2024-01-04"},
    },
    "model": {"preset": "shared_bottom", "embedding_dim": 4, "trunk": {"units": [16]}},
    "train": {
        "batch_size": 16,
        "epochs": 1,
        "dense_optimizer": {"kind": "adam", "learning_rate": 0.02},
        "embedding_optimizer": {"kind": "adagrad", "learning_rate": 0.5},
    },
}
STAGES = ("ingest", "statistics", "validate", "transform", "train", "evaluate", "check_serving", "push")
Row = dict[str, Any]


def row(day: int, number: int) -> Row:
    """Of each day, every fourth user clicks and every eighth likes, always: 100 and 50 of 400 rows."""
    user = number % 40
    return {
        "user_id": user,
        "item_id": (7 * number + day) % 30,
        "age": 20.0 + user,
        "time_ms": (FIRST - datetime.date(1970, 1, 1)).days * DAY_MS + day * DAY_MS + number * STEP_MS,
        "clicked": int(user % 4 == 0),
        "liked": int(user % 8 == 0),
    }


def rows_of(days: Sequence[int]) -> list[Row]:
    return [row(day, number) for day in days for number in range(DAY_ROWS)]


def late_rows() -> list[Row]:
    """Of the third day; they neither click nor like."""
    return [row(2, number) | {"clicked": 0, "liked": 0} for number in range(LATE)]


def _run(folder: Path, source: dict[str, Any], *overrides: str) -> tuple[RunFolder, RunRecord]:
    config = CONFIG | {"output": str(folder / "runs"), "data": {"path": str(folder)}}
    written = folder / "elsewhere.yaml"
    written.write_text(yaml.safe_dump({**config, "dataset": CONFIG["dataset"] | {"source": source}}))
    return run_pipeline(str(written), overrides)


def _manifest(record: RunRecord) -> dict[str, Any]:
    folder = record.output("ingest", "manifest")
    assert folder is not None
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def _examples(folder: Path) -> dict[str, list[Row]]:
    return {split: pq.read_table(folder / f"Split-{split}").to_pylist() for split in SPLITS}


def _record_examples(record: RunRecord) -> dict[str, list[Row]]:
    folder = record.output("ingest", "examples")
    assert folder is not None
    return _examples(folder)


def _ingested_again(saved: Path, out: Path) -> dict[str, list[Row]]:
    """What the saved configuration reads, without TFX, which would answer from its cache."""
    config = loading.load(saved)
    folders = Folders(*[str(out / name / "7") for name in ("examples", "quarantine", "manifest", "tables")])
    ingest(config.dataset, config.data, folders, beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])))
    return _examples(Path(folders.examples))


def _reasons(manifest: dict[str, Any]) -> dict[str, int]:
    return {of["reason"]: of["rows"] for of in manifest["quarantined"]["reasons"]}


def _rates(manifest: dict[str, Any]) -> dict[str, list[float]]:
    """Positive rows of each part, by task."""
    return {task: [of[split]["sum"] for split in SPLITS] for task, of in manifest["tasks"].items()}


def _check_answers(folder: RunFolder, record: RunRecord, log: Path) -> None:
    """The pushed model knows, of rows of a day that no run has seen, who clicks; a bad row has no score."""
    from pipeline import scoring

    serving = folder.directory.parents[1] / "serving"
    (version,) = versions(serving)
    evaluation = record.output("evaluate", "evaluation")
    assert evaluation is not None
    judged = json.loads((evaluation / "evaluation.json").read_text())
    assert judged["rows"] == DAY_ROWS
    assert judged["verdict"]["blessed"], judged["verdict"]
    assert judged["tasks"]["click"]["auc"] > 0.8
    out = log.with_name("scores.parquet")
    assert scoring.score(str(serving / str(version)), str(log), str(out)).rows == DAY_ROWS
    scores = pq.read_table(out).to_pylist()
    for task, every in (("click", 4), ("like", 8)):
        yes, no = ([of[task] for of in scores if (of["user_id"] % every == 0) is wanted] for wanted in (True, False))
        assert len(yes) == DAY_ROWS // every
        assert 0 < sum(no) / len(no) < sum(yes) / len(yes) < 1


# -- Kafka -------------------------------------------------------------------------------------------------------------


def _send(broker: KafkaBroker, day: int, rows: Sequence[Row], bad: Sequence[bytes | None] = ()) -> None:
    """Rows in turn to both partitions; messages are of their rows' times, bad ones and those of other days of the day's last moment."""
    last = row(day + 1, 0)["time_ms"] - 1
    for partition in (0, 1):
        values = [json.dumps(of).encode() for of in rows[partition::2]]
        times = [of["time_ms"] if of["time_ms"] // DAY_MS == last // DAY_MS else last for of in rows[partition::2]]
        refused = list(bad[partition::2])
        broker.send("feed", [*values, *refused], partition, times_ms=[*times, *[last] * len(refused)])


def _bad(day: int) -> list[bytes | None]:
    return [b"no json", json.dumps(row(day, 0) | {"age": "thirty"}).encode(), None]


def test_a_topic_from_the_slice_to_a_model_that_answers(broker: KafkaBroker, tmp_path: Path) -> None:
    broker.make("feed", 2, retention_ms="-1")
    for day in range(4):
        _send(broker, day, rows_of([day]), _bad(day))
    source = {"kafka": {"servers": broker.servers, "topic": "feed", "window": "days"}}
    folder, record = _run(tmp_path, source)
    manifest = _manifest(record)
    assert manifest["rows_out"] == {"train": 800, "validation": 400, "test": 400}
    assert manifest["rows_read"] == 4 * (DAY_ROWS + BAD)
    assert _reasons(manifest) == {"bad_json": 8, "bad_number": 4}
    assert _rates(manifest) == {"click": [200, 100, 100], "like": [100, 50, 50]}
    # Of a day, each partition has 200 rows; of its three bad messages partition 0 has two.
    saved = loading.load(folder.config).dataset.source.kafka
    assert saved is not None
    assert saved.offsets == {0: (0, 4 * 202), 1: (0, 4 * 201)}
    assert saved.cluster_id == CLUSTER == manifest["kafka"]["cluster_id"]
    assert saved.topic_id == manifest["kafka"]["topic_id"]
    assert manifest["kafka"]["window"] == ["2024-01-01T00:00:00+00:00", "2024-01-05T00:00:00+00:00"]
    assert [file["offsets"] for file in manifest["files"]] == [[0, 808], [0, 804]]
    fifth = tmp_path / "fifth.jsonl"
    good, bad = [json.dumps(of).encode() for of in rows_of([4])], [of for of in _bad(4) if of is not None]
    fifth.write_bytes(b"\n".join([*good, *bad]) + b"\n")
    _check_answers(folder, record, fifth)

    # The topic grows: the fifth day, late rows of the third, and an hour of the sixth.
    _send(broker, 4, [*rows_of([4]), *late_rows()], _bad(4))
    _send(broker, 5, rows_of([5])[:20])
    again, repeated = run_pipeline(str(folder.config), [])
    assert loading.load(again.config) == loading.load(folder.config)
    assert [repeated.stage(name).state for name in STAGES] == ["cached"] * len(STAGES)
    examples = _record_examples(record)
    by_id = {split: {of[ROW_ID][0]: of for of in part} for split, part in examples.items()}
    found = _ingested_again(again.config, tmp_path / "again")
    assert {split: {of[ROW_ID][0]: of for of in part} for split, part in found.items()} == by_id

    next_folder, following = _run(tmp_path, source, "dataset.split.until=2024-01-05")
    manifest = _manifest(following)
    assert following.stage("ingest").state == "done"
    assert manifest["rows_out"] == {"train": 800 + LATE, "validation": 400, "test": 400}
    assert manifest["days"].keys() == {"20240102", "20240103", "20240104", "20240105"}
    assert _rates(manifest) == {"click": [200, 100, 100], "like": [100, 50, 50]}
    # Rows of the sixth day's first hour are found beside: one every 216 s, at 0, 216, ..., 3456 s.
    assert _reasons(manifest) == {"bad_json": 8, "bad_number": 4, "out_of_window": 17}
    saved = loading.load(next_folder.config).dataset.source.kafka
    assert saved is not None
    assert saved.offsets == {0: (202, 5 * 202 + LATE // 2 + 9), 1: (201, 5 * 201 + LATE // 2 + 8)}
    assert len(versions(next_folder.directory.parents[1] / "serving")) == 2


# -- BigQuery ----------------------------------------------------------------------------------------------------------

TABLE = "feed-project.log.impressions"


@pytest.fixture
def bigquery() -> Iterator[BigQueryServer]:
    with bigquery_server() as running:
        yield running


def _table(days: Sequence[int], more: Sequence[Row] = ()) -> pa.Table:
    """Rows with their day, and of each day three bad ones, which have no user."""
    bad = [row(day, number) | {"user_id": None} for day in days for number in range(BAD)]
    rows = [*rows_of(days), *bad, *more]
    dated = [of | {"dt": f"{FIRST + datetime.timedelta(of['time_ms'] // DAY_MS - _EPOCH_DAY)}"} for of in rows]
    return pa.Table.from_pylist(dated)


_EPOCH_DAY = (FIRST - datetime.date(1970, 1, 1)).days


def test_a_table_from_the_session_to_a_model_that_answers(bigquery: BigQueryServer, tmp_path: Path) -> None:
    bigquery.put(TABLE, _table(range(4)))
    source = {"bigquery": {"table": TABLE, "where": "dt = '{day}'", "emulator": bigquery.emulator}}
    begun = datetime.datetime.now(UTC).replace(microsecond=0)
    folder, record = _run(tmp_path, source)
    manifest = _manifest(record)
    assert manifest["rows_out"] == {"train": 800, "validation": 400, "test": 400}
    assert manifest["rows_read"] == 4 * (DAY_ROWS + BAD)
    assert _reasons(manifest) == {"missing_value": 12}
    assert _rates(manifest) == {"click": [200, 100, 100], "like": [100, 50, 50]}
    saved = loading.load(folder.config).dataset.source.bigquery
    assert saved is not None
    assert saved.snapshot is not None
    assert begun <= saved.snapshot <= datetime.datetime.now(UTC)
    assert [(of["where"], of["rows"], of["snapshot"]) for of in manifest["bigquery"]] == [
        (f"dt = '2024-01-0{day}'", DAY_ROWS + BAD, saved.snapshot.isoformat()) for day in (1, 2, 3, 4)
    ]
    fifth = tmp_path / "fifth.parquet"
    pq.write_table(_table([4]), fifth)
    _check_answers(folder, record, fifth)

    # The table grows: the fifth day and late rows of the third; the first day is deleted.
    bigquery.put(TABLE, _table(range(1, 5), late_rows()), saved.snapshot + datetime.timedelta(seconds=1))
    sessions = len(bigquery.sessions)
    again, repeated = run_pipeline(str(folder.config), [])
    assert loading.load(again.config) == loading.load(folder.config)
    assert [repeated.stage(name).state for name in STAGES] == ["cached"] * len(STAGES)
    assert len(bigquery.sessions) == sessions  # nor does it ask for what it does not read
    found = _ingested_again(again.config, tmp_path / "again")
    assert len(bigquery.sessions) == sessions + 4
    assert _without_ids(found) == _without_ids(_record_examples(record))

    next_folder, following = _run(tmp_path, source, "dataset.split.until=2024-01-05")
    manifest = _manifest(following)
    assert following.stage("ingest").state == "done"
    assert manifest["rows_out"] == {"train": 800 + LATE, "validation": 400, "test": 400}
    assert manifest["days"].keys() == {"20240102", "20240103", "20240104", "20240105"}
    assert _rates(manifest) == {"click": [200, 100, 100], "like": [100, 50, 50]}
    assert len(versions(next_folder.directory.parents[1] / "serving")) == 2


def _without_ids(examples: dict[str, list[Row]]) -> dict[str, list[str]]:
    """BigQuery gives rows in another order each time, and ids come of the order."""
    return {split: sorted(str({**of, ROW_ID: 0}) for of in part) for split, part in examples.items()}
