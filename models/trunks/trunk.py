"""What every trunk is."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf

from features.frozen import Frozen


class Trunk(tf.keras.layers.Layer, abc.ABC):
    """From one representation of a row to one for each task.

    A new trunk is a subclass in a file of its own, a class of its settings in `models.settings.trunks` (to be named in
    `models.config`, too), and its name in `models.ranker.TRUNKS`; to be found by users, a preset and a picture.

    Args:
        tasks: names of the tasks.
        config: the trunk's part of the model's configuration, of class `CONFIG`.

    Shapes:
        input: (batch, in).
        output: {task: (batch, width)}.
    """

    CONFIG: ClassVar[type[Frozen]]

    def __init__(self, tasks: Sequence[str], config: Frozen, **kwargs: Any) -> None:
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

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON values only."""
        return {**super().get_config(), "tasks": list(self.tasks), "config": self.config.model_dump(mode="json")}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Trunk:
        """The trunk that `get_config` describes."""
        return cls(**{**config, "config": cls.CONFIG.model_validate(config["config"])})
