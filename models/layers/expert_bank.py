"""Many expert networks of one shape, computed together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.layers.biased_relu import biased_relu
from models.layers.dropout import Dropout
from models.layers.glorot import glorot_each


class ExpertBank(tf.keras.layers.Layer):
    """`experts` multi-layer perceptrons as one batched matrix product a layer.

    ``h_0 = x;  h_l[e] = relu(h_{l-1}[e] W_l[e] + b_l[e])``, where ``W_l`` is one weight (experts, in, out), drawn for each
    expert as Dense draws its kernel (Glorot uniform). Equal to a loop over Dense layers, which the tests check.

    Args:
        experts: number of networks.
        units: outputs of each layer.
        dropout: share of each layer's outputs dropped in training.

    Shapes:
        input: (batch, in), the same for all experts, or (batch, experts, in), one for each.
        output: (batch, experts, units[-1]).

    Raises:
        ValueError: if `experts` is below 1 or `units` is empty.

    Example:
        >>> ExpertBank(experts=5, units=(8, 4))(tf.ones((2, 3))).shape
        TensorShape([2, 5, 4])

    Paper: Jacobs et al., Adaptive Mixtures of Local Experts, Neural Computation 1991.
    """

    def __init__(self, experts: int, units: Sequence[int], dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if experts < 1 or not units:
            raise ValueError(f"a bank needs at least one expert of at least one layer; got {experts} of {tuple(units)}")
        self.experts = experts
        self.units = tuple(units)
        self.dropout = dropout
        self.dropouts = [Dropout(dropout, name=f"dropout_{i}", dtype=self.dtype_policy) for i in range(len(self.units))]

    def build(self, input_shape: Any) -> None:
        """Creates one kernel (experts, in, out) and one bias (experts, 1, out) a layer."""
        widths = [int(input_shape[-1]), *self.units]
        self.kernels, self.biases = [], []
        for i, (width, units) in enumerate(zip(widths, self.units, strict=False)):
            self.kernels.append(
                self.add_weight(
                    name=f"kernel_{i}",
                    shape=(self.experts, width, units),
                    initializer=glorot_each(width, units),
                    experimental_autocast=False,  # sluice networks penalise it in full precision
                )
            )
            self.biases.append(self.add_weight(name=f"bias_{i}", shape=(self.experts, 1, units), initializer="zeros"))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None, experts_first: bool = False) -> tf.Tensor:
        """All experts' outputs, (batch, experts, units[-1]); with `experts_first` the inputs are (experts, batch, in)."""
        # The product runs over (experts, batch, width); an input that all experts share is broadcast, not copied.
        hidden = inputs if inputs.shape.rank == 2 or experts_first else tf.transpose(inputs, (1, 0, 2))
        for kernel, bias, dropout in zip(self.kernels, self.biases, self.dropouts, strict=True):
            products = tf.matmul(hidden, tf.cast(kernel, hidden.dtype))
            hidden = dropout(biased_relu(products, tf.convert_to_tensor(bias)), training=training)
        return tf.transpose(hidden, (1, 0, 2))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "experts": self.experts, "units": self.units, "dropout": self.dropout}
