"""float64 loops that the heads' tests compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from features.spec import Task
from models.layers.mlp import Mlp
from models.layers.tower import Tower

CHAIN = {
    "buy": Task(label="bought", parent="cart", weight=3.0),
    "click": Task(label="clicked"),
    "watch": Task(label="watch_s", kind="regression"),
    "cart": Task(label="in_cart", parent="click", mask="seen", weight=0.5),
    "like": Task(label="liked", parent="click"),
}
"""A chain of three, a second child of its first task, and a task apart; children before their parents."""
PARENTS = {"buy": "cart", "cart": "click", "like": "click"}
RATES = {"click": 0.3, "cart": 0.1, "buy": 0.02, "like": 0.06}
DRAW = np.random.default_rng(0)
BY_TASK = {name: tf.constant(DRAW.normal(size=(6, 4)), tf.float32) for name in CHAIN}
SHARED = tf.constant(DRAW.normal(size=(6, 5)), tf.float32)
LABELS = {
    "label_click": [1, 1, 1, 1, 0, 0],
    "label_cart": [1, 1, 0, 0, 0, 0],
    "mask_cart": [1, 0, 1, 1, 0, 1],
    "label_buy": [1, 0, 0, 0, 0, 0],
    "label_like": [0, 1, 0, 1, 0, 0],
    "label_watch": [0.5, -1, 2, 0, 0.1, 0],
}
TENSORS = {name: tf.constant(values, tf.float32) for name, values in LABELS.items()}

Arrays = Mapping[str, np.ndarray]


def exact(tensors: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().astype(np.float64) for name, tensor in tensors.items()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def mlp(layer: Mlp, x: np.ndarray) -> np.ndarray:
    for dense in layer.layers:
        weights, bias = (w.astype(np.float64) for w in dense.get_weights())
        x = np.maximum(x @ weights + bias, 0)
    return x


def tower(layer: Tower, x: np.ndarray) -> np.ndarray:
    weights, bias = (w.astype(np.float64) for w in layer.output_layer.get_weights())
    return (mlp(layer.hidden, x) @ weights + bias)[:, 0]


def log_loss(y: float, p: float) -> float:
    return -float(y * np.log(p) + (1 - y) * np.log(1 - p))


def mean_log_loss(task: str, p: np.ndarray) -> float:
    rows = [
        log_loss(y, p[i]) for i, y in enumerate(LABELS[f"label_{task}"]) if LABELS.get(f"mask_{task}", [1] * len(p))[i]
    ]
    return sum(rows) / len(rows)


def check_weight_gradients(
    variables: Sequence[tf.Variable], found: Sequence[tf.Tensor | None], loss: Callable[[], float], step: float = 1e-5
) -> None:
    """Central differences of a loss in float64 that reads the variables' values, for every one of their numbers."""
    for variable, gradient in zip(variables, found, strict=True):
        values = variable.numpy()
        expected = np.zeros(values.shape)
        for index in np.ndindex(values.shape):
            sides = []
            for moved in (values[index] + np.float32(step), values[index] - np.float32(step)):
                changed = values.copy()
                changed[index] = moved
                variable.assign(changed)
                sides.append((float(changed[index]), loss()))
            expected[index] = (sides[0][1] - sides[1][1]) / (sides[0][0] - sides[1][0])
        variable.assign(values)
        actual = np.zeros(values.shape) if gradient is None else tf.convert_to_tensor(gradient).numpy()
        np.testing.assert_allclose(actual, expected, rtol=1e-2, atol=1e-4, err_msg=variable.name)


def numeric_gradients(loss: Callable[[Arrays], float], at: Arrays, step: float = 1e-6) -> dict[str, np.ndarray]:
    """Central differences."""
    gradients = {}
    for name, values in at.items():
        gradients[name] = np.zeros_like(values)
        for index in np.ndindex(values.shape):
            above, below = values.copy(), values.copy()
            above[index] += step
            below[index] -= step
            gradients[name][index] = (loss({**at, name: above}) - loss({**at, name: below})) / (2 * step)
    return gradients
