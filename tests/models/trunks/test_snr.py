from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.config import SnrAverTrunk, SnrTransTrunk
from models.trunks.snr import Snr
from tests.models.layer_contract import check_layer
from tests.models.trunks.loops import INPUT, INPUT64, TASKS, Outputs, built, check_parity, dense

SIZES = {"units": (7, 6), "networks": 4}
KINDS = [SnrTransTrunk(**SIZES), SnrAverTrunk(**SIZES)]
Gates = list[tf.Tensor]
NEXT = tf.constant([0, 1], tf.int64)


def serving_gates(trunk: Snr) -> Gates:
    return [tf.clip_by_value(tf.sigmoid(route.connections.log_alpha) * 1.2 - 0.1, 0, 1) for route in trunk.routes]


def drawn_gates(trunk: Snr, states: list[tf.Tensor]) -> Gates:
    """What the next call in training draws, if `states` are the random states before it."""
    gates = []
    for route, state in zip(trunk.routes, states, strict=True):
        log_alpha = route.connections.log_alpha
        u = tf.random.stateless_uniform(log_alpha.shape, state + NEXT, dtype=tf.float64, alg="philox")
        s = tf.sigmoid((tf.math.log(u) - tf.math.log(1 - u) + log_alpha) / (2 / 3))
        gates.append(tf.clip_by_value(s * 1.2 - 0.1, 0, 1))
    return gates


def naive(trunk: Snr, gates: Gates, x: tf.Tensor) -> Outputs:
    """Every sub-network and every connection by itself."""
    networks = range(trunk.config.networks)
    inputs = [x for _ in networks]
    for bank, route, z in zip(trunk.banks, trunk.routes, gates, strict=True):
        below = [dense(inputs[i], bank.kernels[0][i], bank.biases[0][i]) for i in networks]
        if trunk.config.kind == "snr_trans":
            inputs = [
                tf.add_n([z[i, j] * (below[i] @ route.kernel[i, j]) for i in networks]) for j in range(z.shape[1])
            ]
        else:
            inputs = [tf.add_n([z[i, j] * below[i] for i in networks]) for j in range(z.shape[1])]
    return dict(zip(TASKS, inputs, strict=True))


@pytest.mark.parametrize("config", KINDS)
def test_batched_equals_loop(config: SnrTransTrunk | SnrAverTrunk):
    trunk = built(Snr, config)
    check_parity(trunk, lambda x: naive(trunk, serving_gates(trunk), x))


@pytest.mark.parametrize("config", KINDS)
def test_training_equals_a_loop_with_the_drawn_connections(config: SnrTransTrunk | SnrAverTrunk):
    trunk = built(Snr, config)
    states = [tf.identity(route.connections.state) for route in trunk.routes]
    check_parity(trunk, lambda x: naive(trunk, drawn_gates(trunk, states), x), training=True)


@pytest.mark.parametrize("config", KINDS)
def test_contract(config: SnrTransTrunk | SnrAverTrunk, tmp_path):
    check_layer(Snr, {"tasks": list(TASKS), "config": config}, INPUT, dict.fromkeys(TASKS, (9, 6)), tmp_path)


def test_the_penalty_is_the_expected_number_of_open_connections_and_in_training_only():
    trunk = built(Snr, SnrTransTrunk(**SIZES, l0=0.25))
    trunk(INPUT64, training=True)
    (penalty,) = trunk.losses
    log_alphas = np.concatenate([route.connections.log_alpha.numpy().ravel() for route in trunk.routes])
    assert len(log_alphas) == 4 * 4 + 4 * 3
    closed = 1 / (1 + np.exp(log_alphas - 2 / 3 * np.log(0.1 / 1.1)))
    assert float(penalty) == pytest.approx(0.25 * (1 - closed).sum(), rel=1e-9)
    trunk(INPUT64)
    assert trunk.losses == []
    free = built(Snr, SnrAverTrunk(**SIZES, l0=0))
    free(INPUT64, training=True)
    assert free.losses == []


def test_a_closed_connection_passes_nothing():
    trunk = built(Snr, SnrAverTrunk(units=(6,), networks=2))
    trunk.routes[0].connections.log_alpha.assign([[9.0, 9.0, -9.0], [9.0, -9.0, -9.0]])
    first, second = (dense(INPUT64, trunk.banks[0].kernels[0][i], trunk.banks[0].biases[0][i]) for i in range(2))
    outputs = trunk(INPUT64)
    np.testing.assert_allclose(outputs["click"], first + second, rtol=1e-9)
    np.testing.assert_allclose(outputs["like"], first, rtol=1e-9)
    np.testing.assert_array_equal(outputs["share"], tf.zeros_like(first))


def test_reports_see_the_connections():
    trunk = Snr(("a", "b"), SnrTransTrunk(units=(3, 2), networks=2))
    trunk(INPUT)
    trunk.routes[0].connections.log_alpha.assign([[-9.0, 9.0], [0.0, np.log(3)]])
    trunk.routes[1].connections.log_alpha.assign([[9.0, -9.0], [9.0, 0.0]])
    weights = {name: gates.numpy() for name, gates in trunk.gate_weights(INPUT).items()}
    expected = {"1/sub-network 1": [0, 0.5], "1/sub-network 2": [1, 0.8], "2/a": [1, 1], "2/b": [0, 0.5]}
    assert list(weights) == list(trunk.expert_names()) == list(expected)
    for name, gates in expected.items():
        np.testing.assert_allclose(weights[name], [gates] * 9, rtol=1e-5)
        assert trunk.expert_names()[name] == ("sub-network 1", "sub-network 2")
