"""Numbers as trained sines and cosines."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class Periodic(tf.keras.layers.Layer):
    """Periodic encoding of numbers.

    ``y(x) = [x, sin(2 pi c_1 x), .., sin(2 pi c_k x), cos(2 pi c_1 x), .., cos(2 pi c_k x)]`` with trained ``c ~ N(0, sigma^2)`` for each
    number (eq. 3 of the paper; x itself is kept beside them).

    Args:
        frequencies: k.
        sigma: standard deviation of the initial frequencies, in cycles per unit of x.

    Shapes:
        input: (batch, numbers).
        output: (batch, numbers * (2 k + 1)).

    Example:
        >>> Periodic(frequencies=4, sigma=0.3)(tf.ones((2, 3))).shape
        TensorShape([2, 27])

    Paper: Gorishniy, Rubachev, Babenko, On Embeddings for Numerical Features in Tabular Deep Learning, NeurIPS 2022.
    """

    def __init__(self, frequencies: int, sigma: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frequencies = frequencies
        self.sigma = sigma

    def build(self, input_shape: Any) -> None:
        """Creates the frequencies (numbers, k)."""
        self.numbers = int(input_shape[-1])
        self.coefficients = self.add_weight(
            name="coefficients",
            shape=(self.numbers, self.frequencies),
            initializer=tf.keras.initializers.RandomNormal(stddev=self.sigma),
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The numbers with their sines and cosines."""
        angles = tf.constant(2 * 3.141592653589793, inputs.dtype) * inputs[:, :, None] * self.coefficients
        waves = tf.concat([inputs[:, :, None], tf.sin(angles), tf.cos(angles)], axis=-1)
        return tf.reshape(waves, (-1, self.numbers * (2 * self.frequencies + 1)))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "frequencies": self.frequencies, "sigma": self.sigma}

    @classmethod
    def initial(cls, config: Any, unit: tuple[bool, ...], **kwargs: Any) -> Periodic:
        """The layer that a configuration asks for."""
        del unit
        return cls(config.frequencies, config.sigma, **kwargs)
