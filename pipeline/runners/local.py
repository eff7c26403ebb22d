"""Runs the graph on this machine: TFX's launcher, one stage after the other, with MLMD in SQLite.

`tfx.orchestration.LocalDagRunner` does the same but says neither how a stage ended nor which stages the cache answered,
and goes on after a stage whose inputs could not be resolved; both are needed here.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from features import progress
from features.errors import FeedrankError
from features.stores import check_bucket
from models.training import check_devices
from pipeline import failures, graph
from pipeline.components.report import refresh
from pipeline.components.store_files import use_for_stores
from pipeline.config import RunConfig, dump
from pipeline.lineage import lineage
from pipeline.lookups import Lookups
from pipeline.pinning import pinned
from pipeline.runners import stopped
from pipeline.runs import PipelinePaths, RunFolder, RunRecord, StageListener, StageResult, claim_artifacts

_Execution = metadata_store_pb2.Execution
_STATES = {_Execution.COMPLETE: "done", _Execution.CACHED: "cached"}
_OUTPUTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.INTERNAL_OUTPUT)


class _Reports(logging.Handler):
    """Remembers how many rows each stage last reported, and the note of its last report."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, int] = {}
        self.notes: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        numbers, stage = getattr(record, "numbers", {}), record.__dict__["stage"]
        self.notes[stage] = str(numbers.get("note", ""))
        if "rows" in numbers:
            self.rows[stage] = int(numbers["rows"])


class _Launcher:
    """Launches the nodes of one compiled pipeline and tells how each ended."""

    def __init__(self, pipeline: pipeline_pb2.Pipeline, reports: _Reports) -> None:
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = deployment.metadata_connection_config
        self._pipeline = pipeline
        self._deployment = deployment
        self._connection = getattr(connection, connection.WhichOneof("connection_config"))
        self._reports = reports

    def launch(self, node: pipeline_pb2.PipelineNode) -> StageResult:
        """Runs one node to its end."""
        name = node.node_info.id
        started = time.monotonic()
        info = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=metadata.Metadata(self._connection),
            pipeline_info=self._pipeline.pipeline_info,
            pipeline_runtime_spec=self._pipeline.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(self._deployment, name),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(self._deployment, name),
        ).launch()
        if info is None:
            raise FeedrankError(f"stage '{name}' was not run by TFX; the log says why")
        state = self._state(info.execution_id)
        if state is None:
            raise FeedrankError(f"stage '{name}' could not start: its inputs could not be resolved; the log says why")
        outputs = self._outputs(info.execution_id)
        return StageResult(
            name=name,
            state=state,
            seconds=time.monotonic() - started,
            rows=self._reports.rows.get(name),
            outputs={key: tuple(artifact.uri for artifact in found) for key, found in outputs.items()},
            pushed_to=_pushed_to(outputs),
            note=self._reports.notes.get(name, ""),
        )

    def _outputs(self, execution_id: int) -> dict[str, list[Any]]:
        """Artifacts by output name, as published: a cached stage's are those of the run that made them."""
        store = mlmd.MetadataStore(self._connection)
        events = store.get_events_by_execution_ids([execution_id])
        made = {event.artifact_id: event.path.steps[0].key for event in events if event.type in _OUTPUTS}
        found: dict[str, list[Any]] = {}
        for artifact in store.get_artifacts_by_id(list(made)):
            found.setdefault(made[artifact.id], []).append(artifact)
        return found

    def _state(self, execution_id: int) -> Any:
        store = mlmd.MetadataStore(self._connection)
        (execution,) = store.get_executions_by_id([execution_id])
        return _STATES.get(execution.last_known_state)


def _pushed_to(outputs: Mapping[str, Iterable[Any]]) -> str | None:
    """What Pusher says on its artifact."""
    for artifact in outputs.get("pushed_model", ()):
        if "pushed_destination" in artifact.custom_properties:
            return str(artifact.custom_properties["pushed_destination"].string_value)
    return None


