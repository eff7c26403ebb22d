"""Mixture of experts whose tasks weigh each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.config import HmoeTrunk
from models.layers.expert_bank import ExpertBank
from models.layers.softmax_gates import SoftmaxGates
from models.layers.stopped_mixture import stopped_mixture
from models.trunks.mmoe import Mmoe


class Hmoe(Mmoe):
    """Implicit and explicit relations of tasks: MMoE, and above it gates by which each task hears all tasks' networks.

    ``h_k = sum_e g_k(x)_e f_e(x)`` as in MMoE, ``s_k = network_k(h_k)``, ``v_k(x) = softmax(x V_k)``, and
    ``y_k = v_k(x)_k s_k + sum_{j != k} v_k(x)_j stop_gradient(s_j)``: a task's loss trains its own gates, its own network and by it
    the experts; other tasks' networks are heard, not trained (the paper's task-constrained back-propagation). A head that composes along a chain (esmm, escm2, aitm)
    lets a task's loss through to its ancestors' ``y``, and so to their networks.

    The paper mixes in the label space: its tasks are one objective in several countries, ``s_k`` is a score, and another country's
    score is a second opinion of the same thing. Here tasks are different objectives: P(click) is no opinion of P(like), and a
    regression has a unit. So ``s_k`` is the last hidden layer below the score, as in ``model/hmoe.py`` of alipay's MMLRec (whose gates are perceptrons, by default of 64; these are linear), and
    the trunk goes with every head. With ``head: {kind: independent, tower_units: []}`` the score is linear in ``y_k``, which makes
    it the paper's sum, each opinion translated by the weights of task k's output.

    Shapes:
        input: (batch, in).
        output: {task: (batch, task_units[-1])}.

    Example:
        >>> Hmoe(["click", "like"], HmoeTrunk(experts=3, units=(8,), task_units=(4,)))(tf.ones((2, 4)))["like"].shape
        TensorShape([2, 4])

    Paper: Li et al., Improving Multi-Scenario Learning to Rank in E-commerce by Exploiting Task Relationships in the Label Space,
    CIKM 2020.
    """

    def __init__(self, tasks: Sequence[str], config: HmoeTrunk, **kwargs: Any) -> None:
        super().__init__(tasks, config, **kwargs)
        policy, count = self.dtype_policy, len(self.tasks)
        self.networks = ExpertBank(count, config.task_units, config.dropout, name="networks", dtype=policy)
        self.relations = SoftmaxGates(count, count, name="relations", dtype=policy)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """{task: (batch, task_units[-1])}."""
        own = self.networks(self.mixtures(inputs, training), training=training)
        trains = [[task == other for other in self.tasks] for task in self.tasks]
        return self.by_task(stopped_mixture(self.relations(inputs), own, trains))

    def gate_weights(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """{"1/task": (batch, experts), "2/task": (batch, tasks)}."""
        relations = {f"2/{task}": gate for task, gate in self.by_task(self.relations(inputs)).items()}
        return {**super().gate_weights(inputs), **relations}

    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """{"1/task": ("expert 1", ...), "2/task": the tasks}."""
        return {**super().expert_names(), **{f"2/{task}": self.tasks for task in self.tasks}}
