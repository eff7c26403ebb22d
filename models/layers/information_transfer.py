"""Attention between what a task knows and what another one tells it."""

from __future__ import annotations

import tensorflow as tf


class InformationTransfer(tf.keras.layers.Layer):
    """AITM's Adaptive Information Transfer: ``z = sum_u w_u h_1(u)`` over ``u in {transferred, own}``.

    ``w = softmax(<h_2(u), h_3(u)> / sqrt(k))`` over the two u, and h_1, h_2, h_3 are linear and without bias, as in the authors'
    code (the paper calls them feed-forward). There h_2 is the query, h_3 the key, h_1 the value.
    Weights are float32 under mixed precision too.

    Shapes:
        input: transferred and own, both (batch, k).
        output: (batch, k).

    Example:
        >>> InformationTransfer()(tf.ones((2, 3)), tf.ones((2, 3))).shape
        TensorShape([2, 3])

    Paper: Xi et al., Modeling the Sequential Dependence among Audience Multi-step Conversions with Multi-task Learning in Targeted
    Display Advertising, KDD 2021.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the three projections, each (k, k)."""
        width = int(input_shape[-1])
        self.query, self.key, self.value = (
            tf.keras.layers.Dense(width, use_bias=False, name=name, dtype=self.dtype_policy)
            for name in ("query", "key", "value")
        )
        super().build(input_shape)

    def call(self, transferred: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
        """(batch, k)."""
        both = tf.stack([tf.cast(u, self.compute_dtype) for u in (transferred, own)], axis=1)
        products = tf.cast(self.query(both) * self.key(both), tf.float32)
        weights = tf.nn.softmax(tf.reduce_sum(products, axis=-1) / tf.sqrt(float(both.shape[-1])), axis=1)
        values = self.value(both)
        return tf.reduce_sum(tf.cast(weights, values.dtype)[:, :, tf.newaxis] * values, axis=1)
