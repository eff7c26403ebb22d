"""The losses of a batch that has been looked up, and their gradients: what XLA compiles as one program."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.lookups import Embedded
from models.ranker import Ranker, Tensors


class DenseGradients(NamedTuple):
    """Of the total loss. A gradient is None where nothing of the loss hangs on a variable."""

    loss: tf.Tensor
    """The total loss, a scalar."""
    losses: dict[str, tf.Tensor]
    """{task: its own loss, unweighted}."""
    of_vectors: list[tf.Tensor]
    """By what was looked up, as `looked_up` lists it."""
    of_variables: list[tf.Tensor | None]
    """By the ranker's `dense_variables`."""


def looked_up(embedded: Embedded) -> list[tf.Tensor]:
    """All that comes from embedding tables."""
    vectors: list[tf.Tensor] = tf.nest.flatten((embedded.vectors, embedded.whole))
    return vectors


def dense_gradients(
    ranker: Ranker, embedded: Embedded, labels: Tensors, shares: Tensors | None = None
) -> DenseGradients:
    """`Ranker.dense_loss` in training, forwards and backwards.

    Together, for what the way back needs of a loop over steps are lists of tensors, which cannot leave an XLA program.
    """
    vectors, variables = looked_up(embedded), ranker.dense_variables
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss, losses = ranker.dense_loss(embedded, labels, training=True, shares=shares)
    of_vectors, of_variables = tape.gradient(loss, [vectors, variables])
    zeros = [tf.zeros_like(v) if g is None else g for g, v in zip(of_vectors, vectors, strict=True)]
    return DenseGradients(loss, losses, zeros, of_variables)
