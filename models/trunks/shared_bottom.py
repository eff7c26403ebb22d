"""Hard parameter sharing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.config import SharedBottomTrunk
from models.layers.mlp import Mlp
from models.trunks.trunk import Trunk


class SharedBottom(Trunk):
    """One network for all tasks: ``y_k = f(x)`` for every task k.

    Shapes:
        input: (batch, in).
        output: {task: (batch, units[-1])}, the same tensor for all.

    Example:
        >>> SharedBottom(["click", "like"], SharedBottomTrunk(units=(8,)))(tf.ones((2, 3)))["like"].shape
        TensorShape([2, 8])

    Paper: Caruana, Multitask Learning, Machine Learning 28, 1997.
    """

    def __init__(self, tasks: Sequence[str], config: SharedBottomTrunk, **kwargs: Any) -> None:
        super().__init__(tasks, config, **kwargs)
        self.bottom = Mlp(config.units, config.dropout, name="bottom", dtype=self.dtype_policy)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """{task: (batch, units[-1])}."""
        hidden = self.bottom(inputs, training=training)
        return dict.fromkeys(self.tasks, hidden)
