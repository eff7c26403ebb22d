"""What interactions by products of features' vectors have in common."""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf

from features.errors import ModelError
from models.config import common_width, pairs_problem
from models.interactions.interactions import Interactions
from models.layers.glorot import glorot_each


class PairProducts(Interactions, abc.ABC):
    """Interactions that multiply the vectors of two features, which have one width there.

    It is that of most features (`common_width`). An embedding of another width takes part as ``v_i P_i``, a linear map to the common
    one, without bias; each group has maps of its own.

    Raises:
        ModelError: if there are no two vectors.

    Paper: Ginart et al., Mixed Dimension Embeddings with Application to Memory-Efficient Recommendation Systems, ISIT 2021
    (there to the largest width).
    """

    def build(self, input_shape: Any) -> None:
        """Creates a map (groups, width, common width) for each feature of another width."""
        if problem := pairs_problem(self.config, tuple(self.widths), int(input_shape[-1]) > sum(self.widths.values())):
            raise ModelError(problem)
        groups = int(input_shape[1]) if len(input_shape) == 3 else 1
        self.width = common_width(self.widths)
        self.projections = {
            name: self.add_weight(
                name=f"kernel_{name}", shape=(groups, width, self.width), initializer=glorot_each(width, self.width)
            )
            for name, width in self.widths.items()
            if width != self.width
        }
        super().build(input_shape)

    def split(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Vectors of the common width (batch, groups, features, width), and numbers and flags (batch, groups, rest); a group at least."""
        grouped = inputs if inputs.shape.rank == 3 else inputs[:, None]
        *vectors, rest = tf.split(
            grouped, [*self.widths.values(), grouped.shape[-1] - sum(self.widths.values())], axis=2
        )
        return tf.stack([self._common(*each) for each in zip(self.widths, vectors, strict=True)], axis=2), rest

    def _common(self, name: str, vector: tf.Tensor) -> tf.Tensor:
        projection = self.projections.get(name)
        return vector if projection is None else tf.einsum("bgi,gio->bgo", vector, tf.cast(projection, vector.dtype))
