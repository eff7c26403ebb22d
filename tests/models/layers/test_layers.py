from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from models.config import CgcTrunk, TopKGate
from models.layers.cgc import Cgc
from models.layers.dropout import Dropout
from models.layers.embedding_table import EmbeddingTable
from models.layers.expert_bank import ExpertBank
from models.layers.identity import Identity
from models.layers.mlp import Mlp
from models.layers.periodic import Periodic
from models.layers.piecewise_linear import PiecewiseLinear
from models.layers.softmax_gates import SoftmaxGates
from models.layers.tower import Tower
from tests.models.layer_contract import check_layer
from tests.models.naive import Values, check_parity

DRAW = np.random.default_rng(0)
FLAT = tf.constant(DRAW.normal(size=(6, 5)), tf.float32)
GROUPED = tf.constant(DRAW.normal(size=(6, 3, 5)), tf.float32)
INDICES = tf.constant(DRAW.integers(0, 9, (6, 4)), tf.int64)
CGC = {"tasks": 2, "config": CgcTrunk(task_experts=2, shared_experts=3, units=(7, 4))}


@pytest.mark.parametrize(
    ("layer", "arguments", "call", "shape"),
    [
        (ExpertBank, {"experts": 3, "units": (7, 4)}, FLAT, (6, 3, 4)),
        (ExpertBank, {"experts": 3, "units": (7, 4), "dropout": 0.5}, GROUPED, (6, 3, 4)),
        (SoftmaxGates, {"gates": 3, "experts": 4}, FLAT, (6, 3, 4)),
        (SoftmaxGates, {"gates": 3, "experts": 4}, GROUPED, (6, 3, 4)),
        (Cgc, CGC, FLAT, (6, 2, 4)),
        (Cgc, {**CGC, "shared_gate": True}, GROUPED, (6, 3, 4)),
        (Cgc, {**CGC, "all_forward": True, "gate": TopKGate(k=2, noise=False)}, GROUPED, (6, 2, 4)),
        (Mlp, {"units": (7, 4), "dropout": 0.5}, FLAT, (6, 4)),
        (Mlp, {"units": ()}, FLAT, (6, 5)),
        (Tower, {"units": (7,), "bias": (0.5, -2.0)}, FLAT, (6, 2)),
        (Dropout, {"rate": 0.5}, FLAT, (6, 5)),
        (EmbeddingTable, {"rows": 9, "dim": 4}, INDICES, (6, 4)),
        (EmbeddingTable, {"rows": 9, "dim": 4}, INDICES[:, 0], (6, 4)),
        (Identity, {"unit": [True, False, True, False, False]}, FLAT, (6, 5)),
        (PiecewiseLinear, {"edges": [[-1.0, 0.0, 2.0]] * 5}, FLAT, (6, 10)),
        (Periodic, {"frequencies": 2, "sigma": 0.3}, FLAT, (6, 25)),
    ],
)
def test_contract(layer, arguments, call, shape, tmp_path):
    check_layer(layer, arguments, call, shape, tmp_path, xla=layer is not EmbeddingTable)


def test_numbers_spread_over_0_to_1_are_standardised():
    evenly = (tf.range(1000.0) + 0.5) / 1000
    numbers = Identity([False, True])(tf.stack([evenly, evenly], axis=1)).numpy()
    np.testing.assert_array_equal(numbers[:, 0], evenly)
    np.testing.assert_allclose([numbers[:, 1].mean(), numbers[:, 1].std()], [0, 1], atol=1e-5)


def test_a_towers_output_layer_is_one_that_json_describes():
    tower = Tower((), bias=[-3.0, 0.1, 1 / 3])
    tower(tf.ones((2, 4)))
    described = json.loads(json.dumps(tower.output_layer.get_config()))
    again = tf.keras.layers.Dense.from_config(described)
    again.build((2, 4))
    for layer in (tower.output_layer, again):
        np.testing.assert_array_equal(layer.bias.numpy(), np.float32([-3.0, 0.1, 1 / 3]))


def test_experts_start_as_dense_layers_do():
    bank = ExpertBank(experts=40, units=(30,))
    bank.build((None, 20))
    kernel = bank.kernels[0].numpy()
    limit = np.sqrt(6 / (20 + 30))  # Glorot uniform of one expert's (20, 30), not of the stacked shape
    assert np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(axis=(1, 2)), limit / np.sqrt(3), rtol=0.1)


def test_gates_by_hand():
    gates = SoftmaxGates(gates=2, experts=2)
    gates.build((None, 1))
    gates.kernel.assign([[[0.0, np.log(3.0)]], [[np.log(4.0), 0.0]]])
    np.testing.assert_allclose(gates(tf.ones((1, 1)))[0], [[0.25, 0.75], [0.8, 0.2]], rtol=1e-6)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    tf.keras.utils.set_random_seed(3)
    dropped = Dropout(0.3)(tf.ones((200, 100)), training=True).numpy()
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.7], rtol=1e-6)
    assert abs((dropped == 0).mean() - 0.3) < 0.02


