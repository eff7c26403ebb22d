"""Sparse gates: numbers by hand, and loops over rows, gates and experts in float64 that the batched layers must equal."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.config import DselectKGate, TopKGate
from models.layers.dselect_k_gates import LEAST_REACHED, DselectKGates
from models.layers.top_k_gates import LEAST_NOISE, TopKGates
from tests.models.layer_contract import check_layer

DRAW = np.random.default_rng(0)
ROWS, GATES = 3, 2
FLAT = tf.constant(DRAW.normal(size=(ROWS, 3)), tf.float32)
GROUPED = tf.constant(DRAW.normal(size=(ROWS, GATES, 3)), tf.float32)
WEIGHTS = DRAW.normal(size=(ROWS, GATES, 7))
CONFIGS = [
    TopKGate(k=2),
    TopKGate(k=2, importance_weight=0.3, load_weight=0.7),
    TopKGate(k=3, noise=False),
    TopKGate(k=4),
    DselectKGate(k=2, entropy=0.3),
    DselectKGate(k=1, gamma=0.7, entropy=0.1),
    DselectKGate(k=3, per_example=False, entropy=0.2, unreachable=0.7),
]
LAYERS = {"top_k": TopKGates, "dselect_k": DselectKGates}


@pytest.mark.parametrize(
    ("config", "call"),
    [
        (TopKGate(k=2), FLAT),
        (TopKGate(k=3, noise=False), GROUPED),
        (DselectKGate(k=2), GROUPED),
        (DselectKGate(k=3, per_example=False), FLAT),
    ],
    ids=["top_k", "no noise", "dselect_k", "static"],
)
def test_contract(config, call, tmp_path):
    unused = ("noise_kernel",) if getattr(config, "noise", False) else ()
    arguments = {"gates": GATES, "experts": 4, "config": config}
    check_layer(LAYERS[config.kind], arguments, call, (ROWS, GATES, 4), tmp_path, unused)


# -- loops from the equations ------------------------------------------------------------------------------------------


def dot(x: list[tf.Tensor], kernel: tf.Tensor, column: int) -> tf.Tensor:
    return tf.add_n([value * kernel[d, column] for d, value in enumerate(x)])


def softmax(logits: list[tf.Tensor]) -> list[tf.Tensor]:
    powers = [tf.exp(logit) for logit in logits]
    return [power / tf.add_n(powers) for power in powers]


def squared_variation(values: list[tf.Tensor]) -> tf.Tensor:
    mean = tf.add_n(values) / len(values)
    return tf.add_n([(value - mean) ** 2 for value in values]) / len(values) / mean**2


def naive_top_k(layer: TopKGates, copies: dict[str, tf.Tensor], rows: tf.Tensor, noise: np.ndarray | None):
    """Weights [row][gate][expert], and the losses."""
    k, experts = layer.config.k, layer.experts
    weights, chances = [], []
    for b, g in itertools.product(range(rows.shape[0]), range(layer.gates)):
        x = tf.unstack(rows[b, g])
        clean = [dot(x, copies["kernel"][g], i) for i in range(experts)]
        h = list(clean)
        if noise is not None:
            deviations = [tf.math.softplus(dot(x, copies["noise_kernel"][g], i)) + LEAST_NOISE for i in range(experts)]
            h = [clean[i] + noise[b, g, i] * deviations[i] for i in range(experts)]
        best = sorted(range(experts), key=lambda i: -float(h[i]))[:k]
        kept = softmax([h[i] for i in best])
        weights.append([kept[best.index(i)] if i in best else tf.zeros((), tf.float64) for i in range(experts)])
        if noise is not None and k < experts:
            chance = []
            for i in range(experts):
                others = sorted((h[j] for j in range(experts) if j != i), key=lambda v: -float(v))
                z = (clean[i] - others[k - 1]) / deviations[i]
                chance.append((1 + tf.math.erf(z / math.sqrt(2))) / 2)
            chances.append(chance)
    loss = tf.zeros((), tf.float64)
    for g in range(layer.gates):
        importance = [tf.add_n([row[i] for row in weights[g :: layer.gates]]) for i in range(experts)]
        loss += layer.config.importance_weight * squared_variation(importance)
        if chances:
            load = [tf.add_n([row[i] for row in chances[g :: layer.gates]]) for i in range(experts)]
            loss += layer.config.load_weight * squared_variation(load)
    return weights, loss


def smooth_step(t: tf.Tensor, gamma: float) -> tf.Tensor:
    if float(t) <= -gamma / 2:
        return tf.zeros((), tf.float64)
    if float(t) >= gamma / 2:
        return tf.ones((), tf.float64)
    return -2 / gamma**3 * t**3 + 3 / (2 * gamma) * t + 0.5


def naive_dselect_k(layer: DselectKGates, copies: dict[str, tf.Tensor], rows: tf.Tensor, noise: None):
    """Weights [row][gate][expert], and the losses."""
    del noise
    config, experts = layer.config, layer.experts
    digits = math.ceil(math.log2(experts))
    weights, losses = [], []
    for b, g in itertools.product(range(rows.shape[0]), range(layer.gates)):

        def logit(name: str, column: int) -> tf.Tensor:
            kernel = copies[name]
            if config.per_example:
                return dot(tf.unstack(rows[b, g]), kernel[g], column)  # noqa: B023
            return kernel[0, g, column]  # noqa: B023

        shares = softmax([logit("selectors", selector) for selector in range(config.k)])
        mixed = [tf.zeros((), tf.float64)] * experts
        for selector in range(config.k):
            steps = [smooth_step(logit("digits", selector * digits + j), config.gamma) for j in range(digits)]
            r = []
            for i in range(experts):
                chosen = tf.ones((), tf.float64)
                for j, digit in enumerate(format(i, f"0{digits}b")):
                    chosen *= steps[j] if digit == "1" else 1 - steps[j]
                r.append(chosen)
            mixed = [total + shares[selector] * chosen for total, chosen in zip(mixed, r, strict=True)]
            losses.append(-config.entropy * tf.add_n([p * tf.math.log(p + 1e-6) for p in r]))
            losses.append(config.unreachable * (1 / tf.add_n(r) - 1))
        weights.append(mixed)
    return weights, tf.add_n(losses) / rows.shape[0]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize(("inputs", "experts", "training"), [(GROUPED, 7, True), (FLAT, 4, False)], ids=["7", "4"])
def test_batched_equals_loop(config: Any, inputs: tf.Tensor, experts: int, training: bool):
    tf.keras.utils.set_random_seed(1)
    layer = LAYERS[config.kind](GATES, experts, config)
    layer(inputs)
    for variable in layer.trainable_variables:
        variable.assign(tf.random.normal(variable.shape, stddev=0.15))
    noise = None
    if training and getattr(config, "noise", False):
        noise = tf.random.stateless_normal((ROWS, GATES, experts), layer.state + np.array([0, 1]), alg="philox").numpy()
    names = [v.name.rpartition("/")[-1].removesuffix(":0") for v in layer.trainable_variables]
    copies = {n: tf.constant(v.numpy(), tf.float64) for n, v in zip(names, layer.trainable_variables, strict=True)}
    precise = tf.cast(inputs, tf.float64)
    scale = WEIGHTS[..., :experts]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([inputs, precise, *copies.values()])
        found = layer(inputs, training=training)
        loss = tf.add_n([tf.reduce_sum(tf.cast(scale, tf.float32) * found), *layer.losses])
        rows = precise if inputs is GROUPED else tf.tile(precise[:, None], (1, GATES, 1))
        looped, added = (naive_top_k if config.kind == "top_k" else naive_dselect_k)(layer, copies, rows, noise)
        expected = tf.reshape(tf.stack([tf.stack(row) for row in looped]), (ROWS, GATES, experts))
        expected_loss = tf.reduce_sum(scale * expected) + (added if training else 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-4)
    for name, variable in zip(names, layer.trainable_variables, strict=True):
        gradients = tape.gradient(expected_loss, copies[name]), tape.gradient(loss, variable)
        if name == "noise_kernel" and not training:
            assert gradients == (None, None)
        else:
            np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-3, atol=1e-4, err_msg=name)
    if getattr(config, "per_example", True):
        np.testing.assert_allclose(
            tape.gradient(loss, inputs), tape.gradient(expected_loss, precise), rtol=1e-3, atol=1e-4
        )
    else:
        assert tape.gradient(loss, inputs) is None


# -- by hand -----------------------------------------------------------------------------------------------------------


def top_k_of(logits: list[list[float]], **config: Any) -> TopKGates:
    """A gate whose row i has the logits i: inputs are rows of the unit matrix."""
    layer = TopKGates(1, len(logits[0]), TopKGate(**config))
    layer.build((None, len(logits)))
    layer.kernel.assign([logits])
    return layer


def test_only_the_k_best_experts_open():
    layer = top_k_of([[0.0, math.log(3.0), -1.0], [math.log(4.0), -9.0, 0.0]], k=2)
    np.testing.assert_allclose(layer(tf.eye(2))[:, 0], [[0.25, 0.75, 0], [0.8, 0, 0.2]], rtol=1e-6)


def test_ties_open_k_experts_all_the_same():
    weights = TopKGates(1, 5, TopKGate(k=3))(tf.ones((2, 4))).numpy()
    np.testing.assert_allclose(weights, [[[1 / 3, 1 / 3, 1 / 3, 0, 0]]] * 2, rtol=1e-6)


def test_balance_losses_by_hand():
    # Both rows choose experts 1 and 2, whatever the noise. Importance: expert 2's weight is 0, so (2, 0, 0, 0), its mean 1/2,
    # its variance 3/4; load: (2, 2, 0, 0), its mean 1, its variance 1.
    layer = top_k_of([[900.0, 0.0, -900.0, -900.0]] * 2, k=2, importance_weight=0.3, load_weight=0.05)
    layer(tf.eye(2), training=True)
    load, importance = layer.losses
    assert float(importance) == pytest.approx(0.3 * 3)
    assert float(load) == pytest.approx(0.05 * 1)
    # Weights (3/4, 1/4) and (3/4, 1/4) sum to (3/2, 1/2): mean 1, variance 1/4.
    layer = top_k_of([[math.log(3.0), 0.0]] * 2, k=2, noise=False, importance_weight=1)
    layer(tf.eye(2), training=True)
    assert [float(loss) for loss in layer.losses] == pytest.approx([0.25])
    # Each row two experts of its own: their load is in balance.
    layer = top_k_of([[900.0, 0.0, -900.0, -900.0], [-900.0, -900.0, 0.0, 900.0]], k=2, importance_weight=0)
    layer(tf.eye(2), training=True)
    assert [float(loss) for loss in layer.losses] == pytest.approx([0, 0])


def test_the_load_is_the_chance_to_be_chosen_if_ones_noise_is_drawn_anew():
    layer = top_k_of([[0.3, 0.0, -0.2, 0.1]], k=2, importance_weight=0)
    noise = tf.random.stateless_normal((1, 1, 4), layer.state + np.array([0, 1]), alg="philox").numpy()[0, 0]
    deviation = math.log(2) + LEAST_NOISE
    clean = np.array([0.3, 0.0, -0.2, 0.1])
    noisy = clean + noise * deviation
    anew = np.random.default_rng(1).normal(size=200_000) * deviation
    chances = [np.mean(clean[i] + anew > np.sort(np.delete(noisy, i))[-2]) for i in range(4)]
    layer(tf.eye(1), training=True)
    expected = 0.1 * np.var(chances) / np.mean(chances) ** 2
    assert float(layer.losses[0]) == pytest.approx(expected, rel=0.02)


def test_noise_in_training_only_and_replayed_from_a_checkpoint(tmp_path):
    layer, ones = TopKGates(2, 6, TopKGate(k=2)), tf.ones((8, 3))
    np.testing.assert_array_equal(layer(ones), layer(ones))
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "c"))
    first, second = layer(ones, training=True).numpy(), layer(ones, training=True).numpy()
    assert (first != second).any()
    assert ((first > 0).sum(axis=-1) == 2).all()
    other = TopKGates(2, 6, TopKGate(k=2))
    other(ones)
    tf.train.Checkpoint(layer=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other(ones, training=True), first)


def dselect_of(digits: list[float], experts: int, **config: Any) -> DselectKGates:
    """A static gate with these digits' logits, selector after selector; all selectors count the same."""
    layer = DselectKGates(1, experts, DselectKGate(per_example=False, **config))
    layer.build((None, 2))
    layer.digit_kernel.assign([[digits]])
    layer.selector_kernel.assign(tf.zeros_like(layer.selector_kernel))
    return layer


