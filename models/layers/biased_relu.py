"""The activation of many layers at once."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def biased_relu(products: tf.Tensor, biases: tf.Tensor) -> tf.Tensor:
    """``relu(products + biases)`` for a bank of networks.

    In bfloat16 sum and relu are one program that XLA compiles for each shape, and so is their gradient: TensorFlow's own kernels for
    bfloat16 go number by number through float32 on a CPU, and these passes over memory would take longer than the
    products between them. In float32, in which models are exported, it is TensorFlow's operations alone. Values are the same.

    Args:
        products: (networks, batch, units).
        biases: (networks, 1, units), of the same type.

    Returns:
        (networks, batch, units).

    Example:
        >>> biased_relu(tf.constant([[[1.0], [2.0]]]), tf.constant([[[-1.5]]])).numpy().tolist()
        [[[0.0], [0.5]]]
    """
    if products.dtype == tf.bfloat16:
        return _one_pass(products, biases)
    return tf.nn.relu(_add_biases(products, biases))


@tf.custom_gradient
def _add_biases(products: tf.Tensor, biases: tf.Tensor) -> Any:
    """Their sum, with a gradient of its own."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return upstream, _sum_of_rows(upstream)

    return products + biases, gradient


@tf.custom_gradient
def _one_pass(products: tf.Tensor, biases: tf.Tensor) -> Any:
    outputs = _activate(products, biases)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        through = _where_active(upstream, outputs)
        return through, _sum_of_rows(through)

    return outputs, gradient


@tf.function(jit_compile=True, autograph=False)
def _activate(products: tf.Tensor, biases: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(products + biases)


@tf.function(jit_compile=True, autograph=False)
def _where_active(upstream: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    return tf.where(outputs > 0, upstream, tf.zeros_like(upstream))


def _sum_of_rows(values: tf.Tensor) -> tf.Tensor:
    """(networks, 1, units): a product with ones sums rows faster than a sum does."""
    return tf.matmul(tf.ones((1, tf.shape(values)[1]), values.dtype), values)
