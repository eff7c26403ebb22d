from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from features.errors import ModelError
from features.spec import Task
from models.config import AitmHead, Escm2Head, EsmmHead
from models.heads.aitm import Aitm
from models.heads.escm2 import Escm2
from models.heads.esmm import Esmm
from models.heads.scores import Probability, Value, conjunction
from models.losses import log_loss, weighted_mean
from tests.models.heads.naive import (
    BY_TASK,
    CHAIN,
    PARENTS,
    RATES,
    SHARED,
    TENSORS,
    Arrays,
    check_weight_gradients,
    exact,
    mean_log_loss,
    numeric_gradients,
    sigmoid,
    tower,
)
from tests.models.layer_contract import check_layer


def naive(head: Esmm, x: Arrays) -> dict[str, np.ndarray]:
    """Plain products of probabilities."""
    own = {name: sigmoid(tower(head.towers[name], x[name])) for name in RATES}
    p = {"click": own["click"], "cart": own["click"] * own["cart"], "like": own["click"] * own["like"]}
    p["buy"] = p["cart"] * own["buy"]
    return {**p, **{f"{child}_given_{parent}": own[child] for child, parent in PARENTS.items()}}


def test_outputs_losses_and_gradients_are_those_of_the_equations():
    head = Esmm(CHAIN, EsmmHead(tower_units=(3,)), RATES)
    with tf.GradientTape() as tape:
        tape.watch(BY_TASK)
        scores = head(BY_TASK, SHARED)
        loss = tf.add_n(
            [
                weighted_mean(log_loss(TENSORS[f"label_{name}"], *scores[name]), TENSORS.get(f"mask_{name}"))
                for name in RATES
            ]
        )
    for name, expected in naive(head, exact(BY_TASK)).items():
        np.testing.assert_allclose(scores[name].prediction, expected, rtol=1e-5)
        np.testing.assert_allclose(tf.exp(scores[name].log_not_p), 1 - expected, rtol=1e-5)
    np.testing.assert_allclose(scores["watch"].output, tower(head.towers["watch"], exact(BY_TASK)["watch"]), rtol=1e-5)

    def total(x: Arrays) -> float:
        p = naive(head, x)
        return sum(mean_log_loss(name, p[name]) for name in RATES)

    assert float(loss) == pytest.approx(total(exact(BY_TASK)), rel=1e-5)
    inputs = {name: BY_TASK[name] for name in RATES}
    weights = head.trainable_variables
    found, to_weights = tape.gradient(loss, [inputs, weights])
    for name, expected in numeric_gradients(total, exact(inputs)).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-6)
    at = exact(BY_TASK)
    check_weight_gradients(weights, to_weights, lambda: total(at))


def test_contract(tmp_path):
    arguments = {"tasks": CHAIN, "config": EsmmHead(tower_units=(3,)), "rates": RATES}
    names = (*RATES, *(f"{child}_given_{parent}" for child, parent in PARENTS.items()))
    shapes = {**dict.fromkeys(names, Probability((6,), (6,))), "watch": Value((6,))}
    check_layer(Esmm, arguments, (BY_TASK, SHARED), shapes, tmp_path)


def test_outputs_are_the_tasks_in_their_order_then_the_conditionals():
    names = ("buy", "click", "watch", "cart", "like", "buy_given_cart", "cart_given_click", "like_given_click")
    assert Esmm.output_names(CHAIN) == names
    assert tuple(Esmm(CHAIN, EsmmHead(), RATES)(BY_TASK, SHARED)) == names


@pytest.mark.parametrize(("head", "config"), [(Esmm, EsmmHead()), (Escm2, Escm2Head()), (Aitm, AitmHead())])
def test_every_task_starts_at_its_rate(head, config):
    blank = {name: tf.zeros((1, 4)) for name in CHAIN}
    scores = head(CHAIN, config, {**RATES, "watch": 7.5})(blank, tf.zeros((1, 5)))
    found = {name: float(scores[name].prediction[0]) for name in CHAIN}
    assert found == pytest.approx({**RATES, "watch": 7.5}, rel=1e-5)


@pytest.mark.parametrize("spread", [1.0, 30.0, 1e3])
def test_no_task_is_likelier_than_its_parent(spread: float):
    head = Esmm(CHAIN, EsmmHead(tower_units=()), RATES)
    inputs = {name: spread * tf.random.normal((500, 4), seed=i) for i, name in enumerate(CHAIN)}
    scores = head(inputs, SHARED)
    for child, parent in PARENTS.items():
        assert (scores[child].prediction.numpy() <= scores[parent].prediction.numpy()).all()


def test_the_end_of_a_long_chain_keeps_its_gradient():
    logits = [tf.constant([-60.0]) for _ in range(4)]
    with tf.GradientTape() as tape:
        tape.watch(logits)
        p = Probability.from_logit(logits[0])
        for logit in logits[1:]:
            p = conjunction(p, Probability.from_logit(logit))
        loss = log_loss(tf.constant(1.0), *p)
    # P = sigmoid(-60)^4 = exp(-240) is 0 in float32; its logarithm is not, and falls by 1 with each logit.
    assert float(p.prediction[0]) == 0
    assert float(loss[0]) == pytest.approx(240)
    assert [float(g[0]) for g in tape.gradient(loss, logits)] == pytest.approx([-1.0] * 4)


@pytest.mark.parametrize("rate", [0.3, 0.4])
def test_a_task_that_is_not_rarer_than_its_parent_is_refused_with_both_rates(rate: float):
    with pytest.raises(ModelError, match=rf"esmm head: task 'like' has rate {rate} .* its parent 'click' 0.3; "):
        Esmm(CHAIN, EsmmHead(), {**RATES, "like": rate})


@pytest.mark.parametrize(("head", "config"), [(Esmm, EsmmHead()), (Escm2, Escm2Head()), (Aitm, AitmHead())])
@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ({"click": Task(label="a"), "like": Task(label="b")}, "needs a task with `parent`.* tasks: click, like"),
        ({"buy": Task(label="a", parent="cart")}, "needs 'cart', the parent of task 'buy'; tasks: buy"),
        (
            {"watch": Task(label="a", kind="regression"), "buy": Task(label="b", parent="watch")},
            "'watch' of 'buy' with parent 'watch' is a regression",
        ),
        (
            {"click": Task(label="a"), "watch": Task(label="b", kind="regression", parent="click")},
            "'watch' of 'watch' with parent 'click' is a regression",
        ),
        (
            {"click": Task(label="a"), "b": Task(label="b", parent="click"), "b_given_click": Task(label="c")},
            "outputs of its own named b_given_click",
        ),
    ],
)
def test_what_heads_along_a_chain_refuse(head, config, tasks: dict[str, Task], said: str):
    with pytest.raises(ModelError, match=f"{config.kind} head: .*{said}"):
        head(tasks, config, dict(zip(tasks, (0.3, 0.1, 0.05), strict=False)))
