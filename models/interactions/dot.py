"""DLRM's dot products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from models.config import DotInteractions
from models.interactions.pair_products import PairProducts
from models.layers.expert_bank import ExpertBank


class Dot(PairProducts):
    """Dot products of all pairs of vectors, beside the features: each embedding is one, and all numbers make one more.

    ``z = Mlp(numbers, flags)`` (the bottom network, ReLU at its end, as wide as an embedding);
    ``y = [x, z, v_i . v_j for all i < j]`` with v the embeddings (of one width: `PairProducts`) and z. Without numbers there is no z. DLRM's top network reads
    ``[z, v_i . v_j]`` alone; x stays here, so that trunks of all interactions read at least the features.

    The products are ``tfrs.layers.feature_interaction.DotInteraction``'s, asked for the whole matrix: its own choice of
    pairs is a boolean mask, a shape that depends on data and that XLA only pads. The pairs are gathered here. (Its
    ``get_config`` leaves its arguments out, too.)

    Shapes:
        input: (batch, in) or (batch, groups, in).
        output: (batch, in + width + pairs) or (batch, groups, in + width + pairs).

    Example:
        >>> Dot({"user": 2, "item": 2}, DotInteractions())(tf.constant([[1.0, 2.0, 3.0, 4.0]])).numpy()
        array([[ 1.,  2.,  3.,  4., 11.]], dtype=float32)

    Paper: Naumov et al., Deep Learning Recommendation Model for Personalization and Recommendation Systems, 2019.
    """

    config: DotInteractions

    def __init__(self, widths: Mapping[str, int], config: DotInteractions, **kwargs: Any) -> None:
        super().__init__(widths, config, **kwargs)
        self.products = tfrs.layers.feature_interaction.DotInteraction(skip_gather=True, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        """Creates the bottom network of each group, if there are numbers."""
        super().build(input_shape)
        groups = int(input_shape[1]) if len(input_shape) == 3 else 1
        self.bottom = None
        if int(input_shape[-1]) > sum(self.widths.values()):
            self.bottom = ExpertBank(
                groups, (*self.config.bottom_units, self.width), name="bottom", dtype=self.dtype_policy
            )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(batch, in + width + pairs) or (batch, groups, in + width + pairs)."""
        vectors, numbers = self.split(inputs)
        bottom = [] if self.bottom is None else [self.bottom(numbers)]
        vectors = tf.concat([vectors, *(z[:, :, None] for z in bottom)], axis=2)
        groups, count, width = vectors.shape[1:]
        matrix = self.products(tf.unstack(tf.reshape(vectors, (-1, count, width)), axis=1))
        rows, columns = np.tril_indices(count, -1)
        pairs = tf.reshape(tf.gather(matrix, rows * count + columns, axis=1), (-1, groups, len(rows)))
        added = tf.concat([*bottom, pairs], axis=-1)
        return tf.concat([inputs, added if inputs.shape.rank == 3 else added[:, 0]], axis=-1)
