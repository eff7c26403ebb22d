"""Attention of a candidate to a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

AUTHORS_UNITS = (80, 40)
"""Hidden layers in the authors' code; the paper draws one of 36 units."""


class TargetAttention(tf.keras.layers.Layer):
    """Sum of a list's vectors, each weighed by what it says about the candidate.

    ``y = sum_j [j present] a(k_j, q) k_j`` (eq. 3) with keys k, the list's vectors, query q, the candidate's, and the activation unit
    ``a(k, q) = W_n(.. prelu(W_1 [k, q, k - q, k * q] + b_1) ..) + b_n``, one number. As in the paper, no softmax: the sum's length tells
    how strong the interest is. The paper draws PReLU or Dice in the unit; PReLU here, one slope a unit, 0.25 at first.

    Vectors with groups (``embeddings: stem``) share one activation unit: what makes a token relevant is learned from all
    tasks' vectors, though each group weighs its own.

    Args:
        units: hidden layers of the activation unit.

    Shapes:
        input: keys (batch, length, dim), query (batch, dim), present: bool (batch, length); or, with groups, keys (batch,
            length, groups, dim) and query (batch, groups, dim).
        output: (batch, dim), or (batch, groups, dim).

    Example:
        >>> TargetAttention()(tf.ones((2, 5, 4)), tf.ones((2, 4)), tf.zeros((2, 5), tf.bool)).numpy().sum()
        0.0

    Paper: Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018.
    """

    def __init__(self, units: Sequence[int] = AUTHORS_UNITS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = tuple(units)
        policy = self.dtype_policy
        self.hidden = [tf.keras.layers.Dense(n, name=f"dense_{i}", dtype=policy) for i, n in enumerate(self.units)]
        self.weight = tf.keras.layers.Dense(1, name="weight", dtype=policy)

    def build(self, input_shape: Any) -> None:
        """Creates the slopes of the PReLUs."""
        self.slopes = [
            self.add_weight(name=f"slope_{i}", shape=(n,), initializer=tf.keras.initializers.Constant(0.25))
            for i, n in enumerate(self.units)
        ]
        super().build(input_shape)

    def call(self, keys: tf.Tensor, query: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """(batch, dim) or (batch, groups, dim)."""
        query = tf.broadcast_to(tf.cast(query, keys.dtype)[:, None], tf.shape(keys))
        hidden = tf.concat([keys, query, keys - query, keys * query], axis=-1)
        for dense, slope in zip(self.hidden, self.slopes, strict=True):
            hidden = dense(hidden)
            hidden = tf.maximum(hidden, 0) + slope * tf.minimum(hidden, 0)
        mask = present[:, :, None, None] if keys.shape.rank == 4 else present[:, :, None]
        weights = tf.where(mask, self.weight(hidden), 0)
        # A sum without a divisor may be long and of both signs: in full precision.
        total = tf.reduce_sum(tf.cast(weights, tf.float32) * tf.cast(keys, tf.float32), axis=1)
        return tf.cast(total, keys.dtype)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "units": self.units}