def compile_local(config: RunConfig, run_id: str) -> pipeline_pb2.Pipeline:
    """The pipeline's intermediate representation for a run on this machine."""
    paths = PipelinePaths(root=Path(config.directory))
    use_for_stores()
    pipeline = graph.build_pipeline(config, config.artifacts_directory, Lookups())
    pipeline.metadata_connection_config = tfx.orchestration.metadata.sqlite_metadata_connection_config(
        str(paths.metadata)
    )
    compiled = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id})
    return compiled


def run(config: RunConfig, folder: RunFolder, listener: StageListener) -> RunRecord:
    """Runs the whole pipeline.

    Args:
        config: the run.
        folder: where the run's configuration, record, log and report go.
        listener: told as each stage starts and ends.

    Returns:
        The record, as written to the folder.

    Raises:
        FeedrankError: if a stage refuses to go on (bad data, ...). Any other exception of a stage passes through. Either
            way the record says so and the report tells how far it came.
    """
    folder.config.write_text(dump(config))
    paths = PipelinePaths(root=Path(config.directory))
    reports = _Reports()
    progress.LOGGER.addHandler(reports)
    progress.LOGGER.setLevel(logging.INFO)  # the record is the same without a console
    started, begun = datetime.datetime.now(datetime.timezone.utc), time.monotonic()
    stages: list[StageResult] = []

    def record(error: str | None) -> RunRecord:
        return RunRecord(
            run_id=folder.run_id,
            pipeline=config.name,
            status="failed" if error else "done",
            started=started,
            seconds=time.monotonic() - begun,
            stages=tuple(stages),
            error=error,
        )

    compiled = None
    try:
        check_devices(config.train.strategy)  # this and the next before an hour of other stages
        check_bucket("push.directory", config.push_directory)
        if config.artifacts is not None:
            check_bucket("artifacts", config.artifacts)
            claim_artifacts(config.artifacts_directory, paths.owner)
        config = pinned(config)
        folder.config.write_text(dump(config))
        compiled = compile_local(config, folder.run_id)
        _launch_all(compiled, reports, listener, stages)
    except BaseException as error:
        told = failures.message(error)
        failed = record(told if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}")
        folder.write_record(failed)
        _write_stopped_page(config, compiled, folder, failed, told)
        raise
    finally:
        progress.LOGGER.removeHandler(reports)
    result = record(None)
    if (report := result.uri("report", "report")) is not None:
        # The report stage cannot know how long it and its neighbours took, nor MLMD; the page is made again with both.
        made = lineage(stopped.metadata_store(paths), folder.run_id, paths.root)
        folder.report.write_text(refresh(report, result.stages, folder.run_id, made), encoding="utf-8")
    folder.write_record(result)
    return result


def _write_stopped_page(
    config: RunConfig, compiled: pipeline_pb2.Pipeline | None, folder: RunFolder, failed: RunRecord, error: str
) -> None:
    """The page of a run that failed. If it cannot be made the log says why: the user is to hear of the run's own error."""
    try:
        folder.report.write_text(stopped.page(config, compiled, failed, error), encoding="utf-8")
    except Exception:
        logging.getLogger(__name__).exception("the page of the failed run could not be made")


def _launch_all(
    pipeline: pipeline_pb2.Pipeline, reports: _Reports, listener: StageListener, stages: list[StageResult]
) -> None:
    """Runs the nodes in their topological order, adding each result to `stages` as it comes."""
    nodes = _Launcher(pipeline, reports)
    for node in pipeline.nodes:
        name = node.pipeline_node.node_info.id
        listener.stage_started(name)
        started = time.monotonic()
        try:
            result = nodes.launch(node.pipeline_node)
        except BaseException as error:
            result = StageResult(name=name, state="failed", seconds=time.monotonic() - started, note=str(error)[:2000])
            raise
        finally:
            stages.append(result)
            listener.stage_finished(result)
