from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from features.spec import Task
from models.config import Escm2Head
from models.heads.escm2 import Escm2
from models.heads.scores import Probability, Value
from tests.models.heads.naive import (
    BY_TASK,
    CHAIN,
    LABELS,
    PARENTS,
    RATES,
    SHARED,
    TENSORS,
    Arrays,
    check_weight_gradients,
    exact,
    log_loss,
    numeric_gradients,
    sigmoid,
    tower,
)
from tests.models.layer_contract import check_layer

FORMS = ("ipw", "dr")


def head_of(form: str, tasks=CHAIN, rates=RATES, **config) -> Escm2:
    tf.keras.utils.set_random_seed(2)
    return Escm2(tasks, Escm2Head(**{**sizes(form, 4, 3), **config}), rates)


def sizes(form: str, *imputation: int) -> dict[str, Any]:
    return {"form": form, "tower_units": (3,), **({"imputation_units": imputation} if form == "dr" else {})}


def naive_risk(head: Escm2, child: str, x: Arrays, propensity: np.ndarray) -> float:
    """Row by row, from the paper's risks; `propensity` is a constant."""
    parent = PARENTS[child]
    r = sigmoid(tower(head.towers[child], x[child]))
    rows = []
    for i in range(len(r)):
        if not all(LABELS.get(f"mask_{task}", [1] * 6)[i] for task in (child, parent)):
            continue
        o, p = LABELS[f"label_{parent}"][i], max(propensity[i], head.config.min_propensity)
        error = log_loss(LABELS[f"label_{child}"][i], r[i])
        if head.config.form == "ipw":
            rows.append(o * error / p)
        else:
            imputed = np.log1p(np.exp(tower(head.imputations[child], x["shared"])[i]))
            rows.append(imputed + o * (error - imputed) / p + o * (error - imputed) ** 2 / p)
    return sum(rows) / len(rows)


@pytest.mark.parametrize("form", FORMS)
def test_risk_and_gradients_are_those_of_the_equations(form: str):
    head = head_of(form, counterfactual_weight=0.7, min_propensity=0.25)
    head(BY_TASK, SHARED)
    for imputation in head.imputations.values():
        for variable in imputation.trainable_variables:  # biases of 0 after silent layers lie on relu's edge
            variable.assign_add(tf.fill(variable.shape, 0.1))
    inputs = {**{name: BY_TASK[name] for name in RATES}, "shared": SHARED}
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        scores = head({**BY_TASK, **{name: inputs[name] for name in RATES}}, inputs["shared"])
        loss = head.auxiliary_loss(scores, TENSORS, {name: task.weight for name, task in head.tasks.items()})
    propensities = {parent: scores[parent].prediction.numpy().astype(np.float64) for parent in PARENTS.values()}
    assert propensities["cart"].min() < 0.25 < propensities["click"].max(), "some are clipped, some are not"

    def total(x: Arrays) -> float:
        weights = {"buy": 3.0, "cart": 0.5, "like": 1.0}
        return 0.7 * sum(w * naive_risk(head, child, x, propensities[PARENTS[child]]) for child, w in weights.items())

    assert float(loss) == pytest.approx(total(exact(inputs)), rel=1e-5)
    weights = head.trainable_variables
    found, to_weights = tape.gradient(loss, [inputs, weights], unconnected_gradients="zero")
    for name, expected in numeric_gradients(total, exact(inputs)).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-6)
    at = exact(inputs)
    check_weight_gradients(weights, to_weights, lambda: total(at))


@pytest.mark.parametrize("form", FORMS)
def test_no_gradient_reaches_the_propensity(form: str):
    head = head_of(form)
    with tf.GradientTape() as tape:
        scores = head(BY_TASK, SHARED)
        risk = head.risk("like", scores, TENSORS)
    towers = {name: head.towers[name].trainable_variables for name in ("click", "like", "buy")}
    found = tape.gradient(risk, towers, unconnected_gradients="zero")
    moved = {name for name, gradients in found.items() if any((g.numpy() != 0).any() for g in gradients)}
    assert moved == {"like"}


