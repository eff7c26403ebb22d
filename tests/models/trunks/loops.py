"""A trunk in float64 against a loop over tasks, networks and channels that reads the same variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from models.trunks.trunk import Trunk

TASKS = ("click", "like", "share")
INPUT = tf.constant(np.random.default_rng(0).normal(size=(9, 5)), tf.float32)
INPUT64 = tf.cast(INPUT, tf.float64)
Outputs = dict[str, tf.Tensor]


def built(kind: type[Trunk], config: Any) -> Any:
    """A trunk in float64 whose variables are none of those that training starts with."""
    tf.keras.utils.set_random_seed(5)
    trunk = kind(TASKS, config, dtype="float64")
    trunk(INPUT64)
    for variable in trunk.trainable_variables:
        variable.assign(variable + tf.random.normal(variable.shape, stddev=0.2, dtype=tf.float64))
    return trunk


def dense(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(x @ kernel + tf.reshape(bias, (1, -1)))


def check_parity(trunk: Trunk, loop: Callable[[tf.Tensor], Outputs], training: bool = False) -> None:
    """Same outputs, and same gradients of a loss that weighs tasks differently, for all variables and the input."""
    wanted = [*trunk.trainable_variables, INPUT64]

    def results(run: Callable[[tf.Tensor], Outputs]) -> tuple[Outputs, list[Any]]:
        with tf.GradientTape() as tape:
            tape.watch(INPUT64)
            outputs = run(INPUT64)
            loss = tf.add_n([(i + 1.0) * tf.reduce_sum(outputs[task] ** 2) for i, task in enumerate(TASKS)])
        return outputs, tape.gradient(loss, wanted)

    outputs, gradients = results(lambda x: trunk(x, training=training))
    expected, slopes = results(loop)
    for task in TASKS:
        np.testing.assert_allclose(outputs[task], expected[task], rtol=1e-9, atol=1e-12)
    for found, slope in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(found, tf.convert_to_tensor(slope), rtol=1e-8, atol=1e-10)
        assert np.abs(found).max() > 0, "a variable that no output depends on"
