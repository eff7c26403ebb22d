"""Ingest, statistics and transform on Prism, in this process and in workers of their own, and in several local processes: the same as on the local engine.

Files may be cut otherwise; rows, counts and vocabularies may not differ.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tfx.types import standard_artifacts

from features.columns import from_lists
from features.spec import ROW_ID, SPLITS, Dataset
from pipeline.components.engine import beam_args
from pipeline.components.ingest import Folders, ingest
from pipeline.components.statistics import CountingExecutor, read_statistics
from pipeline.components.transform import transform
from pipeline.components.validate import SpecSchema
from pipeline.config import Budget, DataConfig
from pipeline.engines import Engine, ExternalEnvironment, LocalEngine, PrismEngine
from tests.features.logs.small_log import GOOD, dataset, write
from tests.pipeline import test_action_counters, test_counters, test_ingest, test_joining
from tests.pipeline.examples import DATASET, ROWS, make, make_examples, plain_rows
from tests.prism_server import WorkerPool, prism_program, prism_server, worker_pool

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prism_server(tmp_path_factory.mktemp("prism")) as address:
        yield address


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    with worker_pool(tmp_path_factory.mktemp("pool")) as running:
        yield running


@pytest.fixture
def elsewhere(endpoint: str, pool: WorkerPool) -> Iterator[PrismEngine]:
    """Its workers are no processes of this test's."""
    before = pool.started
    yield external(endpoint, pool)
    assert pool.started == before + 1


@pytest.fixture(params=["loopback", "external", "started"])
def prism(request: pytest.FixtureRequest, endpoint: str) -> PrismEngine:
    if request.param == "started":
        return PrismEngine(prism_location=str(prism_program()))
    if request.param == "loopback":
        return PrismEngine(job_endpoint=endpoint)
    found: PrismEngine = request.getfixturevalue("elsewhere")
    return found


def external(endpoint: str, pool: WorkerPool) -> PrismEngine:
    return PrismEngine(job_endpoint=endpoint, environment=ExternalEnvironment(address=pool.address))


def ingested(spec: Dataset, log: Path, out: Path, engine: Engine) -> dict[str, Any]:
    """Everything that ingest says of a log, in an order of its own."""
    folders = Folders(*[str(out / name / "7") for name in ("examples", "quarantine", "manifest", "tables")])
    data = DataConfig(path=str(log), budget=Budget(max_share=0.5))
    manifest = ingest(spec, data, folders, beam.Pipeline(argv=beam_args(engine)))
    del manifest["seconds"]
    rows = [
        row | {"split": split}
        for split in SPLITS
        for batch in pq.read_table(f"{folders.examples}/Split-{split}").to_batches()
        for row in from_lists(batch, spec).to_pylist()
    ]
    letters = pq.read_table(folders.quarantine).to_pylist() if list(Path(folders.quarantine).glob("*.parquet")) else []
    left = sorted(str(path.relative_to(out)) for path in out.rglob("*") if "temp" in path.name or "work" in path.name)
    return {
        "manifest": manifest,
        "rows": sorted(rows, key=lambda row: row[ROW_ID]),
        "letters": sorted(map(repr, letters)),
        "left": left,
    }


def write_log(log: str, path: Path) -> Dataset:
    """One that needs the joins or the counts of its name."""
    path.mkdir()
    if log == "tables":
        spec = test_ingest.SPEC
        test_ingest._log(path)
    elif log == "actions":
        spec = test_joining.spec(duplicates="drop")
        test_joining.by_hand(path)
    elif log == "counters":
        spec = test_counters.spec()
        test_counters.write(path)
    else:
        spec = test_action_counters.spec()
        test_action_counters.by_hand(path)
    return spec


@pytest.mark.parametrize("log", ["tables", "actions"])
def test_ingest_gives_the_same(log: str, prism: PrismEngine, tmp_path: Path) -> None:
    path = tmp_path / "log"
    spec = write_log(log, path)
    here = ingested(spec, path, tmp_path / "here", LocalEngine())
    there = ingested(spec, path, tmp_path / "there", prism)
    assert there == here
    assert here["rows"]
    assert here["letters"]
    assert here["left"] == []


