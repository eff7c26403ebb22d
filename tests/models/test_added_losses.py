"""What layers add to the loss by Keras' ``add_loss``: all of it, once, in training only, compiled or not."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.ranker import Ranker, build_ranker
from tests.models.rankers import LAYOUT, RATES, TASKS, batch_of, model_config

GATE = {"kind": "top_k", "k": 2, "noise": False, "importance_weight": 0.5}


def ranker_of(gate: dict[str, object], precision: str = "float32") -> Ranker:
    tf.keras.utils.set_random_seed(1)
    return build_ranker(LAYOUT, TASKS, model_config("ple", gate=gate), RATES, precision)


def added(ranker: Ranker, batch: dict[str, tf.Tensor], losses: tuple[tf.Tensor, dict[str, tf.Tensor]]) -> float:
    """The total without the tasks' losses."""
    total, by_task = losses
    assert total.dtype == tf.float32
    return float(total) - sum(task.weight * float(by_task[name]) for name, task in TASKS.items())


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_every_gates_balance_is_in_the_loss_once(precision: str, jit: bool):
    ranker = ranker_of(GATE, precision)
    dense = tf.function(ranker.dense_loss, autograph=False, jit_compile=jit)

    def loss(batch: dict[str, tf.Tensor], training: bool):
        return dense(ranker.embed(batch), ranker.labels(batch), training=training)

    tolerance = 1e-3 if precision == "float32" else 0.02
    for batch in (batch_of(64), batch_of(64), batch_of(16, seed=1), batch_of(64)):  # the same graph again, and another
        sums = [weights.numpy().astype(np.float64).sum(axis=0) for weights in ranker.gate_weights(batch).values()]
        assert len(sums) == len(TASKS) + 1 + len(TASKS)  # two layers' gates, and the shared one between them
        expected = 0.5 * sum(gate.var() / gate.mean() ** 2 for gate in sums)
        assert added(ranker, batch, loss(batch, True)) == pytest.approx(expected, rel=tolerance)
        assert added(ranker, batch, loss(batch, False)) == pytest.approx(0, abs=1e-5)


def test_eager_calls_leave_no_losses_behind():
    ranker, batch = ranker_of(GATE), batch_of(32)
    once = float(ranker.compute_loss(batch, training=True))
    ranker(batch, training=True)
    assert float(ranker.compute_loss(batch, training=True)) == once
    ranker(batch)
    assert ranker.trunk.losses == []


def test_keras_own_fit_counts_them_once():
    ranker, batch = ranker_of(GATE), batch_of(32)
    with tf.GradientTape() as tape:
        loss, _ = ranker.dense_loss(ranker.embed(batch), ranker.labels(batch), training=True)
    variables = ranker.dense_variables
    gradients = tape.gradient(loss, variables)
    expected = [variable - 0.5 * gradient for variable, gradient in zip(variables, gradients, strict=True)]
    ranker.compile(optimizer=tf.keras.optimizers.legacy.SGD(0.5))
    history = ranker.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
    assert history["total_loss"] == pytest.approx([float(loss)], rel=1e-5)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-5, err_msg=variable.name)
    tested = ranker.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)
    assert tested["total_loss"] == pytest.approx(float(ranker.compute_loss(batch)), rel=1e-5)


def test_noise_differs_by_call_and_restores_with_the_model(tmp_path):
    ranker, batch = ranker_of({"kind": "top_k", "k": 2}), batch_of(32)
    loss = tf.function(lambda: ranker.compute_loss(batch, training=True), autograph=False, jit_compile=False)
    path = tf.train.Checkpoint(ranker=ranker).write(str(tmp_path / "c"))
    first, second = float(loss()), float(loss())
    assert first != second
    tf.train.Checkpoint(ranker=ranker).read(path).assert_consumed()
    assert [float(loss()), float(loss())] == [first, second]
