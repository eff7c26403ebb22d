"""A stack of Dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.layers.dropout import Dropout


class Mlp(tf.keras.layers.Layer):
    """Multi-layer perceptron: ``h_l = relu(h_{l-1} W_l + b_l)``.

    Args:
        units: outputs of each layer; empty passes the input through.
        dropout: share of each layer's outputs dropped in training.

    Shapes:
        input: (batch, in).
        output: (batch, units[-1]), or the input's where `units` is empty.

    Example:
        >>> Mlp((8, 4))(tf.ones((2, 3))).shape
        TensorShape([2, 4])
    """

    def __init__(self, units: Sequence[int], dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.dropout = dropout
        policy = self.dtype_policy
        self.layers = [
            tf.keras.layers.Dense(n, activation="relu", name=f"dense_{i}", dtype=policy)
            for i, n in enumerate(self.units)
        ]
        self.dropouts = [Dropout(dropout, name=f"dropout_{i}", dtype=policy) for i in range(len(self.units))]

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """The last layer's outputs, (batch, units[-1])."""
        hidden = inputs
        for layer, dropout in zip(self.layers, self.dropouts, strict=True):
            hidden = dropout(layer(hidden), training=training)
        return hidden

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "units": self.units, "dropout": self.dropout}
