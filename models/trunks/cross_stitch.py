"""Cross-stitch networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.config import CrossStitchTrunk
from models.layers.cross_stitch import CrossStitch
from models.layers.expert_bank import ExpertBank
from models.trunks.trunk import Trunk


class CrossStitchNetworks(Trunk):
    """One network a task; after each layer every task goes on with a mixture of all tasks' activations.

    ``h_k^l = relu(m_k^{l-1} W_k^l + b_k^l)``, ``m_k^l[c] = sum_j alpha_kj^l[c] h_j^l[c]``, ``m_k^0 = x``, ``y_k = m_k^L``: a unit
    for each channel (section 5), after every layer. The paper found one unit a layer more stable for another pair of tasks
    (section 6), starts from networks trained alone, and trains alpha at 100 to 1000 times the learning rate of SGD (section 5);
    here all start together, at one rate: the steps of Adam and Adagrad do not shrink with the gradient.

    Shapes:
        input: (batch, in).
        output: {task: (batch, units[-1])}.

    Example:
        >>> CrossStitchNetworks(["click", "like"], CrossStitchTrunk(units=(8,)))(tf.ones((2, 3)))["like"].shape
        TensorShape([2, 8])

    Paper: Misra et al., Cross-stitch Networks for Multi-task Learning, CVPR 2016.
    """

    def __init__(self, tasks: Sequence[str], config: CrossStitchTrunk, **kwargs: Any) -> None:
        super().__init__(tasks, config, **kwargs)
        count, policy = len(self.tasks), self.dtype_policy
        self.banks = [
            ExpertBank(count, (units,), config.dropout, name=f"layer_{i}", dtype=policy)
            for i, units in enumerate(config.units, 1)
        ]
        self.stitches = [
            CrossStitch(config.own_share, name=f"stitch_{i}", dtype=policy) for i, _ in enumerate(config.units, 1)
        ]

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """{task: (batch, units[-1])}."""
        hidden = inputs
        for bank, stitch in zip(self.banks, self.stitches, strict=True):
            hidden = stitch(bank(hidden, training=training))
        return self.by_task(hidden)
