"""Ingest, statistics and transform as Flink, Spark and Dataflow would get them: made and looked at, never run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.pipeline_context import PipelineContext
from apache_beam.runners.portability.portable_runner import PortableRunner
from tfx.types import standard_artifacts

from features.spec import SPLITS
from pipeline.components.engine import beam_args
from pipeline.components.ingest import Folders, ingest
from pipeline.components.statistics import CountingExecutor
from pipeline.components.transform import transform
from pipeline.components.validate import SpecSchema
from pipeline.config import Budget, DataConfig
from pipeline.engines import DataflowEngine, DockerEnvironment, Engine, FlinkEngine, ProcessEnvironment, SparkEngine
from tests.pipeline import test_action_counters, test_joining
from tests.pipeline.examples import DATASET, make, make_examples, plain_rows

ROOT = Path(__file__).parents[2]
GROUP_BY_KEY = "beam:transform:group_by_key:v1"
IMAGE = "feedrank:1"
ENGINES: dict[str, tuple[Engine, str, str]] = {
    "flink": (
        FlinkEngine(flink_master="jobs:8081", parallelism=8, environment=DockerEnvironment(image=IMAGE)),
        "beam:env:docker:v1",
        IMAGE,
    ),
    "spark": (
        SparkEngine(spark_master_url="spark://m:7077", environment=ProcessEnvironment(command="/opt/boot")),
        "beam:env:process:v1",
        "/opt/boot",
    ),
    "dataflow": (
        DataflowEngine(
            project="p-1",
            region="europe-west4",
            temp_location="gs://bucket/tmp",
            sdk_container_image=IMAGE,
            options={"dry_run": "True", "no_auth": True, "job_name": "feedrank"},
        ),
        "beam:env:docker:v1",
        IMAGE,
    ),
}
Proto = Any
"""A pipeline as Beam writes it down for engines."""


class Submitted(Exception):
    """The job would be under way now."""


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Proto]:
    """What engines are handed, instead of running it."""
    found: list[Proto] = []
    build = DataflowRunner.run_pipeline

    def portable(self: Any, proto: Proto, options: Any) -> None:
        found.append(PortableRunner._optimize_pipeline(proto, options))
        raise Submitted

    def dataflow(self: Any, pipeline: Any, options: Any, **more: Any) -> None:
        build(self, pipeline, options, **more)  # a dry run: all but its submission
        found.append(self.proto_pipeline)
        raise Submitted

    monkeypatch.setattr(PortableRunner, "run_portable_pipeline", portable)
    monkeypatch.setattr(DataflowRunner, "run_pipeline", dataflow)
    return found


def start_ingest(engine: Engine, path: Path) -> None:
    """Of two logs that are joined, and whose duplicates are found: every grouping that there is."""
    test_joining.by_hand(path / "log")
    folders = Folders(*[str(path / "out" / name) for name in ("examples", "quarantine", "manifest", "tables")])
    data = DataConfig(path=str(path / "log"), budget=Budget(max_share=0.5))
    ingest(test_joining.spec(duplicates="drop"), data, folders, beam.Pipeline(argv=beam_args(engine)))


def start_counters(engine: Engine, path: Path) -> None:
    """Of earlier days of two logs."""
    (path / "log").mkdir()
    test_action_counters.by_hand(path / "log")
    folders = Folders(*[str(path / "out" / name) for name in ("examples", "quarantine", "manifest", "tables")])
    data = DataConfig(path=str(path / "log"), budget=Budget(max_share=0.5))
    ingest(test_action_counters.spec(), data, folders, beam.Pipeline(argv=beam_args(engine)))


def start_statistics(engine: Engine, path: Path) -> None:
    examples = make_examples(path / "examples", {split: plain_rows(split) for split in SPLITS})
    schema = make(standard_artifacts.Schema, path / "schema")
    SpecSchema.test_call(dataset=DATASET.model_dump_json(), schema=schema)
    statistics = make(standard_artifacts.ExampleStatistics, path / "statistics")
    context = CountingExecutor.Context(beam_pipeline_args=beam_args(engine))
    CountingExecutor(context).Do({"examples": [examples], "schema": [schema]}, {"statistics": [statistics]}, {})


def start_transform(engine: Engine, path: Path) -> None:
    make_examples(path / "examples", {split: plain_rows(split) for split in SPLITS})
    files = {split: [str(file) for file in (path / "examples" / f"Split-{split}").glob("*")] for split in SPLITS}
    outputs = {split: str(path / split) for split in SPLITS}
    transform(DATASET, files, outputs, str(path / "graph"), beam.Pipeline(argv=beam_args(engine)))


START: dict[str, Callable[[Engine, Path], None]] = {
    "ingest": start_ingest,
    "counters": start_counters,
    "statistics": start_statistics,
    "transform": start_transform,
}


def grouped_keys(proto: Proto) -> Iterator[tuple[str, Any]]:
    """Each GroupByKey, and the coder of its keys."""
    context = PipelineContext(proto.components)
    for step in proto.components.transforms.values():
        if step.spec.urn == GROUP_BY_KEY:
            (source,) = step.inputs.values()
            yield step.unique_name, context.coders[proto.components.pcollections[source].coder_id].key_coder()


@pytest.mark.slow
@pytest.mark.parametrize("stage", START)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_job_can_be_described(engine: str, stage: str, submitted: list[Proto], tmp_path: Path) -> None:
    settings, urn, where = ENGINES[engine]
    with pytest.raises(Submitted):
        START[stage](settings, tmp_path)
    (proto,) = submitted
    environments = proto.components.environments.values()
    assert {found.urn for found in environments} == {urn}
    assert all(where.encode() in found.payload for found in environments)
    keys = dict(grouped_keys(proto))
    assert keys
    assert [name for name, coder in keys.items() if not coder.is_deterministic()] == []
    again = beam_runner_api_pb2.Pipeline.FromString(proto.SerializeToString())
    assert again == proto
    assert read_elsewhere(proto, tmp_path) > 10


def read_elsewhere(proto: Proto, folder: Path) -> int:
    """How many of a job's functions another process, in another folder, could read."""
    (folder / "job.pb").write_bytes(proto.SerializeToString())
    program = """
import sys
from apache_beam.internal import pickler
from apache_beam.portability.api import beam_runner_api_pb2
proto = beam_runner_api_pb2.Pipeline.FromString(open("job.pb", "rb").read())
read = 0
for step in proto.components.transforms.values():
    if step.spec.urn == "beam:transform:pardo:v1":
        payload = beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload)
        if payload.do_fn.urn == "beam:dofn:pickled_python_info:v1":
            pickler.loads(payload.do_fn.payload)
            read += 1
print(read)
"""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**plain, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])
