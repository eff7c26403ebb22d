"""The statistics stage: TFX's own, which also tells how many rows it saw."""

from __future__ import annotations

import os
from typing import Any

from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import v1 as tfx
from tfx.components.statistics_gen import executor
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact

from features.folders import open_input
from features.progress import report
from pipeline.data_checks import Statistics

STAGE = "statistics"


class CountingExecutor(executor.Executor):
    """StatisticsGen's executor, then one progress report."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Computes the statistics of each split, as TFX does."""
        super().Do(input_dict, output_dict, exec_properties)
        (made,) = output_dict["statistics"]
        report(STAGE, rows=sum(int(found.datasets[0].num_examples) for found in read_statistics(made).values()))


class CountedStatisticsGen(tfx.components.StatisticsGen):
    """`tfx.components.StatisticsGen` with rows in its progress."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(CountingExecutor)


def read_statistics(artifact: standard_artifacts.ExampleStatistics) -> dict[str, Statistics]:
    """Split to its statistics, from an artifact that StatisticsGen wrote."""
    splits = artifact_utils.decode_split_names(artifact.split_names)
    folders = {str(split): artifact_utils.get_split_uri([artifact], split) for split in splits}
    return {split: _read(os.path.join(folder, "FeatureStats.pb")) for split, folder in folders.items()}


def _read(file: str) -> Statistics:
    with open_input(file) as stream:
        return statistics_pb2.DatasetFeatureStatisticsList.FromString(bytes(stream.read()))