def scores_of(click: list[float], buy: list[float], imputed: list[float]) -> dict[str, Probability | Value]:
    def probability(p: list[float]) -> Probability:
        return Probability(tf.math.log(tf.constant(p)), tf.math.log1p(-tf.constant(p)))

    return {
        "click": probability(click),
        "buy_given_click": probability(buy),
        "imputed/buy": Value(tf.constant(imputed)),
    }


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # Row 2's propensity .005 is clipped to .01; row 3 has no click.
        ("ipw", (np.log(4) / 0.5 + np.log(2) / 0.01 + 0 - np.log(0.9) / 0.8) / 4),
        (
            "dr",
            (
                (1.0 + (np.log(4) - 1.0) / 0.5 + (np.log(4) - 1.0) ** 2 / 0.5)
                + (0.2 + (np.log(2) - 0.2) / 0.01 + (np.log(2) - 0.2) ** 2 / 0.01)
                + 0.3
                + (0.0 - np.log(0.9) / 0.8 + np.log(0.9) ** 2 / 0.8)
            )
            / 4,
        ),
    ],
)
def test_risks_and_clipping_by_hand(form: str, expected: float):
    tasks = {"click": Task(label="clicked"), "buy": Task(label="bought", parent="click")}
    head = head_of(form, tasks, {"click": 0.3, "buy": 0.1}, min_propensity=0.01)
    scores = scores_of(click=[0.5, 0.005, 0.2, 0.8], buy=[0.25, 0.5, 0.5, 0.9], imputed=[1.0, 0.2, 0.3, 0.0])
    labels = {"label_click": tf.constant([1.0, 1.0, 0.0, 1.0]), "label_buy": tf.constant([1.0, 0.0, 0.0, 1.0])}
    assert float(head.risk("buy", scores, labels)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_either_mask_do_not_count(form: str):
    tasks = {"click": Task(label="clicked", mask="shown"), "buy": Task(label="bought", parent="click", mask="known")}
    head = head_of(form, tasks, {"click": 0.3, "buy": 0.1})
    scores = scores_of(click=[0.5, 0.4, 0.2], buy=[0.25, 0.5, 0.5], imputed=[1.0, 0.2, 0.3])
    labels = {"label_click": tf.ones(3), "label_buy": tf.constant([1.0, 0.0, 1.0])}
    masks = {"mask_click": tf.constant([1.0, 0.0, 1.0]), "mask_buy": tf.constant([1.0, 1.0, 0.0])}
    first = {"click": [0.5], "buy": [0.25], "imputed": [1.0]}
    alone = head.risk("buy", scores_of(**first), {name: values[:1] for name, values in {**labels, **masks}.items()})
    assert float(head.risk("buy", scores, {**labels, **masks})) == pytest.approx(float(alone))
    # log 4 / .5 = 2.7726 by inverse propensity; doubly robust 1 + .3863 / .5 + .3863^2 / .5 = 2.0711
    assert float(alone) == pytest.approx({"ipw": 2.772589, "dr": 2.071047}[form], rel=1e-5)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # Weights 3, 1, 4, .5; the third row is masked, the second has no click. -log .9 = .105361
        ("ipw", (3 * np.log(4) / 0.5 + 0.5 * -np.log(0.9) / 0.8) / 4.5),
        (
            "dr",
            (
                3 * (1.0 + (np.log(4) - 1.0) / 0.5 + (np.log(4) - 1.0) ** 2 / 0.5)
                + 0.2
                + 0.5 * (-np.log(0.9) / 0.8 + np.log(0.9) ** 2 / 0.8)
            )
            / 4.5,
        ),
    ],
)
def test_rows_count_by_the_tasks_sample_weight(form: str, expected: float):
    """The parent's own weight is another thing."""
    weighted = {"click": Task(label="clicked", sample_weight="a"), "buy": Task(label="bought", parent="click")}
    weighted["buy"] = weighted["buy"].model_copy(update={"sample_weight": "b", "mask": "known"})
    head = head_of(form, weighted, {"click": 0.3, "buy": 0.1})
    scores = scores_of(click=[0.5, 0.4, 0.2, 0.8], buy=[0.25, 0.5, 0.5, 0.9], imputed=[1.0, 0.2, 0.3, 0.0])
    labels = {
        "label_click": tf.constant([1.0, 0.0, 1.0, 1.0]),
        "label_buy": tf.constant([1.0, 0.0, 0.0, 1.0]),
        "mask_buy": tf.constant([1.0, 1.0, 0.0, 1.0]),
        "weight_click": tf.constant([7.0, 0.1, 2.0, 5.0]),
        "weight_buy": tf.constant([3.0, 1.0, 4.0, 0.5]),
    }
    assert float(head.risk("buy", scores, labels)) == pytest.approx(expected, rel=1e-5)


