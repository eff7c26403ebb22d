"""Gates that open the best experts only."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.config import TopKGate
from models.layers.configured import Configured
from models.layers.gate_logits import gate_logits
from models.layers.glorot import glorot_each
from models.layers.random_seed import add_random_state, next_normal

LEAST_NOISE = 0.01
"""Added to the noise's standard deviation, so that eq. 9 divides by no 0; the authors' code does the same, the paper does not."""


class TopKGates(Configured):
    """`gates` sparse gates over the same number of experts, computed together: the `k` best experts get weights above 0.

    ``G(x) = softmax(keep_top_k(H(x), k))``, where all but the k largest are set to -inf (eq. 3 and 5), and
    ``H(x)_i = (x W)_i + normal() softplus((x W_noise)_i)`` in training, ``x W`` otherwise (eq. 4). Both matrices start at 0 as in the
    paper (appendix A): the noise alone chooses at first. Without noise ``W`` is drawn as Dense draws its kernel.

    Training adds to the loss, for each gate, over the rows x of the batch:

    * ``importance_weight CV(sum_x G(x))^2`` (eq. 6 and 7),
    * with noise ``load_weight CV(sum_x P(x))^2`` (eq. 8 to 11), where ``P(x)_i = Phi(((x W)_i - kth_excluding(H(x), k, i)) /
      softplus((x W_noise)_i))`` is the chance that i is among the k best if its noise is drawn anew.

    ``CV(v)^2`` is the variance of v over the experts by its squared mean, which no batch size changes. The losses of all gates
    are summed, as the tasks' are. Noise is a function of the layer's random state, which checkpoints hold.

    Args:
        gates: number of gates, usually one a task.
        experts: weights of each gate.
        config: see `models.config.TopKGate`.

    Shapes:
        input: (batch, in), the same for all gates, or (batch, gates, in), one for each.
        output: (batch, gates, experts), each row sums to 1 (to bfloat16's rounding under mixed precision) and has `k` weights that are not 0.

    Raises:
        ValueError: if there are fewer experts than `k`.

    Example:
        >>> gates = TopKGates(gates=1, experts=3, config=TopKGate(k=2))
        >>> gates(tf.ones((1, 4))).numpy()
        array([[[0.5, 0.5, 0. ]]], dtype=float32)

    Paper: Shazeer et al., Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer, ICLR 2017.
    """

    ARGUMENTS = {"gates": int, "experts": int, "config": TopKGate}

    def __init__(self, gates: int, experts: int, config: TopKGate, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if config.k > experts:
            raise ValueError(f"a gate opens k of its experts; got k {config.k}, allowed: 1 to {experts}")
        self.gates, self.experts, self.config = gates, experts, config

    @classmethod
    def initial(cls, config: TopKGate, gates: int, experts: int, **kwargs: Any) -> TopKGates:
        """The gates that a configuration asks for."""
        return cls(gates, experts, config, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Creates the kernels (gates, in, experts) and the noise's random state."""
        width = int(input_shape[-1])
        full: dict[str, Any] = {"shape": (self.gates, width, self.experts), "experimental_autocast": False}
        if self.config.noise:
            self.kernel = self.add_weight(name="kernel", **full, initializer="zeros")
            self.noise_kernel = self.add_weight(name="noise_kernel", **full, initializer="zeros")
            self.state = add_random_state(self)
        else:
            self.kernel = self.add_weight(name="kernel", **full, initializer=glorot_each(width, self.experts))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Each gate's weights, (batch, gates, experts)."""
        clean = logits = gate_logits(inputs, self.kernel)
        if training and self.config.noise:
            deviation = tf.nn.softplus(gate_logits(inputs, self.noise_kernel)) + LEAST_NOISE
            logits += next_normal(self.state, tf.shape(clean)) * deviation
            self.add_loss(self.config.load_weight * self._spread(self._chances(clean, logits, deviation)))
        weights = self._weights(logits)
        if training:
            self.add_loss(self.config.importance_weight * self._spread(weights))
        return tf.cast(weights, self.compute_dtype)

    def _weights(self, logits: tf.Tensor) -> tf.Tensor:
        best = tf.math.top_k(logits, self.config.k).indices
        kept = tf.reduce_any(tf.one_hot(best, self.experts, True, False, dtype=tf.bool), axis=-2)
        return tf.nn.softmax(tf.where(kept, logits, -float("inf")))

    def _chances(self, clean: tf.Tensor, logits: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
        """Each expert's chance to be among the k best (eq. 9), (batch, gates, experts)."""
        k = self.config.k
        if k == self.experts:
            return tf.ones_like(clean)
        ranked = tf.math.top_k(logits, k + 1).values
        last_in, first_out = ranked[..., k - 1 : k], ranked[..., k:]
        # Without expert i the k-th best is the next one if i was among them.
        threshold = tf.where(logits >= last_in, first_out, last_in)
        return 0.5 * tf.math.erfc((threshold - clean) / deviation / 2**0.5)

    @staticmethod
    def _spread(rows: tf.Tensor) -> tf.Tensor:
        """CV^2 of the sums over the batch (batch, gates, experts) -> scalar, summed over the gates."""
        sums = tf.reduce_sum(rows, axis=0)
        variance = tf.math.reduce_variance(sums, axis=-1)
        return tf.reduce_sum(variance / tf.square(tf.reduce_mean(sums, axis=-1)))
