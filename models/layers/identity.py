"""Numbers as they are, on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class Identity(tf.keras.layers.Layer):
    """``y = x``; of a number that is spread over [0, 1] ``y = sqrt(12) (x - 1/2)``: mean 0 and deviation 1, as standardised numbers have.

    A network's first layer learns slowly from inputs that share a mean: rare tasks do not get there.

    Args:
        unit: for each number whether it is spread over [0, 1].

    Shapes:
        input and output: (batch, numbers).

    Example:
        >>> Identity([False, True])(tf.constant([[0.5, 0.5]])).numpy().tolist()
        [[0.5, 0.0]]
    """

    def __init__(self, unit: Sequence[bool], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.unit = tuple(map(bool, unit))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The numbers, on one scale."""
        return tf.where(self.unit, math.sqrt(12) * (inputs - 0.5), inputs)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "unit": self.unit}

    @classmethod
    def initial(cls, config: Any, unit: tuple[bool, ...], **kwargs: Any) -> Identity:
        """The layer that a configuration asks for."""
        del config
        return cls(unit, **kwargs)