def test_the_imputation_starts_at_the_error_of_the_rate():
    head = head_of("dr")
    scores = head({name: tf.zeros((1, 4)) for name in CHAIN}, tf.zeros((1, 5)))
    # cart given click: 1/3
    expected = -(np.log(1 / 3) / 3 + 2 * np.log(2 / 3) / 3)
    assert float(scores["imputed/cart"].output[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_contract(tmp_path, form: str):
    arguments = {
        "tasks": CHAIN,
        "config": Escm2Head(**sizes(form, 4)),
        "rates": RATES,
    }
    conditionals = [f"{child}_given_{parent}" for child, parent in PARENTS.items()]
    shapes = {**dict.fromkeys((*RATES, *conditionals), Probability((6,), (6,))), "watch": Value((6,))}
    if form == "dr":
        shapes |= dict.fromkeys(("imputed/buy", "imputed/cart", "imputed/like"), Value((6,)))
    check_layer(Escm2, arguments, (BY_TASK, SHARED), shapes, tmp_path)


def test_only_tasks_with_a_parent_have_the_global_weight():
    head = head_of("ipw", global_weight=0.4)
    assert {name: head.loss_weight(name) for name in CHAIN} == {
        "click": 1.0, "watch": 1.0, "buy": 0.4, "cart": 0.4, "like": 0.4,
    }  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_selection_bias_goes(form: str):
    """A model too poor for the truth, one number for all rows, finds the mean over impressions and not over clicks."""
    draw = np.random.default_rng(5)
    x = draw.random(50_000)
    # P(click) = .05 + .9 x, P(buy | click) = x: .5 over all rows, E[x (.05 + .9 x)] / E[.05 + .9 x] = .65 over clicks.
    click = draw.random(len(x)) < 0.05 + 0.9 * x
    buy = click & (draw.random(len(x)) < x)
    assert buy.sum() / click.sum() == pytest.approx(0.65, abs=0.01)
    labels = {"label_click": tf.constant(click, tf.float32), "label_buy": tf.constant(buy, tf.float32)}
    tasks = {"click": Task(label="clicked"), "buy": Task(label="bought", parent="click")}
    head = head_of(form, tasks, {"click": 0.5, "buy": 0.3})
    propensity = tf.math.log(tf.constant(0.05 + 0.9 * x, tf.float32))
    logit, imputed = tf.Variable(2.0), tf.Variable(0.1)
    optimizer = tf.keras.optimizers.Adam(0.05)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            scores = {
                "click": Probability(propensity, propensity),
                "buy_given_click": Probability.from_logit(tf.fill(x.shape, logit)),
                "imputed/buy": Value(tf.fill(x.shape, imputed)),
            }
            loss = head.risk("buy", scores, labels)
        gradients = tape.gradient(loss, [logit, imputed], unconnected_gradients="zero")
        optimizer.apply_gradients(zip(gradients, [logit, imputed], strict=True))

    for _ in range(200):
        step()
    assert float(tf.sigmoid(logit)) == pytest.approx(0.5, abs=0.02)
