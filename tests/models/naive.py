"""What the parity tests share: references in float64 against layers, by outputs and by gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

Values = list[tf.Tensor]
"""float64 copies of a layer's trainable variables, in their order."""


def check_parity(
    layer: tf.keras.layers.Layer, call: tuple[Any, ...], reference: Callable[..., Any], spread: float = 0.3
) -> None:
    """Compares a layer with `reference` in outputs, and in gradients to all floats of `call` and all trainable variables.

    Args:
        layer: built by calling it here; its variables are then moved by chance, so that zeros and ones cannot hide.
        call: positional arguments.
        reference: called with the variables' values, then with `call`, all floats as float64.
        spread: standard deviation of the variables' moves.
    """
    tf.keras.utils.set_random_seed(3)
    layer(*call)
    for variable in layer.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=spread))
    exact = [_exact(v) for v in layer.trainable_variables], tf.nest.map_structure(_exact, call)
    found = _outputs_and_gradients(lambda: layer(*call), [*layer.trainable_variables, *_floats(call)])
    expected = _outputs_and_gradients(lambda: reference(exact[0], *exact[1]), [*exact[0], *_floats(exact[1])])
    for name, one, other in zip(("outputs", "gradients"), expected, found, strict=True):
        assert len(one) == len(other)
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5, err_msg=f"{name} {i}")


def _exact(tensor: Any) -> tf.Tensor:
    tensor = tf.convert_to_tensor(tensor)
    return tf.cast(tensor, tf.float64) if tensor.dtype.is_floating else tensor


def _floats(call: Any) -> list[tf.Tensor]:
    return [t for t in tf.nest.flatten(call) if t.dtype.is_floating]


def _outputs_and_gradients(run: Callable[[], Any], sources: list[Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    with tf.GradientTape() as tape:
        tape.watch([s for s in sources if not isinstance(s, tf.Variable)])
        outputs = tf.nest.flatten(run())
        # Each number has a weight of its own: equal outputs in another order would be seen.
        loss = tf.add_n([tf.reduce_sum(tf.square(output) * _weights(output)) for output in outputs])
    gradients = tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [o.numpy() for o in outputs], [tf.convert_to_tensor(g).numpy() for g in gradients]


def _weights(output: tf.Tensor) -> tf.Tensor:
    return tf.constant(np.linspace(0.5, 2, output.shape.num_elements()).reshape(output.shape), output.dtype)
