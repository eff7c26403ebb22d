"""Each task's activations mixed with those of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf


def own_first(parts: int, own: float) -> npt.NDArray[np.float64]:
    """(parts, parts) weights to begin with: `own` for a part itself, the other parts share the rest. Rows sum to 1."""
    if parts == 1:
        return np.ones((1, 1))
    return np.where(np.eye(parts, dtype=bool), own, (1 - own) / (parts - 1))


class CrossStitch(tf.keras.layers.Layer):
    """A cross-stitch unit for each channel: ``y_k[c] = sum_j alpha_kj[c] x_j[c]`` for tasks k and j (eq. 1).

    Before training ``alpha_kk = own_share`` (the paper's alpha_S), and the other tasks share the rest (alpha_D).

    Args:
        own_share: weight of a task's own activations before training.

    Shapes:
        input and output: (batch, tasks, width).

    Example:
        >>> CrossStitch(0.75)(tf.constant([[[0.0], [4.0]]])).numpy().tolist()
        [[[1.0], [3.0]]]

    Paper: Misra et al., Cross-stitch Networks for Multi-task Learning, CVPR 2016.
    """

    def __init__(self, own_share: float = 0.9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.own_share = own_share

    def build(self, input_shape: Any) -> None:
        """Creates alpha, (width, tasks, tasks)."""
        tasks, width = int(input_shape[-2]), int(input_shape[-1])
        start = np.repeat(own_first(tasks, self.own_share)[None], width, axis=0)
        self.alpha = self.add_weight(name="alpha", shape=start.shape, initializer=tf.constant_initializer(start))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, tasks, width)."""
        # By channels: (width, batch, tasks) times (width, tasks, tasks). What einsum makes of it is several times slower on CPUs.
        mixed = tf.matmul(tf.transpose(inputs, (2, 0, 1)), self.alpha, transpose_b=True)
        return tf.transpose(mixed, (1, 2, 0))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "own_share": self.own_share}
