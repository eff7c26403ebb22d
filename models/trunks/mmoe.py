"""Multi-gate mixture of experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.config import HmoeTrunk, MmoeTrunk
from models.layers.expert_bank import ExpertBank
from models.layers.gates import make_gates
from models.trunks.gated import GatedTrunk


class Mmoe(GatedTrunk):
    """Experts that all tasks share, and a gate for each task (of kind `gate`; the paper's is softmax).

    ``y_k = sum_e g_k(x)_e f_e(x)``, ``g_k(x) = softmax(x W_k)`` (eq. 6 and 7).

    Shapes:
        input: (batch, in).
        output: {task: (batch, units[-1])}.

    Example:
        >>> Mmoe(["click", "like"], MmoeTrunk(experts=3, units=(8,)))(tf.ones((2, 4)))["like"].shape
        TensorShape([2, 8])

    Paper: Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD 2018.
    """

    def __init__(self, tasks: Sequence[str], config: MmoeTrunk | HmoeTrunk, **kwargs: Any) -> None:
        super().__init__(tasks, config, **kwargs)
        policy = self.dtype_policy
        self.bank = ExpertBank(config.experts, config.units, config.dropout, name="experts", dtype=policy)
        self.gates = make_gates(self.gate, len(self.tasks), config.experts, name="gates", dtype=policy)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """{task: (batch, units[-1])}."""
        return self.by_task(self.mixtures(inputs, training))

    def mixtures(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Each task's mixture of the experts, (batch, tasks, units[-1])."""
        return tf.matmul(self.gates(inputs, training=training), self.bank(inputs, training=training))

    def gate_weights(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """{"1/task": (batch, experts)}."""
        return {f"1/{task}": gate for task, gate in self.by_task(self.gates(inputs)).items()}

    def expert_names(self) -> dict[str, tuple[str, ...]]:
        """{"1/task": ("expert 1", ...)}."""
        names = tuple(f"expert {i + 1}" for i in range(self.bank.experts))
        return {f"1/{task}": names for task in self.tasks}
