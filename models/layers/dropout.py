"""Dropout whose masks a checkpoint can replay."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.layers.random_seed import add_random_state, next_uniform


class Dropout(tf.keras.layers.Layer):
    """Inverted dropout with its random state in a variable.

    ``y = x * m / (1 - rate)`` with ``m ~ Bernoulli(1 - rate)`` in training, ``y = x`` otherwise. The mask is a function of the
    layer's state, which checkpoints hold (see `models.layers.random_seed`).

    Args:
        rate: share of the inputs set to 0, in [0, 1).

    Shapes:
        input and output: any.

    Raises:
        ValueError: if `rate` is outside [0, 1).

    Example:
        >>> Dropout(0.5)(tf.ones((2, 3)), training=False).numpy().sum()
        6.0

    Paper: Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, JMLR 2014.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate is the share of inputs dropped; got {rate}, allowed: 0 <= rate < 1")
        self.rate = rate

    def build(self, input_shape: Any) -> None:
        """Creates the random state."""
        if self.rate:
            self.state = add_random_state(self)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Drops in training, passes through otherwise."""
        if not (training and self.rate):
            return inputs
        noise = next_uniform(self.state, tf.shape(inputs))
        keep = tf.cast(noise >= self.rate, inputs.dtype)
        return inputs * keep * tf.cast(1 / (1 - self.rate), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "rate": self.rate}
