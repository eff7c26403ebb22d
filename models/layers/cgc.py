"""Customized gate control: one layer of PLE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.layers.expert_bank import ExpertBank
from models.layers.softmax_gates import SoftmaxGates


class Cgc(tf.keras.layers.Layer):
    """Shared and task-specific experts, a gate for each task and, between layers, one for the shared part.

    Task k (eq. 1 to 3): ``y_k = w_k(x_k) [E_k,1 .. E_k,m ; E_s,1 .. E_s,n]``, ``w_k(x) = softmax(x W_k)``: a task sees its own experts
    and the shared ones, no other task's. The shared part of a layer that is not the last sees all experts (section 4.3):
    ``y_s = w_s(x_s) [E_1,1 .. E_K,m ; E_s,1 .. E_s,n]``. Task k's experts read ``x_k``, shared experts ``x_s``.

    Args:
        tasks: number of tasks.
        task_experts: experts of each task.
        shared_experts: experts that all tasks see.
        units: layers of each expert.
        shared_gate: whether the shared part has a gate; the last layer has none.
        dropout: share of each expert layer's outputs dropped in training.

    Shapes:
        input: (batch, in) for the first layer, or (batch, tasks + 1, in), the shared part last.
        output: (batch, tasks, units[-1]), or (batch, tasks + 1, units[-1]) with `shared_gate`.

    Example:
        >>> Cgc(tasks=2, task_experts=2, shared_experts=3, units=(8,))(tf.ones((4, 5))).shape
        TensorShape([4, 2, 8])

    Paper: Tang et al., Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for Personalized
    Recommendations, RecSys 2020.
    """

    def __init__(
        self,
        tasks: int,
        task_experts: int,
        shared_experts: int,
        units: Sequence[int],
        shared_gate: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tasks, self.task_experts, self.shared_experts = tasks, task_experts, shared_experts
        self.units, self.shared_gate, self.dropout = tuple(units), shared_gate, dropout
        policy = self.dtype_policy
        own = tasks * task_experts
        # In the bank: task 0's experts, task 1's, ..., the shared ones.
        self.bank = ExpertBank(own + shared_experts, units, dropout, name="experts", dtype=policy)
        self.task_gates = SoftmaxGates(tasks, task_experts + shared_experts, name="task_gates", dtype=policy)
        if shared_gate:
            self.all_gate = SoftmaxGates(1, own + shared_experts, name="shared_gate", dtype=policy)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Each task's mixture, and the shared part's with `shared_gate`."""
        return self.mix(self.run_experts(inputs, training), self.gate_weights(inputs))

    def run_experts(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """All experts' outputs, (batch, experts, units[-1])."""
        if inputs.shape.rank == 3:
            tasks, shared = self._groups(inputs)
            own, common = tf.repeat(tasks, self.task_experts, axis=1), tf.repeat(shared, self.shared_experts, axis=1)
            inputs = tf.concat([own, common], axis=1)
        return self.bank(inputs, training=training)

    def gate_weights(self, inputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """(batch, tasks, own + shared experts), and with `shared_gate` (batch, 1, all experts)."""
        tasks, shared = self._groups(inputs) if inputs.shape.rank == 3 else (inputs, inputs)
        weights: tuple[tf.Tensor, ...] = (self.task_gates(tasks),)
        return (*weights, self.all_gate(shared)) if self.shared_gate else weights

    def mix(self, outputs: tf.Tensor, weights: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Experts' `outputs` (batch, experts, width) weighed by the gates: (batch, tasks [+ 1], width)."""
        own, shared = tf.split(weights[0], [self.task_experts, self.shared_experts], axis=2)
        # One product for all: each task weighs the other tasks' experts by 0.
        block_diagonal = own[:, :, None] * tf.eye(self.tasks, dtype=own.dtype)[:, :, None]
        own = tf.reshape(block_diagonal, (-1, self.tasks, self.tasks * self.task_experts))
        by_task = tf.concat([own, shared], axis=2)
        return tf.matmul(tf.concat([by_task, *weights[1:]], axis=1), outputs)

    def _groups(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The tasks' inputs, and the shared part's. (The gradient of a split is cheap, that of a slice is not.)"""
        tasks, shared = tf.split(inputs, [self.tasks, 1], axis=1)
        return tasks, shared

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        names = ("tasks", "task_experts", "shared_experts", "units", "shared_gate", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
