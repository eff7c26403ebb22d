"""Numbers as they are."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class Identity(tf.keras.layers.Layer):
    """``y = x``: the encoding that adds nothing.

    Shapes:
        input and output: (batch, numbers).

    Example:
        >>> Identity()(tf.ones((2, 3))).shape
        TensorShape([2, 3])
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The input."""
        return inputs

    @classmethod
    def initial(cls, config: Any, unit: tuple[bool, ...], **kwargs: Any) -> Identity:
        """The layer that a configuration asks for."""
        del config, unit
        return cls(**kwargs)
