"""Gates that learn by gradient which few experts they open."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from models.config import DselectKGate
from models.layers.configured import Configured
from models.layers.gate_logits import gate_logits

SMALL = 1e-6
"""Added to a probability before its logarithm is taken, as in the authors' code."""
LEAST_REACHED = 1e-3
"""Of a selector's weight on the experts there are, where it divides."""


class DselectKGates(Configured):
    """`gates` sparse gates over the same number of experts, computed together; all of each is differentiable.

    Experts are numbered in binary, by ``m = ceil(log2(experts))`` digits. A selector of one expert has a logit z_j for each
    digit (section 3.1):
    ``r(z)_i = product over digits j of S(z_j) if digit j of i is 1, else 1 - S(z_j)``, with the smooth step
    ``S(t) = 0 below -gamma/2, 1 above gamma/2, -2/gamma^3 t^3 + 3/(2 gamma) t + 1/2 between``, so that r becomes exactly one-hot.
    A gate mixes k selectors: ``q = sum_l softmax(alpha)_l r(z^(l))``. By default they depend on the row,
    ``alpha = x G`` and ``z^(l) = x W^(l)``, without biases; in the static form alpha and z are trained themselves, one
    choice for all rows.

    Training adds two terms to the loss, summed over gates and selectors (and the mean over rows, where the authors' code sums
    them); i runs over the experts:

    - ``entropy sum_i -r_i log r_i`` drives selectors to one expert each;
    - where the number of experts is no power of 2, some codes have no expert: ``unreachable (1 / sum_i r_i - 1)`` drives selectors
      away from those. (The paper's weight is 1, and it does not subtract the least value, which moves no gradient.) Until that
      is done a gate's weights sum to less than 1. A sum below `LEAST_REACHED` counts as that, where the authors divide by what may be 0.

    Args:
        gates: number of gates, usually one a task.
        experts: weights of each gate.
        config: see `models.config.DselectKGate`.

    Shapes:
        input: (batch, in), the same for all gates, or (batch, gates, in), one for each.
        output: (batch, gates, experts); once settled, each row sums to 1 (to bfloat16's rounding under mixed precision) and at most
            k of its weights are not 0.

    Raises:
        ValueError: if there are fewer experts than 2 or `k`.

    Example:
        >>> gates = DselectKGates(gates=1, experts=4, config=DselectKGate(k=2))
        >>> gates(tf.zeros((1, 3))).numpy()
        array([[[0.25, 0.25, 0.25, 0.25]]], dtype=float32)

    Paper: Hazimeh et al., DSelect-k: Differentiable Selection in the Mixture of Experts with Applications to Multi-Task
    Learning, NeurIPS 2021.
    """

    ARGUMENTS = {"gates": int, "experts": int, "config": DselectKGate}

    def __init__(self, gates: int, experts: int, config: DselectKGate, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if experts < 2:
            raise ValueError(f"a gate selects from at least 2 experts; got {experts}")
        if config.k > experts:
            raise ValueError(f"a gate selects at most k of its experts; got k {config.k}, allowed: 1 to {experts}")
        self.gates, self.experts, self.config = gates, experts, config
        self.digits = (experts - 1).bit_length()
        codes = np.arange(experts)[:, None] >> np.arange(self.digits)[::-1] & 1
        self.codes = codes.astype(bool)  # (experts, digits), the highest digit first

    @classmethod
    def initial(cls, config: DselectKGate, gates: int, experts: int, **kwargs: Any) -> DselectKGates:
        """The gates that a configuration asks for."""
        return cls(gates, experts, config, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Creates kernels (gates, in, k [x digits]), or in the static form logits (gates, k [x digits])."""
        k = self.config.k
        rows = (self.gates, int(input_shape[-1])) if self.config.per_example else (1, self.gates)
        near = self.config.gamma / 100  # all digits start undecided, as in the authors' code
        self.digit_kernel = self.add_weight(
            name="digits",
            shape=(*rows, k * self.digits),
            initializer=tf.keras.initializers.RandomUniform(-near, near),
            experimental_autocast=False,
        )
        self.selector_kernel = self.add_weight(
            name="selectors",
            shape=(*rows, k),
            initializer=tf.keras.initializers.RandomUniform(-0.05, 0.05),
            experimental_autocast=False,
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Each gate's weights, (batch, gates, experts)."""
        selectors = self._selectors(self._logits(inputs, self.digit_kernel))
        if training:
            self._add_losses(selectors)
        shares = tf.nn.softmax(self._logits(inputs, self.selector_kernel))
        weights = tf.squeeze(tf.matmul(shares[..., None, :], selectors), -2)
        every_row = (tf.shape(inputs)[0], self.gates, self.experts)
        return tf.cast(tf.broadcast_to(weights, every_row), self.compute_dtype)

    def _logits(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """(batch or 1, gates, columns of the kernel), in full precision."""
        if not self.config.per_example:
            return tf.convert_to_tensor(kernel)
        return gate_logits(inputs, kernel)

    def _selectors(self, logits: tf.Tensor) -> tf.Tensor:
        """Each selector's r, (batch or 1, gates, k, experts)."""
        digits = tf.reshape(logits, (-1, self.gates, self.config.k, self.digits, 1))
        # Outside of the polynomial's piece the clipped t gives exactly 0 and 1, and no gradient.
        t = tf.clip_by_value(digits / self.config.gamma, -0.5, 0.5)
        ones = 0.5 + t * (1.5 - 2 * t * t)
        r = tf.ones(())
        for digit in range(self.digits):
            one = ones[..., digit, :]
            r *= tf.where(self.codes[:, digit], one, 1 - one)
        return r

    def _add_losses(self, selectors: tf.Tensor) -> None:
        entropy = -tf.reduce_sum(selectors * tf.math.log(selectors + SMALL), axis=(1, 2, 3))
        self.add_loss(self.config.entropy * tf.reduce_mean(entropy))
        if self.experts < 2**self.digits:
            reached = tf.maximum(tf.reduce_sum(selectors, axis=-1), LEAST_REACHED)
            apart = tf.reduce_sum(1 / reached - 1, axis=(1, 2))
            self.add_loss(self.config.unreachable * tf.reduce_mean(apart))
