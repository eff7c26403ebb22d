"""What every head is."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from features.spec import Task
from models.config import HeadConfig
from models.heads.scores import Score
from models.layers.configured import Configured
from models.layers.tower import Tower


class Head(Configured, abc.ABC):
    """From each task's representation to what is predicted.

    A new head is a subclass in a file of its own, a class of its settings in `models.settings.heads` (to be named in
    `models.config`, too), and its name in `models.ranker.HEADS`; to be found by users, a preset and a picture.

    What a head adds to the tasks' losses it gives to Keras' ``add_loss`` (in training), or, where it takes labels, returns
    from `auxiliary_loss`.

    Args:
        tasks: what to predict.
        config: the head's part of the model's configuration.
        rates: each binary task's share of positives in the training split, and the best constant prediction of each regression,
            if known. Towers start there, so that the first steps are not spent on learning that sparse tasks are sparse.

    Shapes:
        input: {task: (batch, width)} from the trunk, the trunk's own input (batch, in), and biases {task: (batch,)}: what
            `models.beside` adds to the logits of each task's tower (`biased`), so that all that a head makes of them holds
            with it, too.
        output: {name: score of (batch,)}, all of `output_names` among the names; others serve `auxiliary_loss` alone.
    """

    ARGUMENTS: ClassVar[Mapping[str, Any]] = {"tasks": dict[str, Task], "config": HeadConfig, "rates": dict[str, float]}

    def __init__(
        self, tasks: Mapping[str, Task], config: HeadConfig, rates: Mapping[str, float], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.tasks = dict(tasks)
        self.config = config
        self.rates = {name: float(rate) for name, rate in rates.items()}

    @abc.abstractmethod
    def call(
        self,
        inputs: dict[str, tf.Tensor],
        shared: tf.Tensor,
        training: bool | None = None,
        biases: Mapping[str, tf.Tensor] | None = None,
    ) -> dict[str, Score]:
        """{name: score}."""

    @classmethod
    def output_names(cls, tasks: Mapping[str, Task]) -> tuple[str, ...]:
        """Names of all outputs for these tasks, in order."""
        return tuple(tasks)

    def loss_weight(self, task: str) -> float:
        """What this head multiplies the weight of a task's loss by."""
        del task
        return 1.0

    def auxiliary_loss(
        self, scores: Mapping[str, Score], labels: Mapping[str, tf.Tensor], weights: Mapping[str, tf.Tensor | float]
    ) -> tf.Tensor:
        """What training adds to the tasks' losses: a scalar, from the head's own scores, the batch's labels, masks and sample
        weights, and the weights of the tasks' losses."""
        del scores, labels, weights
        return tf.zeros(())


def make_towers(
    name: str, units: Sequence[int], starts: Mapping[str, Sequence[float]], dropout: float, dtype: Any
) -> dict[str, Tower]:
    """{task: a tower whose outputs' biases begin at the task's `starts`}, called ``<name>_<task>``."""
    return {task: Tower(units, start, dropout, name=f"{name}_{task}", dtype=dtype) for task, start in starts.items()}


def run_towers(
    towers: Mapping[str, Tower],
    inputs: Mapping[str, tf.Tensor],
    biases: Mapping[str, tf.Tensor] | None,
    training: bool | None,
) -> dict[str, tf.Tensor]:
    """{task: its tower's logits, (batch, logits), each plus the task's bias, if it has one}."""
    outputs = {task: tower(inputs[task], training=training) for task, tower in towers.items()}
    return {
        task: logits + biases[task][:, None] if biases and task in biases else logits
        for task, logits in outputs.items()
    }
