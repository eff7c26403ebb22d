"""Dropout whose masks a checkpoint can replay."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class Dropout(tf.keras.layers.Layer):
    """Inverted dropout with its random state in a variable.

    ``y = x * m / (1 - rate)`` with ``m ~ Bernoulli(1 - rate)`` in training, ``y = x`` otherwise. The mask is a function of the
    layer's state ``(key, calls)``, which checkpoints hold: a resumed training draws the masks that an undisturbed one draws.
    Copies of a model that train together draw masks of their own: copy r adds r to the key.
    (Keras' own layer keeps its state in the op and starts anew.) The key is drawn from TensorFlow's global seed.

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
            self.state = self.add_weight(
                name="state",
                shape=(2,),
                dtype=tf.int64,
                trainable=False,
                initializer=lambda shape, dtype=None, **_: tf.random.uniform(shape, 0, 2**31 - 1, dtype),
                experimental_autocast=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Drops in training, passes through otherwise."""
        if not (training and self.rate):
            return inputs
        copy = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
        seed = self.state.assign_add(tf.constant([0, 1], tf.int64)) + tf.stack([copy, 0])
        noise = tf.random.stateless_uniform(tf.shape(inputs), seed, alg="philox")
        keep = tf.cast(noise >= self.rate, inputs.dtype)
        return inputs * keep * tf.cast(1 / (1 - self.rate), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "rate": self.rate}