@pytest.mark.parametrize("log", ["counters", "counters of actions"])
def test_counters_are_the_same_in_workers_elsewhere(log: str, elsewhere: PrismEngine, tmp_path: Path) -> None:
    path = tmp_path / "log"
    spec = write_log(log, path)
    here = ingested(spec, path, tmp_path / "here", LocalEngine())
    assert ingested(spec, path, tmp_path / "there", elsewhere) == here
    assert here["manifest"]["counters"]["rows_read"] == 5
    assert here["left"] == []


def statistics(
    examples: standard_artifacts.Examples, schema: standard_artifacts.Schema, out: Path, engine: Engine
) -> Any:
    """Rows and features of each split."""
    made = make(standard_artifacts.ExampleStatistics, out)
    context = CountingExecutor.Context(beam_pipeline_args=beam_args(engine))
    CountingExecutor(context).Do({"examples": [examples], "schema": [schema]}, {"statistics": [made]}, {})
    of = {split: found.datasets[0] for split, found in read_statistics(made).items()}
    return {split: (found.num_examples, sorted(found.features, key=str)) for split, found in of.items()}


def test_statistics_are_the_same_in_workers_elsewhere(elsewhere: PrismEngine, tmp_path: Path) -> None:
    examples = make_examples(tmp_path / "examples", {split: plain_rows(split) for split in SPLITS})
    schema = make(standard_artifacts.Schema, tmp_path / "schema")
    SpecSchema.test_call(dataset=DATASET.model_dump_json(), schema=schema)
    here, there = (
        statistics(examples, schema, tmp_path / name, engine)
        for name, engine in (("here", LocalEngine()), ("there", elsewhere))
    )
    assert there == here
    assert {split: rows for split, (rows, _) in here.items()} == dict.fromkeys(SPLITS, ROWS)


WIDE = Dataset.model_validate(
    DATASET.model_dump(mode="json")
    | {
        "features": DATASET.model_dump(mode="json")["features"]
        | {
            "price_level": {"kind": "bucketized", "column": "price", "buckets": 4},
            "price_rank": {"kind": "numeric", "column": "price", "scaling": "quantile"},
            "user_hash": {"kind": "id", "column": "user", "vocabulary": {"hash_buckets": 50}},
            "place": {"kind": "cross", "of": ["tab", "city", "price_level"], "hash_buckets": 30},
        }
    }
)
"""Every kind of thing that Transform learns or computes."""
SCALED = ("price", "price_rank")


def transformed(examples: Path, out: Path, engine: Engine) -> tuple[dict[str, pa.Table], dict[str, bytes]]:
    """Rows of each file of each split, and the graph's vocabularies."""
    files = {split: [str(path) for path in sorted((examples / f"Split-{split}").glob("*"))] for split in SPLITS}
    outputs = {split: str(out / f"Split-{split}") for split in SPLITS}
    transform(WIDE, files, outputs, str(out / "graph"), beam.Pipeline(argv=beam_args(engine)))
    tables = {f"{path.parent.name}/{path.name}": pq.read_table(path) for path in out.glob("Split-*/*")}
    assets = (out / "graph" / "transform_fn" / "assets").iterdir()
    return tables, {path.name: path.read_bytes() for path in assets}


def test_transform_gives_the_same(prism: PrismEngine, tmp_path: Path) -> None:
    make_examples(tmp_path / "examples", {split: plain_rows(split) for split in SPLITS})
    rows_here, vocabularies_here = transformed(tmp_path / "examples", tmp_path / "here", LocalEngine())
    rows_there, vocabularies_there = transformed(tmp_path / "examples", tmp_path / "there", prism)
    assert vocabularies_there == vocabularies_here
    assert vocabularies_here
    _check_same(rows_there, rows_here)
    assert json.loads((tmp_path / "there" / "graph" / "feedrank" / "layout.json").read_text()) == json.loads(
        (tmp_path / "here" / "graph" / "feedrank" / "layout.json").read_text()
    )


