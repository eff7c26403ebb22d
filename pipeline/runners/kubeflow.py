"""Compiles the graph into a Kubeflow Pipelines v2 specification, for Kubeflow or Vertex AI.

Compiling needs neither a cluster nor the data. Running needs an image with this package in it, and paths (`output`,
`data.path`) that the cluster's workers reach.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any

from tfx import v1 as tfx
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from features.errors import ConfigError
from features.spec import Dataset
from pipeline import graph
from pipeline.config import RunConfig
from pipeline.lookups import Lookups

FINGERPRINT = "data-fingerprint"
"""Parameter of the compiled pipeline: give another text when the data has changed, or cached results are reused."""
FORMATS = (".yaml", ".yml", ".json")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")


def compile_pipeline(config: RunConfig, output: str, image: str | None = None) -> None:
    """Writes the same graph that the local runner runs.

    Args:
        config: the run.
        output: file to write. ``.yaml``: a pipeline specification as the kfp library reads and uploads it; ``.json``: the
            same within a Vertex AI ``PipelineJob``.
        image: container image of the workers, with this package and its ``pipeline`` extra installed; by default
            ``feedrank:<version>``, which you build.

    Raises:
        ConfigError: if Kubeflow does not allow the run's name, or the file's ending is unknown.
    """
    path = Path(output)
    if path.suffix not in FORMATS:
        raise ConfigError(f"cannot write '{output}'; allowed endings: {', '.join(FORMATS)}")
    if not _NAME.fullmatch(config.name):
        raise ConfigError(
            f"Kubeflow does not take the name '{config.name}'; allowed: lower-case letters, digits and '-', such as "
            f"'{re.sub('[^a-z0-9-]', '-', config.name.lower())}'"
        )
    pipeline = graph.build_pipeline(config, f"{config.output.rstrip('/')}/{config.name}/artifacts", _lookups())
    settings = kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
        default_image=image or f"feedrank:{importlib.metadata.version('feedrank')}",
        # The older schema cannot be written as YAML where a pipeline has parameters.
        use_pipeline_spec_2_1=True,
    )
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(settings, str(path.parent), path.name)
    runner.run(pipeline)


def _lookups() -> Lookups:
    """Kubeflow knows these two strategies and no other."""
    return Lookups(
        baseline=tfx.dsl.experimental.LatestBlessedModelStrategy,
        previous=tfx.dsl.experimental.LatestArtifactStrategy,
        fingerprint=_fingerprint,
    )


def _fingerprint(dataset: Dataset, path: str) -> Any:
    del dataset, path  # the compiling machine need not reach the data
    return tfx.dsl.experimental.RuntimeParameter(name=FINGERPRINT, ptype=str)