def test_selectors_by_hand():
    # S(1/4) = -2/64 + 3/8 + 1/2 = 0.84375 is the chance of a 1 as first digit; the second is undecided.
    layer = dselect_of([0.25, 0.0], experts=3, k=1, entropy=0.5)
    r = [0.078125, 0.078125, 0.421875]  # of 00, 01, 10; 11 has no expert, and 0.421875
    np.testing.assert_allclose(layer(tf.ones((2, 2)), training=True), [[r], [r]], rtol=1e-6)
    entropy, unreachable = map(float, layer.losses)
    assert entropy == pytest.approx(0.5 * -sum(p * math.log(p) for p in r), rel=1e-4)
    assert unreachable == pytest.approx(1 / 0.578125 - 1, rel=1e-5)


def test_settled_selectors_open_one_expert_each():
    # gamma 0.4: below -0.2 a digit is 0, above 0.2 it is 1. Selectors choose 101 = 5, 001 = 1, and 5 again.
    layer = dselect_of([0.3, -0.2, 0.2, -1.0, -0.9, 0.8, 0.5, -0.5, 0.5], experts=6, k=3, gamma=0.4)
    np.testing.assert_allclose(layer(tf.ones((1, 2)), training=True)[0, 0], [0, 1 / 3, 0, 0, 0, 2 / 3], rtol=1e-6)
    assert [float(loss) for loss in layer.losses] == pytest.approx([0, 0], abs=1e-6)


