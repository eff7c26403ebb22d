"""The page of a run that stopped before its report stage: what is known of it, and why it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import artifact_utils

from features.folders import is_folder
from pipeline.components.report import gather
from pipeline.config import RunConfig
from pipeline.lineage import lineage
from pipeline.report.data import Execution, with_stages
from pipeline.report.page import render
from pipeline.runs import STOPPED, PipelinePaths, RunRecord

REPORT = "report"
"""The stage that the page stands in for."""


def page(config: RunConfig, pipeline: pipeline_pb2.Pipeline | None, record: RunRecord, error: str) -> str:
    """The page, from what the stages before the stop left.

    Args:
        config: the run's.
        pipeline: compiled for this run; None: it stopped before.
        record: of the run.
        error: for the reader.
    """
    paths = PipelinePaths(root=Path(config.directory))
    executions: tuple[Execution, ...] = ()
    inputs: dict[str, types.Artifact] = {}
    if pipeline is not None:
        store = metadata_store(paths)
        executions = lineage(store, record.run_id, paths.root)
        inputs = report_inputs(pipeline, store, executions, config.artifacts_directory)
    data = with_stages(gather(json.loads(config.model_dump_json(by_alias=True)), inputs), record.stages)
    return render(data.model_copy(update={"error": error, "run": record.run_id, "lineage": executions}))


def metadata_store(paths: PipelinePaths) -> mlmd.MetadataStore:
    """The MLMD store of a pipeline that runs on this machine."""
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(paths.metadata)
    return mlmd.MetadataStore(config)


def report_inputs(
    pipeline: pipeline_pb2.Pipeline, store: mlmd.MetadataStore, executions: Iterable[Execution], artifacts: str
) -> dict[str, types.Artifact]:
    """What the report stage would have read, by the name under which it reads it, as far as the run made it.

    Of a stage that stopped the run it is what that stage kept (:func:`pipeline.runs.stopped_folder`).
    """
    known = {execution.stage: execution for execution in executions}
    (report,) = (n.pipeline_node for n in pipeline.nodes if n.pipeline_node.node_info.id == REPORT)
    found = {}
    for name, wanted in report.inputs.inputs.items():
        channel = wanted.channels[0]
        maker = known.get(channel.producer_node_query.id)
        if maker is None:
            continue
        kept = os.path.join(artifacts, maker.stage, STOPPED, str(maker.id))
        made = [artifact.id for artifact in maker.made if artifact.name == channel.output_key]
        if made:
            [artifact] = store.get_artifacts_by_id(made)
            [kind] = store.get_artifact_types_by_id([artifact.type_id])
            found[name] = artifact_utils.deserialize_artifact(kind, artifact)
        elif is_folder(kept):
            artifact = metadata_store_pb2.Artifact(uri=kept)
            found[name] = artifact_utils.deserialize_artifact(channel.artifact_query.type, artifact)
    return found
