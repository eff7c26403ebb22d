"""The product that gates of every kind begin with."""

from __future__ import annotations

import tensorflow as tf


def gate_logits(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """``x_t W_t`` for every gate t, float32: bfloat16 exponentials would not sum to 1.

    Args:
        inputs: (batch, in), the same for all gates, or (batch, gates, in), one for each.
        kernel: (gates, in, columns).

    Returns:
        float32 (batch, gates, columns).

    Example:
        >>> gate_logits(tf.ones((2, 4)), tf.ones((3, 4, 5))).shape
        TensorShape([2, 3, 5])
    """
    gates, width, columns = kernel.shape
    if inputs.shape.rank == 3:
        logits = tf.transpose(tf.matmul(tf.transpose(inputs, (1, 0, 2)), kernel), (1, 0, 2))
    else:  # side by side: one product of many columns costs less than many of a few
        side_by_side = tf.reshape(tf.transpose(kernel, (1, 0, 2)), (width, gates * columns))
        logits = tf.reshape(tf.matmul(inputs, side_by_side), (-1, gates, columns))
    return tf.cast(logits, tf.float32)
