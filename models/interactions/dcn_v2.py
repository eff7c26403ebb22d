"""Deep and cross network, version 2."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from models.config import DcnV2Interactions
from models.interactions.interactions import Interactions


class DcnV2(Interactions):
    """Cross layers over all features, numbers included; the trunk stands on the last one (the paper's stacked structure).

    ``x_{l+1} = x_0 * (W_l x_l + b_l) + x_l`` (eq. 1); with `rank`, ``W_l = U_l V_l^T`` (eq. 2). Each is one
    ``tfrs.layers.feature_interaction.Cross``, which multiplies in float32 under mixed precision too.

    Shapes:
        input and output: (batch, in) or (batch, groups, in).

    Example:
        >>> DcnV2({"user": 2, "item": 2}, DcnV2Interactions(layers=3))(tf.ones((2, 5))).shape
        TensorShape([2, 5])

    Paper: Wang et al., DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank Systems,
    WWW 2021.
    """

    CONFIG = DcnV2Interactions
    config: DcnV2Interactions

    def build(self, input_shape: Any) -> None:
        """Creates the cross layers of each group."""
        groups = int(input_shape[1]) if len(input_shape) == 3 else 1
        self.crosses = [
            [
                tfrs.layers.feature_interaction.Cross(
                    projection_dim=self.config.rank, name=f"cross_{group}_{i}", dtype=self.dtype_policy
                )
                for i in range(self.config.layers)
            ]
            for group in range(groups)
        ]
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, in) or (batch, groups, in)."""
        if inputs.shape.rank == 2:
            return _crossed(inputs, self.crosses[0])
        groups = zip(tf.unstack(inputs, axis=1), self.crosses, strict=True)
        return tf.stack([_crossed(group, layers) for group, layers in groups], axis=1)


def _crossed(first: tf.Tensor, layers: list[tf.keras.layers.Layer]) -> tf.Tensor:
    crossed = first
    for layer in layers:
        crossed = layer(first, crossed)
    return crossed
