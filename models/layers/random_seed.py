"""Random numbers that a checkpoint can replay."""

from __future__ import annotations

import tensorflow as tf


def add_random_state(layer: tf.keras.layers.Layer) -> tf.Variable:
    """Adds the variable ``(key, calls)`` to a layer, the key drawn from TensorFlow's global seed.

    What is drawn is a function of this state, which checkpoints hold: a resumed training draws what an undisturbed one draws.
    (Keras' own random layers keep their state in the op and start anew.)
    """
    state: tf.Variable = layer.add_weight(
        name="state",
        shape=(2,),
        dtype=tf.int64,
        trainable=False,
        initializer=lambda shape, dtype=None, **_: tf.random.uniform(shape, 0, 2**31 - 1, dtype),
        experimental_autocast=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
    return state


def next_uniform(state: tf.Variable, shape: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Uniform numbers in [0, 1), others at each call."""
    return tf.random.stateless_uniform(shape, _next_seed(state), dtype=dtype, alg="philox")


def next_normal(state: tf.Variable, shape: tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Standard normal numbers, others at each call."""
    return tf.random.stateless_normal(shape, _next_seed(state), dtype=dtype, alg="philox")


def _next_seed(state: tf.Variable) -> tf.Tensor:
    """Copies of a model that train together draw numbers of their own: copy r adds r to the key."""
    copy = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
    return state.assign_add(tf.constant([0, 1], tf.int64)) + tf.stack([copy, 0])
