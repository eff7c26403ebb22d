"""Each subspace of each task's layer mixed with all others."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.layers.cross_stitch import own_first


class SubspaceStitch(tf.keras.layers.Layer):
    """Sluice networks' alpha: every subspace of every task becomes a mixture of all subspaces of all tasks.

    The width of each task falls into `subspaces` equal parts; with p and q running over all (task, subspace) pairs,
    ``y_p = sum_q alpha_pq x_q``.

    Args:
        subspaces: parts of each task's width.
        own_share: ``alpha_pp`` before training; the others share the rest of 1.

    Shapes:
        input and output: (batch, tasks, width).

    Raises:
        ValueError: if `subspaces` does not divide the width.

    Example:
        >>> SubspaceStitch(2, 0.7)(tf.constant([[[0.0, 0.0], [0.0, 10.0]]])).numpy().round(3).tolist()
        [[[1.0, 1.0], [1.0, 7.0]]]

    Paper: Ruder et al., Latent Multi-task Architecture Learning, AAAI 2019.
    """

    def __init__(self, subspaces: int, own_share: float = 0.9, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.subspaces = subspaces
        self.own_share = own_share

    def build(self, input_shape: Any) -> None:
        """Creates alpha, (tasks * subspaces, tasks * subspaces)."""
        tasks, width = int(input_shape[-2]), int(input_shape[-1])
        if width % self.subspaces:
            raise ValueError(f"{self.subspaces} subspaces do not divide a width of {width}; allowed: a divisor of it")
        start = own_first(tasks * self.subspaces, self.own_share)
        self.alpha = self.add_weight(name="alpha", shape=start.shape, initializer=tf.constant_initializer(start))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, tasks, width)."""
        tasks, width = inputs.shape[-2:]
        parts = tf.reshape(inputs, (-1, tasks * self.subspaces, width // self.subspaces))
        return tf.reshape(tf.matmul(self.alpha, parts), (-1, tasks, width))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "subspaces": self.subspaces, "own_share": self.own_share}