def test_selectors_of_codes_without_an_expert_mix_none():
    layer = dselect_of([0.6, -0.6, 0.6, 0.6, -0.6, -0.6], experts=5, k=2)  # 101 = 5, which is none, and 100 = 4
    np.testing.assert_allclose(layer(tf.ones((1, 2)), training=True)[0, 0], [0, 0, 0, 0, 0.5])
    assert float(layer.losses[1]) == pytest.approx(1 / LEAST_REACHED - 1)


@pytest.mark.parametrize("experts", [3, 5, 6, 7])
def test_training_leaves_no_code_without_an_expert(experts: int):
    tf.keras.utils.set_random_seed(1)
    layer = DselectKGates(3, experts, DselectKGate(k=2))
    optimizer = tf.keras.optimizers.legacy.Adam(0.05)
    assert float(tf.reduce_min(tf.reduce_sum(layer(FLAT), axis=-1))) < 0.9
    for _ in range(200):
        with tf.GradientTape() as tape:
            layer(FLAT, training=True)
            loss = tf.add_n(layer.losses)
        optimizer.minimize(loss, [layer.digit_kernel], tape=tape)
    np.testing.assert_allclose(tf.reduce_sum(layer(FLAT), axis=-1), np.ones((ROWS, 3)), rtol=1e-2)


