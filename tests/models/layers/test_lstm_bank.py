from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.layers.lstm_bank import LstmBank
from tests.models.layer_contract import check_layer
from tests.models.naive import Values, check_parity

DRAW = np.random.default_rng(0)
SHARED = tf.constant(DRAW.normal(size=(4, 5, 3)), tf.float32)
OWN = tf.constant(DRAW.normal(size=(4, 5, 2, 3)), tf.float32)
BEGIN = tf.constant(DRAW.normal(size=(4, 16)), tf.float32)
PRESENT = tf.constant([[True] * 5, [True, True, False, False, False], [False] * 5, [True, False, True, False, False]])


@pytest.mark.parametrize("call", [(SHARED, PRESENT), (OWN, PRESENT), (SHARED, PRESENT, BEGIN)])
def test_contract(call, tmp_path):
    check_layer(LstmBank, {"networks": 2, "units": 4}, call, (4, 5, 2, 4), tmp_path)


def lstm(kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor, tokens: list[tf.Tensor]) -> list[tf.Tensor]:
    """One network over one row's steps; None stands for a step that is not present."""
    hidden = cell = tf.zeros(recurrent.shape[0], tf.float64)
    states = []
    for token in tokens:
        if token is not None:
            sums = tf.linalg.matvec(kernel, token, transpose_a=True) + tf.linalg.matvec(
                recurrent, hidden, transpose_a=True
            )
            into, forget, new, out = tf.split(sums + bias, 4)
            cell = tf.sigmoid(forget) * cell + tf.sigmoid(into) * tf.tanh(new)
            hidden = tf.sigmoid(out) * tf.tanh(cell)
        states.append(hidden)
    return states


def naive(values: Values, inputs: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    kernel, recurrent, bias = values
    rows = []
    for row in range(inputs.shape[0]):
        networks = []
        for e in range(2):
            of = inputs[row] if inputs.shape.rank == 3 else inputs[row, :, e]
            tokens = [of[t] if present[row, t] else None for t in range(inputs.shape[1])]
            networks.append(tf.stack(lstm(kernel[e], recurrent[e], bias[e, 0], tokens)))
        rows.append(tf.stack(networks, axis=1))
    return tf.stack(rows)


@pytest.mark.parametrize("inputs", [SHARED, OWN])
def test_it_is_a_loop_of_lstms(inputs):
    check_parity(LstmBank(2, 4), (inputs, PRESENT), naive)


def test_what_all_steps_share_may_be_multiplied_before():
    """[s_t, x] K = s_t K_s + x K_x."""
    bank, whole = LstmBank(2, 4), LstmBank(2, 4)
    context = tf.constant(DRAW.normal(size=(4, 6)), tf.float32)
    repeated = tf.concat([SHARED, tf.repeat(context[:, None], 5, axis=1)], axis=-1)
    whole(repeated, PRESENT)
    bank(SHARED, PRESENT)
    same = tf.concat([whole.kernel, whole.kernel], 0)[:1]  # one kernel of x for both networks, as `begin` is one
    whole.kernel.assign(tf.concat([whole.kernel[:, :3], tf.repeat(same[:, 3:], 2, axis=0)], axis=1))
    for mine, other in ((bank.kernel, whole.kernel[:, :3]), (bank.recurrent, whole.recurrent), (bank.bias, whole.bias)):
        mine.assign(other)
    found = bank(SHARED, PRESENT, tf.matmul(context, same[0, 3:]))
    np.testing.assert_allclose(found, whole(repeated, PRESENT), rtol=1e-5, atol=1e-6)


def test_each_network_is_keras_lstm():
    bank = LstmBank(2, 4)
    expected = bank(SHARED, PRESENT)
    for e in range(2):
        keras = tf.keras.layers.LSTM(4, return_sequences=True)
        keras.build((None, 5, 3))
        keras.set_weights([bank.kernel[e], bank.recurrent[e], bank.bias[e, 0]])
        mask = tf.sequence_mask([5, 2, 0, 1], 5)
        found = keras(SHARED, mask=mask)
        for row, length in enumerate((5, 2, 0, 1)):
            np.testing.assert_allclose(expected[row, :length, e], found[row, :length], rtol=1e-5, atol=1e-6)


def test_networks_start_as_keras_lstms_do():
    bank = LstmBank(3, 4)
    bank(SHARED, PRESENT)
    np.testing.assert_array_equal(bank.bias[:, 0], [[0] * 4 + [1] * 4 + [0] * 8] * 3)
    assert np.abs(bank.kernel).max() <= np.sqrt(6 / (3 + 16))
    for recurrent in bank.recurrent.numpy():
        np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(4), atol=1e-5)
    assert np.abs(bank.recurrent[0] - bank.recurrent[1]).max() > 0.01
