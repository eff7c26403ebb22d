from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.layers.hard_concrete import HardConcrete
from tests.models.layer_contract import check_layer

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
LOG_ALPHAS = [-1.5, 0.0, 2.0]
DRAWS = 200_000


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def logit(p: float) -> float:
    return np.log(p) - np.log(1 - p)


def cdf(z: float, log_alpha: float) -> float:
    """P(Z <= z) for 0 <= z < 1, from the paper: the concrete distribution's, at the point that stretching brings to z."""
    return sigmoid(logit((z - GAMMA) / (ZETA - GAMMA)) * BETA - log_alpha)


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    """(draws, gates): what training draws for each of LOG_ALPHAS."""
    tf.keras.utils.set_random_seed(1)
    layer = HardConcrete((DRAWS, len(LOG_ALPHAS)))
    layer.build(None)
    layer.log_alpha.assign(np.tile(LOG_ALPHAS, (DRAWS, 1)))
    return layer.gates(training=True).numpy()


@pytest.mark.parametrize(("gate", "log_alpha"), enumerate(LOG_ALPHAS))
def test_draws_have_the_distribution(draws: np.ndarray, gate: int, log_alpha: float):
    z = draws[:, gate]
    assert (z.min(), z.max()) == (0, 1)
    for point in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999):  # 0: the chance of exactly 0
        assert (z <= point).mean() == pytest.approx(cdf(point, log_alpha), abs=0.004)  # three standard errors and a bit
    closed_at_one = 1 - sigmoid(logit((1 - GAMMA) / (ZETA - GAMMA)) * BETA - log_alpha)
    assert (z == 1).mean() == pytest.approx(closed_at_one, abs=0.004)


def test_the_chance_to_be_open(draws: np.ndarray):
    layer = HardConcrete((3,))
    layer.build(None)
    layer.log_alpha.assign(LOG_ALPHAS)
    chances = layer.open_chance().numpy()
    np.testing.assert_allclose(chances, [1 - cdf(0.0, log_alpha) for log_alpha in LOG_ALPHAS], rtol=1e-5)
    np.testing.assert_allclose(chances, (draws > 0).mean(axis=0), atol=0.004)
    # By hand: log_alpha = 0, beta log(-gamma / zeta) = 2/3 log(1/11) = -1.5986, sigmoid(1.5986) = 0.8318.
    assert chances[1] == pytest.approx(0.8318, abs=1e-4)


def test_serving_gates_by_hand():
    layer = HardConcrete((5,))
    layer.build(None)
    # sigmoid = 1/4, 1/2, 3/4 is stretched to 0.2, 0.5, 0.8; far away it is cut.
    layer.log_alpha.assign([-np.log(3), 0, np.log(3), -9, 9])
    np.testing.assert_allclose(layer(tf.fill((5,), 10.0)), [2, 5, 8, 0, 10], rtol=1e-5)


def test_a_gate_is_the_formula_of_its_draw():
    layer = HardConcrete((4, 2), beta=0.5, gamma=-0.2, zeta=1.3)
    layer.build(None)
    layer.log_alpha.assign(np.linspace(-2, 2, 8).reshape(4, 2))
    u = tf.random.stateless_uniform((4, 2), layer.state + tf.constant([0, 1], tf.int64), alg="philox").numpy()
    s = sigmoid((np.log(u) - np.log(1 - u) + layer.log_alpha.numpy()) / 0.5)
    expected = np.clip(s * 1.5 - 0.2, 0, 1)
    inputs = np.arange(24.0).reshape(4, 2, 3)
    found = layer(tf.constant(inputs, tf.float32), training=True)
    np.testing.assert_allclose(found, inputs * expected[:, :, None], rtol=1e-4, atol=1e-5)


def test_draws_differ_by_call_and_replay_from_a_checkpoint(tmp_path):
    layer, ones = HardConcrete((8, 8)), tf.ones((8, 8))
    layer(ones, training=True)
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "c"))
    first, second = layer(ones, training=True).numpy(), layer(ones, training=True).numpy()
    assert (first != second).any()
    other = HardConcrete((8, 8))
    other(ones, training=True)
    tf.train.Checkpoint(layer=other).read(path)
    np.testing.assert_array_equal(other(ones, training=True).numpy(), first)


def test_a_gate_shut_for_a_draw_has_no_gradient_and_one_between_has():
    layer = HardConcrete((3,))
    layer.build(None)
    layer.log_alpha.assign([-30.0, 0.0, 30.0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer.gates())
    np.testing.assert_allclose(tape.gradient(total, layer.log_alpha), [0, 1.2 / 4, 0], atol=1e-6)


@pytest.mark.parametrize("wrong", [{"beta": 0}, {"gamma": 0.1}, {"zeta": 1.0}])
def test_a_distribution_without_ends_is_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        HardConcrete((2,), **wrong)


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5)])
def test_contract(shape: tuple[int, ...], tmp_path):
    inputs = tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)
    check_layer(HardConcrete, {"shape": (6, 3)}, inputs, shape, tmp_path)
