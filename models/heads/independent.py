"""One tower a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from features.spec import Task
from models.config import IndependentHead
from models.heads.head import Head, logit
from models.heads.scores import Probability, Score, Value
from models.layers.tower import Tower


class Independent(Head):
    """Tasks meet only in the trunk: ``P(task) = sigmoid(tower(x_task))``; a regression's tower gives its value.

    Biases start at ``logit(rate)``, a regression's at its mean.

    Shapes:
        input: {task: (batch, width)}.
        output: {task: score of (batch,)}.

    Example:
        >>> head = Independent({"like": Task(label="like")}, IndependentHead(), {"like": 0.02})
        >>> float(head({"like": tf.zeros((1, 4))}, tf.zeros((1, 8)))["like"].prediction)
        0.02...
    """

    CONFIG = IndependentHead

    def __init__(
        self, tasks: Mapping[str, Task], config: IndependentHead, rates: Mapping[str, float], **kwargs: Any
    ) -> None:
        super().__init__(tasks, config, rates, **kwargs)
        start = {n: logit(rates[n]) if task.kind == "binary" else rates.get(n, 0.0) for n, task in tasks.items()}
        self.towers = {
            name: Tower(config.tower_units, [bias], config.dropout, name=f"tower_{name}", dtype=self.dtype_policy)
            for name, bias in start.items()
        }

    def call(self, inputs: dict[str, tf.Tensor], shared: tf.Tensor, training: bool | None = None) -> dict[str, Score]:
        """{task: score}."""
        del shared
        outputs = {name: tower(inputs[name], training=training)[:, 0] for name, tower in self.towers.items()}
        return {
            name: Probability.from_logit(output) if self.tasks[name].kind == "binary" else Value(output)
            for name, output in outputs.items()
        }
