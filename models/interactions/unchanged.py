"""No interactions."""

from __future__ import annotations

import tensorflow as tf

from models.interactions.interactions import Interactions


class Unchanged(Interactions):
    """``y = x``: features side by side.

    Shapes:
        input and output: (batch, in) or (batch, groups, in).

    Example:
        >>> from models.config import NoInteractions
        >>> Unchanged({"user": 2, "item": 2}, NoInteractions())(tf.ones((2, 5))).shape
        TensorShape([2, 5])
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The input."""
        return inputs
