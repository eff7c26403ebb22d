"""feedrank's stages on a log, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.stages.log import dataset
from benchmarks.stages.usage import Usage, measured
from features.spec import SPLITS

STAGES = ("ingest", "statistics", "transform", "evaluate")


def run_stage(
    stage: str, form: str, folder: Path, model: Path | None, workers: int = 1
) -> tuple[Usage, dict[str, float]]:
    """One stage; those before it have run in `folder`.

    Args:
        stage: of `STAGES`.
        form: of the log in ``folder/form``.
        folder: of all that is made.
        model: SavedModel to evaluate.
        workers: processes that run the stages of Beam; evaluation is none.

    Returns:
        What it took, and numbers to tell beside: of ``evaluate`` the ``rows`` and the core-seconds that asking the model took.
    """
    work: Mapping[str, Callable[[], Any]] = {
        "ingest": lambda: _ingest(form, folder, _beam_args(workers)),
        "statistics": lambda: _statistics(form, folder, _beam_args(workers)),
        "transform": lambda: _transform(form, folder, _beam_args(workers)),
        "evaluate": lambda: _evaluate(form, folder, model),
    }
    prepared = work[stage]()
    with measured() as usage:
        found = prepared()
    return usage, found or {}


def _beam_args(workers: int) -> list[str]:
    several = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    return ["--runner=FnApiRunner", *(several if workers > 1 else [])]


def _pipeline(beam_args: list[str]) -> Any:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    return beam.Pipeline(options=PipelineOptions(beam_args))


def _out(folder: Path, name: str) -> str:
    return str(folder / "ours" / name / "1")


def _ingest(form: str, folder: Path, beam_args: list[str]) -> Callable[[], None]:
    from pipeline.components.ingest import Folders, ingest
    from pipeline.config import DataConfig

    folders = Folders(*[_out(folder, name) for name in ("examples", "quarantine", "manifest", "tables")])

    def work() -> None:
        manifest = ingest(dataset(form), DataConfig(path=str(folder / form)), folders, _pipeline(beam_args))
        if manifest["quarantined"]["rows"]:
            raise ValueError(f"rows were quarantined: {manifest['quarantined']}")

    return work


def _statistics(form: str, folder: Path, beam_args: list[str]) -> Callable[[], None]:
    from tfx.components.util import examples_utils
    from tfx.dsl.components.base import base_beam_executor
    from tfx.proto import example_gen_pb2
    from tfx.types import artifact_utils, standard_artifacts
    from tfx.utils import io_utils

    from features.schema import build_schema
    from pipeline.components.statistics import CountingExecutor

    examples, schema, made = (
        standard_artifacts.Examples(),
        standard_artifacts.Schema(),
        standard_artifacts.ExampleStatistics(),
    )
    examples.uri, schema.uri, made.uri = (_out(folder, name) for name in ("examples", "schema", "statistics"))
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_PARQUET)
    io_utils.write_pbtxt_file(f"{schema.uri}/schema.pbtxt", build_schema(dataset(form)))
    context = base_beam_executor.BaseBeamExecutor.Context(
        beam_pipeline_args=beam_args, tmp_dir=_out(folder, "tmp"), unique_id="1"
    )
    executor = CountingExecutor(context)
    inputs, outputs = {"examples": [examples], "schema": [schema]}, {"statistics": [made]}
    return lambda: executor.Do(inputs, outputs, {"exclude_splits": "[]"})


def _transform(form: str, folder: Path, beam_args: list[str]) -> Callable[[], None]:
    from pipeline.components.transform import transform

    splits = {split: Path(_out(folder, "examples")) / f"Split-{split}" for split in SPLITS}
    files = {split: sorted(map(str, path.glob("*.parquet"))) for split, path in splits.items()}
    outputs: dict[str, str] = {split: f"{_out(folder, 'transformed')}/Split-{split}" for split in SPLITS}
    return lambda: transform(dataset(form), files, outputs, _out(folder, "graph"), _pipeline(beam_args))


def _evaluate(form: str, folder: Path, model: Path | None) -> Callable[[], dict[str, float]]:
    from pipeline.components.evaluate import evaluate_split
    from pipeline.config import EvaluateConfig

    def work() -> dict[str, float]:
        split = f"{_out(folder, 'examples')}/Split-{SPLITS[2]}"
        found = evaluate_split(split, dataset(form), EvaluateConfig(slices=("device",)), str(model))
        return {"rows": found["rows"], "predict_core_seconds": found["predict_core_seconds"]}

    return work
