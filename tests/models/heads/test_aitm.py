from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from features.spec import ROW_WEIGHT
from models.config import AitmHead
from models.heads.aitm import Aitm
from models.heads.scores import Probability, Value
from models.layers.information_transfer import InformationTransfer
from tests.models.heads.naive import (
    BY_TASK,
    CHAIN,
    PARENTS,
    RATES,
    SHARED,
    Arrays,
    check_weight_gradients,
    exact,
    mlp,
    numeric_gradients,
    sigmoid,
    tower,
)
from tests.models.layer_contract import check_layer


def attend(layer: InformationTransfer, transferred: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Row by row: z = sum_u w_u h_1(u), w = softmax(<h_2(u), h_3(u)> / sqrt(k))."""
    h1, h2, h3 = (dense.get_weights()[0].astype(np.float64) for dense in (layer.value, layer.query, layer.key))
    rows = []
    for pair in zip(transferred, own, strict=True):
        strength = [np.exp((u @ h2) @ (u @ h3) / np.sqrt(len(u))) for u in pair]
        rows.append(sum(s / sum(strength) * (u @ h1) for s, u in zip(strength, pair, strict=True)))
    return np.array(rows)


def naive(head: Aitm, x: Arrays) -> dict[str, np.ndarray]:
    z = {"click": x["click"]}
    for child, parent in (("cart", "click"), ("like", "click"), ("buy", "cart")):
        z[child] = attend(head.attention, mlp(head.transfers[parent], z[parent]), x[child])
    return {name: sigmoid(tower(head.towers[name], z[name])) for name in RATES}


def test_outputs_and_gradients_are_those_of_the_equations():
    tf.keras.utils.set_random_seed(3)
    head = Aitm(CHAIN, AitmHead(tower_units=(3,)), RATES)
    inputs = {name: BY_TASK[name] for name in RATES}
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        scores = head({**BY_TASK, **inputs}, SHARED)
        loss = tf.add_n([tf.reduce_sum(scores[name].prediction ** 2) for name in RATES])
    for name, expected in naive(head, exact(BY_TASK)).items():
        np.testing.assert_allclose(scores[name].prediction, expected, rtol=1e-5)
    np.testing.assert_allclose(scores["watch"].output, tower(head.towers["watch"], exact(BY_TASK)["watch"]), rtol=1e-5)
    weights = head.trainable_variables
    found, to_weights = tape.gradient(loss, [inputs, weights])

    def total(x: Arrays) -> float:
        return sum(float((p**2).sum()) for p in naive(head, x).values())

    for name, gradient in numeric_gradients(total, exact(inputs)).items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-3, atol=1e-6)
    check_weight_gradients(weights, to_weights, lambda: total(exact(BY_TASK)))


def test_contract_of_the_head(tmp_path):
    arguments = {"tasks": CHAIN, "config": AitmHead(tower_units=(3,)), "rates": RATES}
    shapes = {**dict.fromkeys(RATES, Probability((6,), (6,))), "watch": Value((6,))}
    check_layer(Aitm, arguments, (BY_TASK, SHARED), shapes, tmp_path)


def test_contract_of_the_attention(tmp_path):
    check_layer(InformationTransfer, {}, (BY_TASK["click"], BY_TASK["cart"]), (6, 4), tmp_path)


def test_attention_by_hand():
    layer = InformationTransfer()
    layer(tf.ones((1, 1)), tf.ones((1, 1)))
    for dense, weight in ((layer.query, 1.0), (layer.key, 0.5), (layer.value, 10.0)):
        dense.kernel.assign([[weight]])
    # <h_2(u), h_3(u)> is 2 for u = 2 and 0.5 for u = 1: weights e^1.5 : 1.
    found = layer(tf.constant([[2.0]]), tf.constant([[1.0]]))
    assert float(found[0, 0]) == pytest.approx((20 * np.exp(1.5) + 10) / (np.exp(1.5) + 1))


def test_the_calibrator_by_hand():
    # Inputs of zeros: P(task) is the task's rate. cart is likelier than click by .2, buy than cart by .1, like is not.
    rates = {"click": 0.3, "cart": 0.5, "buy": 0.6, "like": 0.1}
    blank = {name: tf.zeros((2, 4)) for name in CHAIN}
    head = Aitm(CHAIN, AitmHead(), rates)
    scores = head(blank, SHARED, training=True)
    assert float(head.auxiliary_loss(scores, {}, {})) == pytest.approx(0.6 * (0.2 + 0.1))


def test_the_calibrator_counts_rows_that_stand_for_several():
    # Of two rows one exceeds its parent by .3, and stands for itself; the other, by .1, for four.
    tasks = {name: CHAIN[name] for name in ("click", "cart")}
    head = Aitm(tasks, AitmHead(calibrator_weight=2.0), RATES)
    p = {"click": [0.2, 0.5], "cart": [0.5, 0.6]}
    scores = {name: Probability(tf.math.log(values), tf.math.log1p(-tf.constant(values))) for name, values in p.items()}
    labels = {ROW_WEIGHT: tf.constant([1.0, 4.0])}
    assert float(head.auxiliary_loss(scores, labels, {})) == pytest.approx(2 * (0.3 + 4 * 0.1) / 5)


def test_the_calibrator_pushes_a_child_down_and_its_parent_up():
    head = Aitm(CHAIN, AitmHead(calibrator_weight=2.0), {**RATES, "like": 0.5})
    blank = {name: tf.zeros((2, 4)) for name in CHAIN}
    with tf.GradientTape() as tape:
        loss = head.auxiliary_loss(head(blank, SHARED, training=True), {}, {})
    biases = {name: head.towers[name].output_layer.bias for name in ("like", "click", "cart")}
    found = {name: float(gradient[0]) for name, gradient in tape.gradient(loss, biases).items()}
    # d sigmoid = p (1 - p); cart keeps below click.
    assert found == pytest.approx({"like": 2 * 0.25, "click": -2 * 0.21, "cart": 0.0}, rel=1e-5)


def test_information_flows_from_parents_to_children_only():
    head = Aitm(CHAIN, AitmHead(), RATES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(BY_TASK)
        scores = head(BY_TASK, SHARED)
        p = {name: tf.reduce_sum(scores[name].prediction) for name in CHAIN}
    ancestors = {"click": {"click"}, "cart": {"cart", "click"}, "like": {"like", "click"}, "watch": {"watch"}}
    ancestors["buy"] = {"buy", *ancestors["cart"]}
    for name, known in ancestors.items():
        gradients = tape.gradient(p[name], BY_TASK, unconnected_gradients="zero")
        assert {task for task, gradient in gradients.items() if (gradient.numpy() != 0).any()} == known
    assert set(head.transfers) == set(PARENTS.values())
