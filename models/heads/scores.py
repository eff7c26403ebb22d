"""What heads say about an output."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.losses import log_add_exp


class Probability(NamedTuple):
    """A probability p by its logarithms, so that losses stay exact where p is nearly 0 or 1. Both float32 (batch,)."""

    log_p: tf.Tensor
    log_not_p: tf.Tensor

    @property
    def prediction(self) -> tf.Tensor:
        """p."""
        return tf.exp(self.log_p)

    @classmethod
    def from_logit(cls, logit: tf.Tensor) -> Probability:
        """``p = sigmoid(logit)``."""
        return cls(tf.math.log_sigmoid(logit), tf.math.log_sigmoid(-logit))


class Value(NamedTuple):
    """A number, float32 (batch,)."""

    value: tf.Tensor

    @property
    def prediction(self) -> tf.Tensor:
        """The number."""
        return self.value


Score = Probability | Value


def conjunction(first: Probability, given: Probability) -> Probability:
    """P(a, b) = P(a) P(b|a) from P(a) and P(b|a); its complement is P(not a) + P(not b|a) P(a)."""
    return Probability(given.log_p + first.log_p, log_add_exp(first.log_not_p, given.log_not_p + first.log_p))
