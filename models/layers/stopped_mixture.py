"""A weighted sum of which parts are heard but not trained."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def stopped_mixture(weights: tf.Tensor, outputs: tf.Tensor, passes: Sequence[Sequence[bool]]) -> tf.Tensor:
    """``y_k = sum_e w_k,e (f_e if passes_k,e else stop_gradient(f_e))``, for all k at once.

    Args:
        weights: (batch, k, experts); they get their whole gradient.
        outputs: (batch, experts, width).
        passes: (k, experts), whether y_k's gradient goes on to ``f_e``; elsewhere it is exactly 0.

    Returns:
        (batch, k, width).

    Example:
        >>> outputs = tf.constant([[[1.0], [2.0]]])
        >>> with tf.GradientTape() as tape:
        ...     tape.watch(outputs)
        ...     mixed = stopped_mixture(tf.constant([[[0.5, 0.5]]]), outputs, [[True, False]])
        >>> mixed.numpy().tolist(), tape.gradient(mixed, outputs).numpy().tolist()
        ([[[1.5]]], [[[0.5], [0.0]]])

    Paper: Su et al., STEM: Unleashing the Power of Embeddings for Multi-task Recommendation, AAAI 2024 (tasks' experts); Li et
    al., Improving Multi-Scenario Learning to Rank in E-commerce by Exploiting Task Relationships in the Label Space (HMoE),
    CIKM 2020 (tasks' networks).
    """
    trained = tf.cast(tf.constant(passes), weights.dtype)
    heard = tf.matmul(weights * (1 - trained), tf.stop_gradient(outputs))
    return tf.matmul(weights * trained, outputs) + heard
