"""One task's own network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.layers.mlp import Mlp


class Tower(tf.keras.layers.Layer):
    """A perceptron with linear outputs: ``y = Mlp(x) W + b``, with `b` starting at `bias`.

    The last product is float32 under mixed precision too: logits of rare tasks need it.

    Args:
        units: hidden layers, may be empty.
        bias: initial value of each output's bias; its length is the number of outputs.
        dropout: share of each hidden layer's outputs dropped in training.

    Shapes:
        input: (batch, in).
        output: float32 (batch, len(bias)).

    Example:
        >>> Tower((8,), bias=[-3.0])(tf.zeros((2, 4))).numpy().tolist()
        [[-3.0], [-3.0]]
    """

    def __init__(self, units: Sequence[int], bias: Sequence[float], dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.bias = tuple(map(float, bias))
        self.dropout = dropout
        self.hidden = Mlp(self.units, dropout, name="hidden", dtype=self.dtype_policy)
        self.output_layer = tf.keras.layers.Dense(
            len(self.bias),
            bias_initializer=tf.keras.initializers.Constant(self.bias),
            dtype="float32",
            name="output",
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """(batch, len(bias))."""
        return self.output_layer(self.hidden(inputs, training=training))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "units": self.units, "bias": self.bias, "dropout": self.dropout}