def test_dropout_masks_differ_by_call_and_replay_from_a_checkpoint(tmp_path):
    layer, ones = Dropout(0.5), tf.ones((8, 8))
    layer(ones, training=True)
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "c"))
    first, second = layer(ones, training=True).numpy(), layer(ones, training=True).numpy()
    assert (first != second).any()
    other = Dropout(0.5)
    other(ones, training=True)
    tf.train.Checkpoint(layer=other).read(path)
    np.testing.assert_array_equal(other(ones, training=True).numpy(), first)


def test_dropout_refuses_a_rate_of_one():
    with pytest.raises(ValueError, match="got 1"):
        Dropout(1.0)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("sum", [[5.0, 8.0], [0.0, 0.0]]),
        ("mean", [[2.5, 4.0], [0.0, 0.0]]),
        ("sqrtn", [[5 / 2**0.5, 8 / 2**0.5], [0, 0]]),
    ],
)
def test_lists_are_pooled_without_their_padding(pooling, expected):
    table = EmbeddingTable(rows=4, dim=2)
    table.build((None, 3))
    table.table.assign([[100.0, 100.0], [2.0, 3.0], [3.0, 5.0], [7.0, 7.0]])
    pooled = table(tf.constant([[1, 2, 0], [0, 0, 0]], tf.int64), pooling=pooling)
    np.testing.assert_allclose(pooled, expected, rtol=1e-6)
    np.testing.assert_allclose(table(tf.constant([0, 3], tf.int64)), [[100, 100], [7, 7]])


def test_padding_gets_no_gradient_and_missing_scalars_do():
    table = EmbeddingTable(rows=4, dim=2)
    table.build((None, 3))

    def gradient(indices):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(table(tf.constant(indices, tf.int64)))
        sparse = tape.gradient(loss, table.table)
        assert isinstance(sparse, tf.IndexedSlices)
        return tf.convert_to_tensor(sparse).numpy()[:, 0].tolist()

    assert gradient([[1, 3, 0, 0]]) == [0, 0.5, 0, 0.5]
    assert gradient([0, 1, 1]) == [1, 2, 0, 0]


def test_the_gradient_of_lists_holds_each_row_once():
    table = EmbeddingTable(rows=4, dim=2)
    with tf.GradientTape() as tape:
        pooled = table(tf.constant([[3, 1, 3], [1, 0, 0], [0, 0, 0]], tf.int64))
        loss = tf.reduce_sum(pooled * tf.constant([[1.0], [10.0], [100.0]]))
    sparse = tape.gradient(loss, table.table)
    assert sorted(sparse.indices.numpy()) == [1, 3]
    by_hand = [[0, 0], [1 / 3 + 10, 1 / 3 + 10], [0, 0], [2 / 3, 2 / 3]]
    np.testing.assert_allclose(tf.convert_to_tensor(sparse), by_hand, rtol=1e-6)
    np.testing.assert_array_equal(table(tf.zeros((2, 3), tf.int64)), np.zeros((2, 2)))


def test_piecewise_linear_bins_by_hand():
    layer = PiecewiseLinear([[0.0, 1.0, 3.0, 4.0]])
    found = layer(tf.constant([[-2.0], [0.5], [2.0], [3.5], [6.0]])).numpy()
    expected = [[-2, 0, 0], [0.5, 0, 0], [1, 0.5, 0], [1, 1, 0.5], [1, 1, 3]]
    np.testing.assert_allclose(found, expected)
    with pytest.raises(ValueError, match="increase"):
        PiecewiseLinear([[0.0, 0.0, 1.0]])


def naive_periodic(values: Values, x: tf.Tensor) -> tf.Tensor:
    """Number by number, wave by wave (eq. 3)."""
    columns = []
    for number, frequencies in zip(tf.unstack(x, axis=1), tf.unstack(values[0]), strict=True):
        angles = [2 * np.pi * c * number for c in tf.unstack(frequencies)]
        columns += [number, *map(tf.sin, angles), *map(tf.cos, angles)]
    return tf.stack(columns, axis=1)


EDGES = [[-1.0, 0.0, 0.5, 2.0], [-2.0, 1.0, 2.0, 4.0]]
NUMBERS = tf.constant([[-3.0, -2.5], [-0.5, 0.3], [0.2, 1.5], [1.7, 3.0], [5.0, 9.0]])
"""A row for each bin, and one beyond each end."""


def naive_piecewise_linear(values: Values, x: tf.Tensor) -> tf.Tensor:
    """Value by value, bin by bin (eq. 1)."""
    assert not values

    def filled(x: tf.Tensor, t: int, edges: list[float]) -> tf.Tensor:
        if t > 0 and x < edges[t]:
            return tf.zeros((), tf.float64)
        if t < len(edges) - 2 and x >= edges[t + 1]:
            return tf.ones((), tf.float64)
        return (x - edges[t]) / (edges[t + 1] - edges[t])

    rows = [[filled(row[i], t, e) for i, e in enumerate(EDGES) for t in range(len(e) - 1)] for row in tf.unstack(x)]
    return tf.stack([tf.stack(row) for row in rows])


def test_periodic_in_outputs_and_gradients():
    check_parity(Periodic(frequencies=3, sigma=0.3), (FLAT,), naive_periodic)


def test_piecewise_linear_in_outputs_and_gradients():
    check_parity(PiecewiseLinear(EDGES), (NUMBERS,), naive_piecewise_linear)
