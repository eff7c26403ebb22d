"""The Adaptive Information Transfer Multi-task model's head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from features.errors import ModelError
from features.spec import ROW_WEIGHT, Task
from models.config import AitmHead, chain_problem, children, parents_first
from models.heads.head import Head, make_towers, run_towers
from models.heads.scores import Score, score_of, start_of
from models.layers.information_transfer import InformationTransfer
from models.layers.mlp import Mlp
from models.losses import weighted_mean


class Aitm(Head):
    """Along each chain of tasks a task attends to its own representation and to what its parent transfers.

    With q_t the trunk's representation of task t: ``z_t = AIT(g_parent(z_parent), q_t)``, z_t = q_t for a task without
    parent, and ``P(t) = sigmoid(tower(z_t))``, so every probability is its own (the paper's MLP; in the authors' code
    `tower_units` is empty). g is one dense layer of a task that has
    children: it transfers the same to each. Query, key and value are shared by all tasks, as in the paper's notation and
    the authors' code (which also normalises batches; here nothing does). A regression has no part in a chain: its tower
    reads q_t.

    In training the behavioural expectation calibrator is added to the loss:
    ``alpha sum over tasks with a parent of mean over all rows of max(P(task) - P(parent), 0)``, of probabilities with
    their biases. Rows count by their row weights, where left-out rows are made up for by them.

    Biases start where P(task) is the task's rate.

    Shapes:
        input: {task: (batch, width)}, the same width for all tasks.
        output: {task: score of (batch,)}.

    Raises:
        ModelError: without a chain of binary tasks.

    Example:
        >>> tasks = {"click": Task(label="click"), "buy": Task(label="buy", parent="click")}
        >>> head = Aitm(tasks, AitmHead(), {"click": 0.2, "buy": 0.01})
        >>> scores = head({name: tf.zeros((1, 4)) for name in tasks}, tf.zeros((1, 8)))
        >>> round(float(scores["buy"].prediction), 3)
        0.01

    Paper: Xi et al., Modeling the Sequential Dependence among Audience Multi-step Conversions with Multi-task Learning in Targeted
    Display Advertising, KDD 2021.
    """

    config: AitmHead

    def __init__(self, tasks: Mapping[str, Task], config: AitmHead, rates: Mapping[str, float], **kwargs: Any) -> None:
        super().__init__(tasks, config, rates, **kwargs)
        if problem := chain_problem(tasks):
            raise ModelError(f"aitm head: {problem}")
        self.parents = children(tasks)
        self.attention = InformationTransfer(name="attention", dtype=self.dtype_policy)
        starts = {name: [start_of(task, rates.get(name))] for name, task in tasks.items()}
        self.towers = make_towers("tower", config.tower_units, starts, config.dropout, self.dtype_policy)

    def build(self, input_shape: Mapping[str, tf.TensorShape]) -> None:
        """Makes what transfers: as wide as the representation that it is compared with."""
        self.transfers = {
            parent: Mlp(
                (int(input_shape[parent][-1]),), self.config.dropout, name=f"transfer_{parent}", dtype=self.dtype_policy
            )
            for parent in sorted(set(self.parents.values()))
        }
        super().build(input_shape)

    def call(
        self,
        inputs: dict[str, tf.Tensor],
        shared: tf.Tensor,
        training: bool | None = None,
        biases: Mapping[str, tf.Tensor] | None = None,
    ) -> dict[str, Score]:
        """{task: score}."""
        del shared
        known = dict(inputs)
        for name in parents_first(self.tasks):
            if (parent := self.parents.get(name)) is not None:
                transferred = self.transfers[parent](known[parent], training=training)
                known[name] = self.attention(transferred, inputs[name])
        outputs = run_towers(self.towers, known, biases, training)
        return {name: score_of(self.tasks[name], logits[:, 0]) for name, logits in outputs.items()}

    def auxiliary_loss(
        self, scores: Mapping[str, Score], labels: Mapping[str, tf.Tensor], weights: Mapping[str, tf.Tensor | float]
    ) -> tf.Tensor:
        """The calibrator: how far tasks are more likely than their parents, mean over rows, sum over tasks."""
        del weights
        beyond = [scores[name].prediction - scores[parent].prediction for name, parent in self.parents.items()]
        rows = [weighted_mean(tf.nn.relu(excess), labels.get(ROW_WEIGHT)) for excess in beyond]
        return self.config.calibrator_weight * tf.add_n(rows)
