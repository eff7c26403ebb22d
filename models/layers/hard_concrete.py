"""Gates that training draws between 0 and 1, and often at exactly 0 or 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.layers.random_seed import add_random_state, next_uniform


class HardConcrete(tf.keras.layers.Layer):
    """Multiplies its input by gates z of the hard concrete distribution, one draw a call.

    In training ``u ~ Uniform(0, 1)``, ``s = sigmoid((log u - log(1 - u) + log_alpha) / beta)`` and
    ``z = min(1, max(0, s (zeta - gamma) + gamma))`` (eq. 10 and 11); otherwise s is ``sigmoid(log_alpha)`` (eq. 13). (Some
    public code divides ``log_alpha`` alone by beta, not the noise; this is the paper's.) ``log_alpha`` is trained; it starts
    about 0, where z is 1/2 in the mean, as in the authors' code. Draws replay from checkpoints
    (see `models.layers.random_seed`).

    Args:
        shape: of the gates.
        beta: temperature; the smaller, the nearer draws are to 0 or 1.
        gamma: below 0; with `zeta` it stretches s beyond (0, 1), so that the ends get a chance of their own.
        zeta: above 1.

    Shapes:
        input and output: (*shape, ...).

    Raises:
        ValueError: unless ``beta > 0``, ``gamma < 0`` and ``zeta > 1``.

    Example:
        >>> HardConcrete((2, 3))(tf.ones((2, 3)), training=True).shape
        TensorShape([2, 3])

    Paper: Louizos et al., Learning Sparse Neural Networks through L0 Regularization, ICLR 2018.
    """

    def __init__(
        self, shape: Sequence[int], beta: float = 2 / 3, gamma: float = -0.1, zeta: float = 1.1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not (beta > 0 and gamma < 0 and zeta > 1):
            raise ValueError(f"got beta={beta}, gamma={gamma}, zeta={zeta}; allowed: beta > 0, gamma < 0, zeta > 1")
        self.shape = tuple(shape)
        self.beta, self.gamma, self.zeta = beta, gamma, zeta

    def build(self, input_shape: Any) -> None:
        """Creates ``log_alpha`` and the random state."""
        self.log_alpha = self.add_weight(
            name="log_alpha",
            shape=self.shape,
            initializer=tf.keras.initializers.RandomNormal(0, 0.01),
            experimental_autocast=False,
        )
        self.state = add_random_state(self)
        super().build(input_shape)

    def gates(self, training: bool | None = None) -> tf.Tensor:
        """z: drawn in training, fixed otherwise. In full precision."""
        if training:
            u = next_uniform(self.state, self.shape, self.log_alpha.dtype)
            s = tf.sigmoid((tf.math.log(u) - tf.math.log1p(-u) + self.log_alpha) / self.beta)
        else:
            s = tf.sigmoid(self.log_alpha)
        return tf.clip_by_value(s * (self.zeta - self.gamma) + self.gamma, 0, 1)

    def open_chance(self) -> tf.Tensor:
        """Each gate's ``P(z > 0) = sigmoid(log_alpha - beta log(-gamma / zeta))`` (eq. 12); its sum is the expected L0."""
        return tf.sigmoid(self.log_alpha - self.beta * math.log(-self.gamma / self.zeta))

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """The gated input."""
        gates = tf.cast(self.gates(training), inputs.dtype)
        return inputs * tf.reshape(gates, self.shape + (1,) * (inputs.shape.rank - len(self.shape)))

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        arguments = {"shape": self.shape, "beta": self.beta, "gamma": self.gamma, "zeta": self.zeta}
        return {**super().get_config(), **arguments}
