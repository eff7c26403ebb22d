"""Down-sampling in the model: row weights in every loss, corrected probabilities in predictions alone."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from features.sampling import Correction
from features.spec import ROW_WEIGHT, Task
from models.heads.scores import Probability
from models.ranker import Ranker, build_ranker
from models.sampling import corrected
from tests.models.rankers import LAYOUT, RATES, TASKS, batch_of, model_config

CORRECTION = Correction(keep=0.1, root="click", below=("buy",))


def test_probabilities_by_hand_and_at_the_ends_of_float32() -> None:
    logits = tf.constant([0.0, -80.0, 80.0])
    scores = {"click": Probability.from_logit(logits), "buy": Probability.from_logit(logits - 1.0)}
    found = corrected(scores, CORRECTION)
    # q = 1/2, k = 1/10: p = 0.05 / (0.05 + 0.5) = 1/11; in logits: log p/(1-p) = log q/(1-q) + log k.
    expected = 1 / (1 + np.exp(-(np.array([0.0, -80.0, 80.0]) + np.log(0.1))))
    np.testing.assert_allclose(found["click"], expected, rtol=1e-5)
    buy = 1 / (1 + np.exp(1.0))
    assert float(found["buy"][0]) == pytest.approx(0.1 * buy / (0.1 * 0.5 + 0.5), rel=1e-6)
    assert np.isfinite(found["buy"]).all()
    assert (found["buy"].numpy() <= 1).all()


def test_predictions_are_corrected_and_losses_are_not() -> None:
    tf.keras.utils.set_random_seed(1)
    plain = build_ranker(LAYOUT, TASKS, model_config("esmm"), RATES)
    ranker = build_ranker(LAYOUT, TASKS, model_config("esmm"), RATES, correction=CORRECTION)
    for variable, other in zip(ranker.variables, plain.variables, strict=True):
        variable.assign(other)
    batch = batch_of(64)
    q, p = (
        {name: values.numpy().astype(np.float64) for name, values in made(batch).items()} for made in (plain, ranker)
    )
    kept = 0.1 * q["click"] + 1 - q["click"]
    np.testing.assert_allclose(p["click"], 0.1 * q["click"] / kept, rtol=1e-5)
    np.testing.assert_allclose(p["buy"], 0.1 * q["buy"] / kept, rtol=1e-5)
    for name in ("like", "watch", "buy_given_click"):
        np.testing.assert_array_equal(p[name], q[name])
    np.testing.assert_allclose(p["buy"], p["click"] * p["buy_given_click"], rtol=1e-5)
    assert float(ranker.compute_loss(batch, training=False)) == float(plain.compute_loss(batch, training=False))
    assert Ranker.from_config(ranker.get_config()).correction == CORRECTION


@pytest.mark.parametrize("preset", ["mmoe", "dlen", "escm2"])
def test_a_row_of_weight_two_counts_as_two_rows_in_every_loss(preset: str) -> None:
    tasks = {name: Task(label=task.label, kind=task.kind, parent=task.parent) for name, task in TASKS.items()}
    config = model_config(preset)
    plain = build_ranker(LAYOUT, tasks, config, RATES)
    weighted = build_ranker(LAYOUT.model_copy(update={"row_weights": True}), tasks, config, RATES)
    for variable, other in zip(weighted.variables, plain.variables, strict=True):
        variable.assign(other)
    batch = batch_of(6)
    twice = {name: tf.concat([values, values[:2]], axis=0) for name, values in batch.items()}
    weights = {ROW_WEIGHT: tf.constant([2.0, 2, 1, 1, 1, 1])}
    for training in (False, True):
        expected = plain.compute_loss(twice, training=training)
        found = weighted.compute_loss({**batch, **weights}, training=training)
        assert float(found) == pytest.approx(float(expected), rel=1e-5)
