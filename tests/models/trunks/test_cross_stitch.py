from __future__ import annotations

import numpy as np
import tensorflow as tf

from models.config import CrossStitchTrunk
from models.layers.cross_stitch import CrossStitch
from models.trunks.cross_stitch import CrossStitchNetworks
from tests.models.layer_contract import check_layer
from tests.models.trunks.loops import INPUT, TASKS, Outputs, built, check_parity, dense

CONFIG = CrossStitchTrunk(units=(7, 6))
TASK_NUMBERS = range(len(TASKS))


def naive(trunk: CrossStitchNetworks, x: tf.Tensor) -> Outputs:
    """Equation 1 of the paper for each layer, task and channel."""
    mixed = [x for _ in TASKS]
    for bank, stitch, units in zip(trunk.banks, trunk.stitches, CONFIG.units, strict=True):
        hidden = [dense(mixed[k], bank.kernels[0][k], bank.biases[0][k]) for k in TASK_NUMBERS]
        mixed = [
            tf.stack(
                [tf.add_n([stitch.alpha[c, k, j] * hidden[j][:, c] for j in TASK_NUMBERS]) for c in range(units)],
                axis=1,
            )
            for k in TASK_NUMBERS
        ]
    return dict(zip(TASKS, mixed, strict=True))


def test_batched_equals_loop():
    trunk = built(CrossStitchNetworks, CONFIG)
    check_parity(trunk, lambda x: naive(trunk, x))


def test_contract(tmp_path):
    arguments = {"tasks": list(TASKS), "config": CrossStitchTrunk(units=(7, 6), dropout=0.5)}
    check_layer(CrossStitchNetworks, arguments, INPUT, dict.fromkeys(TASKS, (9, 6)), tmp_path)


def test_a_unit_starts_as_a_convex_combination_that_prefers_the_own_task():
    stitch = CrossStitch(0.7)
    stitch.build((None, 4, 2))
    expected = [[0.7 if j == k else 0.1 for j in range(4)] for k in range(4)]
    for channel in range(2):
        np.testing.assert_allclose(stitch.alpha[channel], expected, rtol=1e-6)


def test_one_task_alone_is_not_mixed():
    stitch = CrossStitch(0.9)
    np.testing.assert_array_equal(stitch(tf.constant([[[2.0, 3.0]]])), [[[2, 3]]])


def test_each_channel_has_a_unit_of_its_own():
    stitch = CrossStitch()
    stitch.build((None, 2, 2))
    # Channel 0: tasks keep their own; channel 1: they swap.
    stitch.alpha.assign(np.stack([np.eye(2), [[0, 1], [1, 0]]]))
    np.testing.assert_array_equal(stitch(tf.constant([[[1.0, 2.0], [3.0, 4.0]]])), [[[1, 4], [3, 2]]])
