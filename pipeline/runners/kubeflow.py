"""Compiles the graph into a Kubeflow Pipelines v2 specification, for Kubeflow or Vertex AI.

Compiling needs neither a cluster nor the data. Running needs an image with this package in it (the `Dockerfile` beside this file), and paths (`output`,
`data.path`) that the cluster's workers reach. Remote ones (``gs://``) are written down as they are: logs are read there and artifacts
written, but checkpoints, which lie below `output`, need a mounted file system so far.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.dsl.components.base import base_node
from tfx.dsl.components.common import resolver
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.types import standard_artifacts

from features.errors import ConfigError
from features.spec import Dataset
from pipeline import graph
from pipeline.artifacts import IngestManifest
from pipeline.config import DataConfig, RunConfig
from pipeline.lookups import Lookups

FINGERPRINT = "data-fingerprint"
"""Parameter of the compiled pipeline: give another text when the data has changed, or cached results are reused."""
FORMATS = (".yaml", ".yml", ".json")


def compile_pipeline(config: RunConfig, output: str, image: str | None = None) -> None:
    """Writes the same graph that the local runner runs, under `kubeflow_name` of the run's name.

    Args:
        config: the run.
        output: file to write. ``.yaml``: a pipeline specification as the kfp library reads and uploads it; ``.json``: the
            same within a Vertex AI ``PipelineJob``.
        image: container image of the workers, with this package and its ``pipeline`` extra installed; by default
            ``feedrank:<version>``, which you build (`Dockerfile`).

    Raises:
        ConfigError: if the file's ending is unknown.
    """
    path = Path(output)
    if path.suffix not in FORMATS:
        raise ConfigError(f"cannot write '{output}'; allowed endings: {', '.join(FORMATS)}")
    pipeline = graph.build_pipeline(config, config.artifacts_directory, _lookups())
    pipeline.pipeline_info.pipeline_name = kubeflow_name(config.name)
    settings = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        default_image=image or f"feedrank:{importlib.metadata.version('feedrank')}",
        # The older schema cannot be written as YAML where a pipeline has parameters.
        use_pipeline_spec_2_1=True,
    )
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(settings, str(path.parent), path.name)
    runner.run(pipeline)


def kubeflow_name(name: str) -> str:
    """The name of a run at Kubeflow, which allows lower-case letters, digits and '-' only.

    Example:
        >>> kubeflow_name("My_feed")
        'my-feed'
    """
    return re.sub("[^a-z0-9-]", "-", name.lower())


def _lookups() -> Lookups:
    return Lookups(
        baseline=_latest_blessed_model,
        earlier=_latest_blessed_model,
        previous=_latest_statistics,
        fingerprint=_fingerprint,
    )


def _latest_blessed_model(after: base_node.BaseNode) -> resolver.Resolver:
    """Kubeflow knows two strategies, this and the next, and runs none of ours."""
    del after
    return tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=types.Channel(type=standard_artifacts.Model),
        model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
    )


def _latest_statistics(ingest: base_node.BaseNode, statistics: base_node.BaseNode) -> resolver.Resolver:
    """Before this run's own are made: afterwards the latest would be those. The newest statistics and the newest manifest, each for itself."""
    del statistics  # made after ingest
    found = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestArtifactStrategy,
        statistics=types.Channel(type=standard_artifacts.ExampleStatistics),
        manifest=types.Channel(type=IngestManifest),
    )
    ingest.add_upstream_node(found)
    return found


def _fingerprint(dataset: Dataset, data: DataConfig) -> Any:
    del dataset, data  # the compiling machine need not reach the data
    return tfx.dsl.experimental.RuntimeParameter(name=FINGERPRINT, ptype=str)
