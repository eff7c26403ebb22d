"""Customized gate control: one layer of PLE."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.config import CgcTrunk, GateConfig, SoftmaxGate
from models.layers.configured import Configured
from models.layers.expert_bank import ExpertBank
from models.layers.gates import make_gates
from models.layers.stopped_mixture import stopped_mixture


class Cgc(Configured):
    """Shared and task-specific experts, a gate for each task and, between layers, one for the shared part.

    Task k (section 4.1, eq. 2 to 4): ``y_k = w_k(x_k) [E_k,1 .. E_k,m ; E_s,1 .. E_s,n]``, ``w_k(x) = softmax(x W_k)``: a task
    sees its own experts and the shared ones, no other task's. The shared part of a layer that is not the last sees all
    experts (section 4.2): ``y_s = w_s(x_s) [E_1,1 .. E_K,m ; E_s,1 .. E_s,n]``. Task k's experts read ``x_k``, shared experts ``x_s``.

    With `all_forward` (STEM's all-forward task-specific-backward gates) every task sees all experts, and its gate reads
    ``x_k + x_s`` as in STEM's code (whose gates are perceptrons, by default of 128-64; these are linear as PLE's); but the gradient of ``y_k`` stops at other tasks' experts, so that only task k trains its own.
    The shared part's gradient stops at all tasks' experts: it serves every task. (STEM-Net has one layer and so no shared gate;
    its authors' code lets the gradients of several layers pass there, and with them one task's into another's experts.)

    Args:
        tasks: number of tasks.
        config: sizes.
        gate: how experts are weighed.
        shared_gate: whether the shared part has a gate; the last layer has none.
        all_forward: see above; each task has an input of its own.

    Shapes:
        input: (batch, in) for the first layer, or (batch, tasks + 1, in), the shared part last.
        output: (batch, tasks, units[-1]), or (batch, tasks + 1, units[-1]) with `shared_gate`.

    Example:
        >>> Cgc(tasks=2, config=CgcTrunk(task_experts=2, shared_experts=3, units=(8,)))(tf.ones((4, 5))).shape
        TensorShape([4, 2, 8])

    Paper: Tang et al., Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for Personalized
    Recommendations, RecSys 2020; Su et al., STEM: Unleashing the Power of Embeddings for Multi-Task Recommendation, AAAI 2024.
    """

    ARGUMENTS = {"tasks": int, "config": CgcTrunk, "gate": GateConfig, "shared_gate": bool, "all_forward": bool}

    def __init__(
        self,
        tasks: int,
        config: CgcTrunk,
        gate: GateConfig | None = None,
        shared_gate: bool = False,
        all_forward: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tasks, self.config, self.gate = tasks, config, gate or SoftmaxGate()
        self.shared_gate, self.all_forward = shared_gate, all_forward
        policy = self.dtype_policy
        every = tasks * config.task_experts + config.shared_experts
        seen = every if all_forward else config.task_experts + config.shared_experts
        # In the bank: task 0's experts, task 1's, ..., the shared ones.
        self.bank = ExpertBank(every, config.units, config.dropout, name="experts", dtype=policy)
        self.task_gates = make_gates(self.gate, tasks, seen, name="task_gates", dtype=policy)
        if shared_gate:
            self.all_gate = make_gates(self.gate, 1, every, name="shared_gate", dtype=policy)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Each task's mixture, and the shared part's with `shared_gate`."""
        return self.mix(self.run_experts(inputs, training), self.gate_weights(inputs, training))

    def run_experts(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """All experts' outputs, (batch, experts, units[-1])."""
        if inputs.shape.rank == 2:
            return self.bank(inputs, training=training)
        # Parts become experts after they are transposed: there are fewer of them.
        tasks, shared = tf.split(tf.transpose(inputs, (1, 0, 2)), [self.tasks, 1])
        own = tf.repeat(tasks, self.config.task_experts, axis=0)
        every = tf.concat([own, tf.repeat(shared, self.config.shared_experts, axis=0)], axis=0)
        return self.bank(every, training=training, experts_first=True)

    def gate_weights(self, inputs: tf.Tensor, training: bool | None = None) -> tuple[tf.Tensor, ...]:
        """(batch, tasks, own + shared experts, or all with `all_forward`), and with `shared_gate` (batch, 1, all experts)."""
        tasks, shared = self._groups(inputs) if inputs.shape.rank == 3 else (inputs, inputs)
        by_task = self.task_gates(tasks + shared if self.all_forward else tasks, training=training)
        return (by_task, self.all_gate(shared, training=training)) if self.shared_gate else (by_task,)

    def mix(self, outputs: tf.Tensor, weights: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Experts' `outputs` (batch, experts, width) weighed by the gates: (batch, tasks [+ 1], width)."""
        if self.all_forward:
            return stopped_mixture(tf.concat(weights, axis=1), outputs, self._trains())
        own, shared = tf.split(weights[0], [self.config.task_experts, self.config.shared_experts], axis=2)
        # One product for all: each task weighs the other tasks' experts by 0.
        block_diagonal = own[:, :, None] * tf.eye(self.tasks, dtype=own.dtype)[:, :, None]
        own = tf.reshape(block_diagonal, (-1, self.tasks, self.tasks * self.config.task_experts))
        by_task = tf.concat([own, shared], axis=2)
        return tf.matmul(tf.concat([by_task, *weights[1:]], axis=1), outputs)

    def _groups(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The tasks' inputs, and the shared part's. (The gradient of a split is cheap, that of a slice is not.)"""
        tasks, shared = tf.split(inputs, [self.tasks, 1], axis=1)
        return tasks, shared

    def _trains(self) -> list[list[bool]]:
        """Of each output and each expert of the bank: whether the one trains the other."""
        owners = [task for task in range(self.tasks) for _ in range(self.config.task_experts)]
        owners += [-1] * self.config.shared_experts
        parts = [*range(self.tasks), -1] if self.shared_gate else range(self.tasks)
        return [[owner in (part, -1) for owner in owners] for part in parts]
