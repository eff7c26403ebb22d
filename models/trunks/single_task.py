"""One network a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.config import SingleTaskTrunk
from models.layers.expert_bank import ExpertBank
from models.trunks.trunk import Trunk


class SingleTask(Trunk):
    """Tasks share embeddings and nothing else: ``y_k = f_k(x)``, all ``f_k`` as one batched product.

    Shapes:
        input: (batch, in).
        output: {task: (batch, units[-1])}.

    Example:
        >>> SingleTask(["click", "like"], SingleTaskTrunk(units=(8,)))(tf.ones((2, 3)))["like"].shape
        TensorShape([2, 8])

    Paper: the baseline of Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts,
    KDD 2018, and of Tang et al., Progressive Layered Extraction (PLE), RecSys 2020.
    """

    def __init__(self, tasks: Sequence[str], config: SingleTaskTrunk, **kwargs: Any) -> None:
        super().__init__(tasks, config, **kwargs)
        self.bank = ExpertBank(len(self.tasks), config.units, config.dropout, name="networks", dtype=self.dtype_policy)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """{task: (batch, units[-1])}."""
        return self.by_task(self.bank(inputs, training=training))
