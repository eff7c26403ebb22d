"""Mixture of experts with one gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.config import MoeTrunk
from models.layers.expert_bank import ExpertBank
from models.layers.gates import make_gates
from models.trunks.gated import GatedTrunk


class Moe(GatedTrunk):
    """Experts and one gate (of kind `gate`) that all tasks share: every task gets the same mixture (OMoE).

    ``y_k = sum_e g(x)_e f_e(x)`` for every task k, ``g(x) = softmax(x W)`` (eq. 5 of the MMoE paper).

    Shapes:
        input: (batch, in).
        output: {task: (batch, units[-1])}.

    Example:
        >>> Moe(["click", "like"], MoeTrunk(experts=3, units=(8,)))(tf.ones((2, 4)))["like"].shape
        TensorShape([2, 8])

    Paper: Jacobs et al., Adaptive Mixtures of Local Experts, Neural Computation 1991; as OMoE in Ma et al., Modeling Task
    Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD 2018.
    """

    def __init__(self, tasks: Sequence[str], config: MoeTrunk, **kwargs: Any) -> None:
        super().__init__(tasks, config, **kwargs)
        policy = self.dtype_policy
        self.bank = ExpertBank(config.experts, config.units, config.dropout, name="experts", dtype=policy)
        self.gates = make_gates(self.gate, 1, config.experts, name="gates", dtype=policy)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """{task: (batch, units[-1])}."""
        mixed = tf.matmul(self.gates(inputs, training=training), self.bank(inputs, training=training))
        return dict.fromkeys(self.tasks, mixed[:, 0])

    def gate_weights(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """{"1/all tasks": (batch, experts)}."""
        return {"1/all tasks": self.gates(inputs)[:, 0]}

    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """{"1/all tasks": ("expert 1", ...)}."""
        return {"1/all tasks": tuple(f"expert {i + 1}" for i in range(self.bank.experts))}
