"""The product that gates of every kind begin with."""

from __future__ import annotations

import tensorflow as tf


def gate_logits(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """``x_t W_t`` for every gate t in full precision: rounded logits would make near experts equal.

    Args:
        inputs: (batch, in), the same for all gates, or (batch, gates, in), one for each.
        kernel: float32 (gates, in, columns); a layer's own must not be cast (``experimental_autocast=False``).

    Returns:
        float32 (batch, gates, columns).

    Example:
        >>> gate_logits(tf.ones((2, 4)), tf.ones((3, 4, 5))).shape
        TensorShape([2, 3, 5])
    """
    gates, width, columns = kernel.shape
    inputs = tf.cast(inputs, tf.float32)
    if inputs.shape.rank == 3:
        return tf.transpose(tf.matmul(tf.transpose(inputs, (1, 0, 2)), kernel), (1, 0, 2))
    # Side by side: one product of many columns costs less than many of a few.
    side_by_side = tf.reshape(tf.transpose(kernel, (1, 0, 2)), (width, gates * columns))
    return tf.reshape(tf.matmul(inputs, side_by_side), (-1, gates, columns))
