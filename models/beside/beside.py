"""What everything beside trunk and head is."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from features.layout import Layout
from features.spec import Task
from models.config import BesideConfig
from models.layers.configured import Configured
from models.lookups import Embedded


class Beside(Configured, abc.ABC):
    """What an impression's circumstances add to the logits of its tasks.

    A new kind is a subclass in a file of its own, a class of its settings in `models.settings.beside` (to be named in
    `models.config`, too), and its name in `models.ranker.BESIDE`.

    The head adds it to its towers' logits, before it composes probabilities of them; see `Head`.

    Args:
        layout: what Transform hands over.
        tasks: what is predicted.
        config: this part of the model's configuration.

    Shapes:
        input: the batch after its lookups, and int64 (batch,) positions.
        output: {task: float32 (batch,)}, of the tasks it says something of.
    """

    ARGUMENTS: ClassVar[Mapping[str, Any]] = {"layout": Layout, "tasks": dict[str, Task], "config": BesideConfig}

    def __init__(self, layout: Layout, tasks: Mapping[str, Task], config: BesideConfig, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # each part casts what it reads
        self.layout, self.tasks, self.config = layout, dict(tasks), config

    @abc.abstractmethod
    def call(
        self, embedded: Embedded, position: tf.Tensor | None = None, training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        """{task: logit}. Without `position`, as in serving, it counts as missing in every row."""
