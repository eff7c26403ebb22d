"""Numbers as bins that fill one after the other."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import tensorflow as tf


class PiecewiseLinear(tf.keras.layers.Layer):
    """Piecewise-linear encoding of numbers.

    Bin t of a number with edges ``b_0 < ... < b_T``: ``e_t(x) = (x - b_{t-1}) / (b_t - b_{t-1})``, cut to [0, 1], except that the first
    bin has no lower end and the last no upper end (eq. 1). A linear layer above can draw any piecewise-linear curve.

    Args:
        edges: (numbers, bins + 1) increasing edges of each number.

    Shapes:
        input: (batch, numbers).
        output: (batch, numbers * bins).

    Raises:
        ValueError: if a number's edges do not increase.

    Example:
        >>> PiecewiseLinear([[0.0, 1.0, 3.0]])(tf.constant([[0.5], [2.0]])).numpy().tolist()
        [[0.5, 0.0], [1.0, 0.5]]

    Paper: Gorishniy, Rubachev, Babenko, On Embeddings for Numerical Features in Tabular Deep Learning, NeurIPS 2022.
    """

    def __init__(self, edges: Sequence[Sequence[float]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.edges = tuple(tuple(map(float, row)) for row in edges)
        for row in self.edges:
            if any(low >= high for low, high in pairwise(row)):
                raise ValueError(f"the edges of a number must increase; got {row}")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """All bins of all numbers."""
        edges = tf.constant(self.edges, inputs.dtype)
        bins = len(self.edges[0]) - 1
        filled = (inputs[:, :, None] - edges[:, :-1]) / (edges[:, 1:] - edges[:, :-1])
        infinity = tf.constant([float("inf")], inputs.dtype)
        lowest = tf.concat([-infinity, tf.zeros(bins - 1, inputs.dtype)], axis=0)
        highest = tf.concat([tf.ones(bins - 1, inputs.dtype), infinity], axis=0)
        return tf.reshape(tf.clip_by_value(filled, lowest, highest), (-1, len(self.edges) * bins))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "edges": self.edges}

    @classmethod
    def initial(cls, config: Any, unit: tuple[bool, ...], **kwargs: Any) -> PiecewiseLinear:
        """Edges at equal shares: of [0, 1] for a `unit` number, of the standard normal distribution otherwise."""
        shares = [i / config.bins for i in range(config.bins + 1)]
        # The outer edges of the normal distribution are infinite; half a bin's share stands in for none.
        inner = [min(max(share, 0.5 / config.bins), 1 - 0.5 / config.bins) for share in shares]
        normal = [statistics.NormalDist().inv_cdf(share) for share in inner]
        return cls([shares if is_unit else normal for is_unit in unit], **kwargs)
