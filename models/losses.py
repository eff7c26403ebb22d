"""Losses from log-probabilities, and the arithmetic of log-probabilities."""

from __future__ import annotations

import tensorflow as tf


def log_add_exp(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """``log(exp(a) + exp(b))``, elementwise, exact for any finite `a` and `b`, gradients included.

    The larger one is taken out as a constant, so that where both are equal each gets half of the gradient.
    """
    larger = tf.stop_gradient(tf.maximum(a, b))
    return larger + tf.math.log(tf.exp(a - larger) + tf.exp(b - larger))


def log_loss(labels: tf.Tensor, log_p: tf.Tensor, log_not_p: tf.Tensor) -> tf.Tensor:
    """Cross entropy ``-(y log p + (1 - y) log(1 - p))``, (batch,), with both logarithms given.

    Nothing is clipped: a confident wrong prediction keeps its whole gradient.
    """
    return -(labels * log_p + (1 - labels) * log_not_p)


def squared_error(labels: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """``(y - v)^2``, (batch,)."""
    return tf.math.squared_difference(labels, values)


def masked_mean(rows: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Mean of `rows` over those whose `mask` is 1; 0 where there is none (PLE paper, eq. 8). No mask: all rows."""
    if mask is None:
        return tf.reduce_mean(rows)
    return tf.math.divide_no_nan(tf.reduce_sum(rows * mask), tf.reduce_sum(mask))
