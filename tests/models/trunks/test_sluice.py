from __future__ import annotations

import numpy as np
import pydantic
import pytest
import tensorflow as tf

from models.config import ModelConfig, SluiceTrunk
from models.layers.layer_mixture import LayerMixture
from models.layers.subspace_stitch import SubspaceStitch
from models.trunks.sluice import Sluice, overlap
from tests.models.layer_contract import check_layer
from tests.models.trunks.loops import INPUT, INPUT64, TASKS, Outputs, built, check_parity, dense

SAME_WIDTH = SluiceTrunk(units=(6, 6, 6), subspaces=3)
WIDTHS = SluiceTrunk(units=(8, 4, 6), subspaces=2)
TASK_NUMBERS = range(len(TASKS))


def naive(trunk: Sluice, config: SluiceTrunk, x: tf.Tensor) -> Outputs:
    """The paper's alpha for every pair of subspaces, then its beta for every layer."""
    subspaces = range(config.subspaces)
    outputs: list[list[tf.Tensor]] = []
    inputs = [x for _ in TASKS]
    for bank, stitch in zip(trunk.banks, trunk.stitches, strict=True):
        hidden = [dense(inputs[k], bank.kernels[0][k], bank.biases[0][k]) for k in TASK_NUMBERS]
        parts = [part for h in hidden for part in tf.split(h, config.subspaces, axis=1)]
        mixed = [tf.add_n([stitch.alpha[p, q] * parts[q] for q in range(len(parts))]) for p in range(len(parts))]
        inputs = [tf.concat([mixed[k * config.subspaces + s] for s in subspaces], axis=1) for k in TASK_NUMBERS]
        outputs.append(inputs)
    beta, projections = trunk.mixture.beta, trunk.mixture.projections
    result = {}
    for k, task in enumerate(TASKS):
        read = [o[k] if p is None else o[k] @ p[k] for o, p in zip(outputs, projections, strict=True)]
        result[task] = tf.add_n([beta[k, layer] * h for layer, h in enumerate(read)])
    return result


@pytest.mark.parametrize("config", [SAME_WIDTH, WIDTHS])
def test_batched_equals_loop(config: SluiceTrunk):
    trunk = built(Sluice, config)
    check_parity(trunk, lambda x: naive(trunk, config, x))


def test_layers_of_one_width_are_mixed_as_they_are():
    projections = built(Sluice, SAME_WIDTH).mixture.projections
    assert projections == [None, None, None]
    shapes = [None if p is None else tuple(p.shape) for p in built(Sluice, WIDTHS).mixture.projections]
    assert shapes == [(3, 8, 6), (3, 4, 6), None]


@pytest.mark.parametrize("config", [SAME_WIDTH, WIDTHS])
def test_contract(config: SluiceTrunk, tmp_path):
    check_layer(Sluice, {"tasks": list(TASKS), "config": config}, INPUT, dict.fromkeys(TASKS, (9, 6)), tmp_path)


def test_overlap_by_hand():
    # One task, two inputs, subspaces {a, b} and {c, d}: a.c = 1, a.d = 2, b.c = 3, b.d = 4; a.b and c.d do not count.
    kernel = tf.constant([[[1.0, 0.0, 1.0, 2.0], [0.0, 1.0, 3.0, 4.0]]])
    assert float(overlap(kernel, 2)) == 1 + 4 + 9 + 16
    # Four subspaces of one unit each: all pairs, a.b = 0 and c.d = 2 + 12.
    assert float(overlap(kernel, 4)) == 1 + 4 + 9 + 16 + 0 + 14**2
    assert float(overlap(kernel, 1)) == 0


def test_the_penalty_is_over_tasks_layers_and_pairs_and_in_training_only():
    config = SluiceTrunk(units=(6, 9), subspaces=3, orthogonality=0.5)
    trunk = built(Sluice, config)
    trunk(INPUT64, training=True)
    (penalty,) = trunk.losses
    expected = 0.0
    for bank in trunk.banks:
        for kernel in bank.kernels[0].numpy():
            first, second, third = np.split(kernel, 3, axis=1)
            for one, other in ((first, second), (first, third), (second, third)):
                expected += np.linalg.norm(one.T @ other, "fro") ** 2
    assert float(penalty) == pytest.approx(0.5 * expected, rel=1e-5)
    trunk(INPUT64)
    assert trunk.losses == []
    free = built(Sluice, SluiceTrunk(units=(6,), orthogonality=0))
    free(INPUT64, training=True)
    assert free.losses == []


def test_alpha_and_beta_start_with_their_bias():
    stitch = SubspaceStitch(2)
    stitch.build((None, 3, 4))
    np.testing.assert_allclose(stitch.alpha, np.where(np.eye(6), 0.9, 0.1 / 5), rtol=1e-6)
    mixture = LayerMixture()
    mixture.build([(None, 3, 4)] * 3)
    np.testing.assert_allclose(mixture.beta, [[0.05, 0.05, 0.9]] * 3, rtol=1e-6)


def test_subspaces_that_do_not_divide_units_are_refused():
    said = "2 subspaces do not divide a layer of 7 units.*units are 8, 7"
    with pytest.raises(pydantic.ValidationError, match=said):
        ModelConfig.model_validate({"preset": "sluice", "trunk": {"units": [8, 7]}})
    with pytest.raises(ValueError, match="3 subspaces do not divide a width of 4"):
        SubspaceStitch(3)(tf.ones((1, 2, 4)))
