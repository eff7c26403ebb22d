"""One tower a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from features.spec import Task
from models.config import IndependentHead
from models.heads.head import Head, make_towers, run_towers
from models.heads.scores import Score, score_of, start_of


class Independent(Head):
    """Tasks meet only in the trunk: ``P(task) = sigmoid(tower(x_task))``; a regression's tower gives its value.

    Biases start where each task predicts its mean label.

    Shapes:
        input: {task: (batch, width)}.
        output: {task: score of (batch,)}.

    Example:
        >>> head = Independent({"like": Task(label="like")}, IndependentHead(), {"like": 0.02})
        >>> float(head({"like": tf.zeros((1, 4))}, tf.zeros((1, 8)))["like"].prediction)
        0.02...

    Paper: Caruana, Multitask Learning, Machine Learning 28, 1997.
    """

    def __init__(
        self, tasks: Mapping[str, Task], config: IndependentHead, rates: Mapping[str, float], **kwargs: Any
    ) -> None:
        super().__init__(tasks, config, rates, **kwargs)
        starts = {name: [start_of(task, rates.get(name))] for name, task in tasks.items()}
        self.towers = make_towers("tower", config.tower_units, starts, config.dropout, self.dtype_policy)

    def call(
        self,
        inputs: dict[str, tf.Tensor],
        shared: tf.Tensor,
        training: bool | None = None,
        biases: Mapping[str, tf.Tensor] | None = None,
    ) -> dict[str, Score]:
        """{task: score}."""
        del shared
        outputs = run_towers(self.towers, inputs, biases, training)
        return {name: score_of(self.tasks[name], logits[:, 0]) for name, logits in outputs.items()}
