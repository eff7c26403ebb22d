"""Deep and cross network, version 2."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.config import DcnV2Interactions
from models.interactions.interactions import Interactions
from models.layers.cross import Cross


class DcnV2(Interactions):
    """Cross layers over all features, numbers included; the trunk stands on the last one (the paper's stacked structure).

    ``x_{l+1} = x_0 * (W_l x_l + b_l) + x_l`` (eq. 1); with `rank`, ``W_l = U_l V_l^T`` (eq. 2). Each is one
    `models.layers.cross.Cross`.

    Shapes:
        input and output: (batch, in) or (batch, groups, in).

    Example:
        >>> DcnV2({"user": 2, "item": 2}, DcnV2Interactions(layers=3))(tf.ones((2, 5))).shape
        TensorShape([2, 5])

    Paper: Wang et al., DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank Systems,
    WWW 2021.
    """

    config: DcnV2Interactions

    def build(self, input_shape: Any) -> None:
        """Creates the cross layers."""
        self.crosses = [
            Cross(self.config.rank, name=f"cross_{i}", dtype=self.dtype_policy) for i in range(self.config.layers)
        ]
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, in) or (batch, groups, in)."""
        crossed = first = inputs if inputs.shape.rank == 3 else inputs[:, None]
        for cross in self.crosses:
            crossed = cross(first, crossed)
        return crossed if inputs.shape.rank == 3 else crossed[:, 0]