def _check_same(rows_there: dict[str, pa.Table], rows_here: dict[str, pa.Table]) -> None:
    assert rows_there.keys() == rows_here.keys()
    for name, table in rows_here.items():
        # Moments are sums of floats, in the order in which workers finish.
        assert rows_there[name].schema == table.schema
        for column in table.schema.names:
            found, expected = rows_there[name][column].to_pylist(), table[column].to_pylist()
            assert found == (pytest.approx(expected, abs=1e-6) if column in SCALED else expected)


def test_several_processes_of_the_local_engine_give_the_same(tmp_path: Path) -> None:
    options = {"direct_running_mode": "multi_processing", "direct_num_workers": 2}
    path = tmp_path / "log"
    path.mkdir()
    test_ingest._log(path)
    there = ingested(test_ingest.SPEC, path, tmp_path / "there", LocalEngine(options=options))
    assert there == ingested(test_ingest.SPEC, path, tmp_path / "here", LocalEngine())
    assert there["rows"]


@contextlib.contextmanager
def worker_killed(pool: WorkerPool, begun: Callable[[], bool]) -> Iterator[list[int]]:
    """Kills the pool's worker as soon as it has begun; gives the processes killed."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        end = time.monotonic() + 100
        while not killed and not over.is_set() and time.monotonic() < end:
            if begun():
                killed.extend(pool.workers)
                for worker in killed:
                    os.kill(worker, signal.SIGKILL)
            time.sleep(0.002)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        over.set()
        killer.join()


def test_a_killed_worker_fails_ingest_and_a_rerun_is_whole(endpoint: str, pool: WorkerPool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    days = [GOOD.replace("20240101", f"2024010{day}") for day in (1, 1, 1, 2, 3, 4)]
    write(log, *(days * 100_000), name="log.csv")

    def begun() -> bool:
        return any(path.is_file() for path in (tmp_path / "broken").glob("examples/*/Split-train/beam-temp*/*"))

    engine = external(endpoint, pool)
    with worker_killed(pool, begun) as killed, pytest.raises(RuntimeError):
        ingested(dataset(), log, tmp_path / "broken", engine)
    assert len(killed) == 1
    # A reader takes what ends with .parquet in a split's folder.
    assert list((tmp_path / "broken").glob("examples/*/Split-*/*.parquet")) == []
    assert list((tmp_path / "broken").glob("manifest/*/manifest.json")) == []
    here, there = (
        ingested(dataset(), log, tmp_path / name, using) for name, using in (("here", LocalEngine()), ("there", engine))
    )
    assert len(here["rows"]) == 600_000
    assert there["manifest"] == here["manifest"]
    assert there["rows"] == here["rows"]


def test_a_killed_worker_fails_transform_and_a_rerun_is_whole(endpoint: str, pool: WorkerPool, tmp_path: Path) -> None:
    make_examples(tmp_path / "examples", {split: plain_rows(split, rows=5_000) for split in SPLITS})
    broken, engine = tmp_path / "broken", external(endpoint, pool)

    def begun() -> bool:
        return any((broken / "graph" / "temporary").glob("*.parquet"))

    with worker_killed(pool, begun) as killed, pytest.raises(RuntimeError):
        transformed(tmp_path / "examples", broken, engine)
    assert len(killed) == 1
    # Files that were done before are whole; what was not has left nothing.
    assert not (broken / "graph" / "temporary").exists()
    assert {pq.read_metadata(path).num_rows for path in broken.glob("Split-*/*")} <= {5_000}
    rows_here, vocabularies_here = transformed(tmp_path / "examples", tmp_path / "here", LocalEngine())
    rows_there, vocabularies_there = transformed(tmp_path / "examples", tmp_path / "there", engine)
    assert vocabularies_there == vocabularies_here
    _check_same(rows_there, rows_here)
