"""Negative down-sampling: what the rule takes, and what corrections are exact, against Bayes' rule by enumeration."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.sampling import Correction, Downsample, correction_of
from features.spec import Dataset, Task

CHAIN = {"click": Task(label="c"), "like": Task(label="l", parent="click"), "buy": Task(label="b", parent="like")}


def probability(**keys: Any) -> Downsample:
    return Downsample(keep=0.1, correct="probability", **keys)


def dataset(downsample: dict[str, Any], **tasks: Any) -> Dataset:
    return Dataset.model_validate(
        {
            "name": "log",
            "source": "log.csv",
            "columns": dict.fromkeys(("user", "c", "l", "b", "w"), "int64"),
            "features": {"user": "id"},
            "tasks": tasks or {"click": "c", "like": {"label": "l", "parent": "click"}},
            "split": "random",
            "downsample": downsample,
        }
    )


def learned(joint: dict[tuple[int, ...], float], keep: float, task: int, rule: tuple[int, ...]) -> float:
    """P(task | kept) where rows with a positive label of the rule are kept and others with probability `keep`."""
    kept = {y: p * (1.0 if any(y[t] for t in rule) else keep) for y, p in joint.items()}
    return sum(p for y, p in kept.items() if y[task]) / sum(kept.values())


@given(p=st.tuples(*[st.floats(0.001, 0.999)] * 3), keep=st.floats(0.001, 0.999))
def test_along_a_chain_bayes_gives_back_the_probability_of_all_rows(p: tuple[float, ...], keep: float) -> None:
    click, like, buy = p
    joint = dict.fromkeys(itertools.product((0, 1), repeat=3), 0.0)
    joint[0, 0, 0], joint[1, 0, 0] = 1 - click, click * (1 - like)
    joint[1, 1, 0], joint[1, 1, 1] = click * like * (1 - buy), click * like * buy
    for rule in ((0,), (0, 1, 2), (0, 2)):
        q = [learned(joint, keep, task, rule) for task in range(3)]
        z = keep * q[0] + 1 - q[0]
        assert [keep * value / z for value in q] == pytest.approx([click, click * like, click * like * buy], rel=1e-9)
        assert q[1] / q[0] == pytest.approx(like, rel=1e-9)


def test_the_correction_by_hand() -> None:
    # P(click) = 0.02 and k = 0.1: kept are 0.02 + 0.098 of the rows, of which 0.02 / 0.118 are clicks.
    q = 0.02 / 0.118
    assert q / (q + (1 - q) / 0.1) == pytest.approx(0.02)


def test_what_is_corrected() -> None:
    assert correction_of(None, CHAIN) is None
    assert correction_of(Downsample(keep=0.1), CHAIN) is None
    whole = Correction(keep=0.1, root="click", below=("like", "buy"))
    assert correction_of(probability(unless=("click",)), CHAIN) == whole
    assert correction_of(probability(), CHAIN) == whole
    # The watch time of clicked rows alone: no clicked row is left out.
    watch = {"watch": Task(label="w", kind="regression", mask="c")}
    assert correction_of(probability(unless=("click",)), {**CHAIN, **watch}) == whole


@pytest.mark.parametrize(
    ("tasks", "unless", "said"),
    [
        (
            {"click": Task(label="c"), "like": Task(label="l")},
            None,
            "no task is positive whenever one of click, like is",
        ),
        (
            {"click": Task(label="c"), "like": Task(label="l")},
            ("click",),
            "cannot correct task 'like'.*not its `parent`",
        ),
        (CHAIN, ("like",), "cannot correct task 'click'"),
        ({"click": Task(label="c"), "watch": Task(label="w", kind="regression")}, ("click",), "task 'watch'"),
        ({"click": Task(label="c", loss="focal")}, None, "its loss .*focal.* trains no probability"),
        ({"click": Task(label="c"), "like": Task(label="l", parent="click", mask="w")}, None, "it has mask w"),
        ({"click": Task(label="c", sample_weight="w"), "like": Task(label="l", parent="click")}, None, "sample_weight"),
    ],
)
def test_a_correction_that_is_not_exact_is_refused(tasks: Any, unless: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        correction_of(probability(unless=unless), tasks)
    assert "`correct: weights`" in str(caught.value)
    assert correction_of(Downsample(keep=0.1, unless=unless), tasks) is None


def test_tasks_that_are_no_chain_are_not_corrected_by_the_same_formula() -> None:
    """What the refusal is for: click and like independent given x, like = 1 among the rows left out."""
    joint = {(c, s): (0.2 if c else 0.8) * (0.3 if s else 0.7) for c in (0, 1) for s in (0, 1)}
    q = [learned(joint, 0.1, task, (0,)) for task in (0, 1)]
    z = 0.1 * q[0] + 1 - q[0]
    assert 0.1 * q[0] / z == pytest.approx(0.2)
    assert q[1] == pytest.approx(0.3)  # independent of the rule given x: right as it is ...
    assert 0.1 * q[1] / z != pytest.approx(0.3)  # ... and wrong by the formula; in general neither holds


@pytest.mark.parametrize(
    ("downsample", "said"),
    [
        ({"keep": 0}, "greater than 0"),
        ({"keep": 1}, "less than 1"),
        ({"keep": 0.1, "unless": []}, "each once; got none"),
        ({"keep": 0.1, "unless": ["click", "click"]}, "each once; got click, click"),
        ({"keep": 0.1, "unless": ["clik"]}, "unknown task 'clik'; did you mean 'click'"),
        ({"keep": 0.1, "correct": "probability", "unless": ["like"]}, "cannot correct task 'click'"),
    ],
)
def test_a_wrong_rule_is_told(downsample: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        dataset(downsample)


def test_a_rule_is_of_binary_tasks() -> None:
    watch = {"label": "w", "kind": "regression"}
    with pytest.raises(pydantic.ValidationError, match="'watch' is a regression"):
        dataset({"keep": 0.1, "unless": ["watch"]}, click="c", watch=watch)
    with pytest.raises(pydantic.ValidationError, match="no binary task"):
        dataset({"keep": 0.1}, watch=watch)
    assert dataset({"keep": 0.1}, click="c", watch=watch).downsample.rule({"click": Task(label="c")}) == ("click",)


def test_a_spec_with_down_sampling_travels_as_json() -> None:
    spec = dataset({"keep": 0.25, "unless": ["click"], "correct": "probability"})
    assert Dataset.model_validate_json(spec.model_dump_json()) == spec
    assert not spec.weighs_rows
    assert dataset({"keep": 0.25}).weighs_rows


def test_an_expected_log_loss_with_weights_is_that_of_all_rows() -> None:
    """Unbiased for every task, in or out of the rule: sums over kept rows, weighted, are sums over all rows in expectation."""
    draw = np.random.default_rng(0)
    joint = draw.dirichlet(np.ones(8))
    rows = list(itertools.product((0, 1), repeat=3))
    loss = draw.random(8)
    kept = np.array([1.0 if y[0] or y[1] else 0.1 for y in rows])
    weights = np.where(kept == 1, 1, 10)
    assert (joint * kept * weights * loss).sum() == pytest.approx((joint * loss).sum(), rel=1e-12)
