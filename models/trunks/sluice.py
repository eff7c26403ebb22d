"""Sluice networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.config import SluiceTrunk
from models.layers.expert_bank import ExpertBank
from models.layers.layer_mixture import LayerMixture
from models.layers.subspace_stitch import SubspaceStitch
from models.trunks.trunk import Trunk


class Sluice(Trunk):
    """One network a task; learned weights say which subspaces tasks share, and which layers a task reads.

    After each layer alpha mixes the subspaces of all tasks (see `SubspaceStitch`), and each task's output is the mixture beta
    of its layers so mixed (see `LayerMixture`). Training adds
    ``orthogonality * sum over tasks, layers and pairs s < u of subspaces of |G_s^T G_u|^2`` (squared Frobenius norm), where
    ``G_s`` are the columns of the layer's kernel (in, out) that give subspace s: no two subspaces shall look for the same.

    The paper has two subspaces; the authors' code splits the transposed matrices, so that it compares the i-th unit of one
    subspace with the i-th of the other only. It starts alpha with a bias to one source for each direction, in a pattern for two
    tasks: here that source is the subspace itself. Beta starts with a bias to the last layer, as there.

    Shapes:
        input: (batch, in).
        output: {task: (batch, units[-1])}.

    Example:
        >>> Sluice(["click", "like"], SluiceTrunk(units=(8,)))(tf.ones((2, 3)))["like"].shape
        TensorShape([2, 8])

    Paper: Ruder et al., Latent Multi-task Architecture Learning, AAAI 2019.
    """

    config: SluiceTrunk

    def __init__(self, tasks: Sequence[str], config: SluiceTrunk, **kwargs: Any) -> None:
        super().__init__(tasks, config, **kwargs)
        count, policy = len(self.tasks), self.dtype_policy
        self.banks = [
            ExpertBank(count, (units,), config.dropout, name=f"layer_{i}", dtype=policy)
            for i, units in enumerate(config.units, 1)
        ]
        self.stitches = [
            SubspaceStitch(config.subspaces, name=f"alpha_{i}", dtype=policy) for i, _ in enumerate(config.units, 1)
        ]
        self.mixture = LayerMixture(name="beta", dtype=policy)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        """{task: (batch, units[-1])}."""
        hidden, layers = inputs, []
        for bank, stitch in zip(self.banks, self.stitches, strict=True):
            hidden = stitch(bank(hidden, training=training))
            layers.append(hidden)
        if training and self.config.orthogonality:
            kernels = [bank.kernels[0] for bank in self.banks]
            overlaps = [overlap(kernel, self.config.subspaces) for kernel in kernels]
            self.add_loss(self.config.orthogonality * tf.add_n(overlaps))
        return self.by_task(self.mixture(layers))


def overlap(kernel: tf.Tensor, subspaces: int) -> tf.Tensor:
    """``sum over k and s < u of |G_ks^T G_ku|^2`` of a kernel (tasks, in, out) whose outputs fall into subspaces."""
    tasks, _, units = kernel.shape
    products = tf.matmul(kernel, kernel, transpose_a=True)
    blocks = tf.reshape(products, (tasks, subspaces, units // subspaces, subspaces, units // subspaces))
    squares = tf.reduce_sum(tf.square(blocks), axis=(0, 2, 4))
    return (tf.reduce_sum(squares) - tf.linalg.trace(squares)) / 2
