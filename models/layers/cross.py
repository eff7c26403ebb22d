"""Cross layers of many groups, computed together."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class Cross(tf.keras.layers.Layer):
    """One cross layer a group: ``x_{l+1} = x_0 * (x_l W + b) + x_l``, with `rank` ``W = U V`` (the paper's eq. 1 and 2).

    Weights are drawn as ``tfrs.layers.feature_interaction.Cross`` draws them; that one multiplies in float32 under mixed
    precision too, knows no groups and leaves its kernels' names to Keras' counters.

    Args:
        rank: columns of U; None: W is one full matrix.

    Shapes:
        input: x_0 and x_l, both (batch, groups, in).
        output: (batch, groups, in).

    Example:
        >>> Cross()(tf.ones((2, 3, 4)), tf.ones((2, 3, 4))).shape
        TensorShape([2, 3, 4])

    Paper: Wang et al., DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning to Rank Systems,
    WWW 2021.
    """

    def __init__(self, rank: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rank = rank

    def build(self, input_shape: Any) -> None:
        """Creates W (groups, in, in), or U (groups, in, rank) and V (groups, rank, in), and the bias (groups, in)."""
        groups, width = int(input_shape[-2]), int(input_shape[-1])
        middle = [] if self.rank is None else [self.rank]
        self.kernels = [
            self.add_weight(name=f"kernel_{i}", shape=(groups, *shape), initializer="truncated_normal")
            for i, shape in enumerate(zip([width, *middle], [*middle, width], strict=True))
        ]
        self.bias = self.add_weight(name="bias", shape=(groups, width), initializer="zeros")
        super().build(input_shape)

    def call(self, first: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, groups, in)."""
        product = tf.transpose(inputs, (1, 0, 2))
        for kernel in self.kernels:
            product = tf.matmul(product, kernel)
        return first * (tf.transpose(product, (1, 0, 2)) + self.bias) + inputs

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "rank": self.rank}
