"""Stages that are TFX's own, with their artifacts at hand (`pipeline.components.local_artifacts`)."""

from __future__ import annotations

import functools
from typing import Any

from tfx import v1 as tfx
from tfx.components.example_validator import executor as example_validator
from tfx.components.trainer import executor as trainer
from tfx.dsl.components.base import executor_spec

from pipeline.components.local_artifacts import Artifacts, at_hand


class TrainerExecutor(trainer.GenericExecutor):
    """Trainer's executor. A model to begin with stays where it is: the training tells where that was."""

    @functools.partial(at_hand, parts={"base_model": None})
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        """Trains, as TFX does."""
        super().Do(input_dict, output_dict, exec_properties)


class LocalTrainer(tfx.components.Trainer):
    """`tfx.components.Trainer`."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TrainerExecutor)


class AnomaliesExecutor(example_validator.Executor):
    """ExampleValidator's executor."""

    @at_hand
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> Any:
        """Looks for anomalies, as TFX does."""
        return super().Do(input_dict, output_dict, exec_properties)


class LocalExampleValidator(tfx.components.ExampleValidator):
    """`tfx.components.ExampleValidator`."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(AnomaliesExecutor)