@pytest.mark.parametrize("experts", [2, 4, 8])
def test_weights_of_a_power_of_two_sum_to_one(experts: int):
    layer = DselectKGates(3, experts, DselectKGate(k=2))
    layer(FLAT)
    layer.digit_kernel.assign(tf.random.normal(layer.digit_kernel.shape))
    np.testing.assert_allclose(tf.reduce_sum(layer(FLAT), axis=-1), np.ones((ROWS, 3)), rtol=1e-5)


@pytest.mark.parametrize("config", [c for c in CONFIGS if not getattr(c, "noise", False)], ids=str)
def test_losses_do_not_depend_on_the_batch_size(config):
    layer = LAYERS[config.kind](3, 7, config)
    layer(FLAT, training=True)
    once = [float(loss) for loss in layer.losses]
    layer(tf.concat([FLAT] * 4, axis=0), training=True)
    assert [float(loss) for loss in layer.losses] == pytest.approx(once, rel=1e-5)
    layer(FLAT)
    assert layer.losses == []


@pytest.mark.parametrize("config", [TopKGate(k=4), DselectKGate(k=4)], ids=str)
def test_more_experts_than_there_are_is_refused(config):
    with pytest.raises(ValueError, match="got k 4, allowed: 1 to 3"):
        LAYERS[config.kind](1, 3, config)


def test_dselect_k_of_one_expert_is_refused():
    with pytest.raises(ValueError, match="at least 2 experts; got 1"):
        DselectKGates(1, 1, DselectKGate(k=1))


def test_near_logits_stay_apart_under_mixed_precision():
    """1 + 2^-10 is 1 in bfloat16: a top-1 of such logits would be the first."""
    layer = TopKGates(1, 3, TopKGate(k=2, noise=False), dtype=tf.keras.mixed_precision.Policy("mixed_bfloat16"))
    layer.build((None, 1))
    layer.kernel.assign([[[1.0, 1.0, 1 + 2.0**-10]]])
    assert layer(tf.ones((1, 1)))[0, 0, 2] > 0
