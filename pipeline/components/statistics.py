"""The statistics stage: TFX's own, which also tells how many rows it saw."""

from __future__ import annotations

from typing import Any

from tfx import v1 as tfx
from tfx.components.statistics_gen import executor
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from features.progress import report
from pipeline.components.validate import read_statistics

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
        splits = artifact_utils.decode_split_names(made.split_names)
        report(STAGE, rows=sum(int(read_statistics(made, split).datasets[0].num_examples) for split in splits))


class CountedStatisticsGen(tfx.components.StatisticsGen):
    """`tfx.components.StatisticsGen` with rows in its progress."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(CountingExecutor)
