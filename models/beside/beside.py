"""What everything beside trunk and head is."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from features.frozen import Frozen
from features.layout import Layout
from features.spec import Task
from models.lookups import Embedded


class Beside(tf.keras.layers.Layer, abc.ABC):
    """What an impression's circumstances add to the logits of its tasks.

    A new kind is a subclass in a file of its own, a class of its settings in `models.settings.beside` (to be named in
    `models.config`, too), and its name in `models.ranker.BESIDE`.

    The head adds it to its towers' logits, before it composes probabilities of them; see `Head`.

    Args:
        layout: what Transform hands over.
        tasks: what is predicted.
        config: this part of the model's configuration, of class `CONFIG`.

    Shapes:
        input: the batch after its lookups, and int64 (batch,) positions.
        output: {task: float32 (batch,)}, of the tasks it says something of.
    """

    CONFIG: ClassVar[type[Frozen]]

    def __init__(self, layout: Layout, tasks: Mapping[str, Task], config: Frozen, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # each part casts what it reads
        self.layout, self.tasks, self.config = layout, dict(tasks), config

    @abc.abstractmethod
    def call(
        self, embedded: Embedded, position: tf.Tensor | None = None, training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        """{task: logit}. Without `position`, as in serving, it counts as missing in every row."""

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON values only."""
        parts = {"layout": self.layout.model_dump(mode="json"), "config": self.config.model_dump(mode="json")}
        tasks = {name: task.model_dump(mode="json") for name, task in self.tasks.items()}
        return {**super().get_config(), **parts, "tasks": tasks}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Beside:
        """The layer that `get_config` describes (its weights are drawn anew)."""
        parts = {
            "layout": Layout.model_validate(config["layout"]),
            "tasks": {name: Task.model_validate(task) for name, task in config["tasks"].items()},
            "config": cls.CONFIG.model_validate(config["config"]),
        }
        return cls(**{**config, **parts})
