"""What every trunk is."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from models.config import TrunkConfig
from models.layers.configured import Configured


class Trunk(Configured, abc.ABC):
    """From one representation of a row to one for each task.

    A new trunk is a subclass in a file of its own, a class of its settings in `models.settings.trunks` (to be named in
    `models.config`, too), and its name in `models.ranker.TRUNKS`; to be found by users, a preset and a picture.

    Args:
        tasks: names of the tasks.
        config: the trunk's part of the model's configuration.

    Shapes:
        input: (batch, in).
        output: {task: (batch, width)}.
    """

    ARGUMENTS: ClassVar[Mapping[str, Any]] = {"tasks": tuple[str, ...], "config": TrunkConfig}

    def __init__(self, tasks: Sequence[str], config: TrunkConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tasks = tuple(tasks)
        self.config = config

    @abc.abstractmethod
    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """{task: (batch, width)}."""

    def by_task(self, stacked: tf.Tensor) -> dict[str, tf.Tensor]:
        """(batch, tasks, ..) -> {task: (batch, ..)}."""
        return dict(zip(self.tasks, tf.unstack(stacked, axis=1), strict=True))

    def gate_weights(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """{"layer/task": (batch, experts)}; empty for a trunk without gates."""
        del inputs
        return {}

    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """{"layer/task": names of the experts}, in the order of `gate_weights`."""
        return {}
