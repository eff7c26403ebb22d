"""The Deep Latent Emotion Network's head."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from features.errors import ModelError
from features.outputs import UP, and_up
from features.spec import Task
from models.config import DlenHead, dlen_problem
from models.heads.head import Head, make_towers, run_towers
from models.heads.scores import Probability, Score, conjunction, logit, score_of, start_of
from models.layers.tower import Tower
from models.losses import log_add_exp


class Dlen(Head):
    """Tasks composed by Bayes' rule over UP, the latent state "the user prefers this item".

    ``P(task) = P(task|UP) P(UP) + P(task|not UP) P(not UP)`` (eq. 1). A hidden-state network on the trunk's input gives ``P(UP)``; a
    task's tower gives two logits a, b: ``P(task|UP) = sigmoid(a)`` (eq. 9) and ``P(task|not UP) = alpha sigmoid(b)`` (eq. 10), with
    ``alpha = ratio * rate`` of the task (section 3.1). Also ``P(task, UP) = P(task|UP) P(UP)`` (eq. 4). Everything is composed from
    logarithms of sigmoids, so that neither the loss nor its gradient overflows or vanishes at extreme logits.

    Only the bound alpha tells UP from its opposite, so training must start on the right side of it: P(UP) starts at `prior`,
    P(task|not UP) at alpha / 2, and P(task|UP) where P(task) is the task's rate, by eq. 1. A regression task has no positive
    state; it gets a plain tower.

    A task's bias goes to both its logits, a and b, and none to UP: where an item is shown changes what the user does, not what
    the user prefers. So ``P(task, UP) <= P(task)``, and alpha bounds P(task|not UP), with it as without.

    Shapes:
        input: {task: (batch, width)} and the trunk's input (batch, in).
        output: {task: score of (batch,)}, "up", and "<task>_and_up" for each binary task.

    Raises:
        ModelError: without a binary task, for ratios of unknown tasks, for a prior below a task's rate, or for a task whose
            name is that of another output.

    Example:
        >>> head = Dlen({"like": Task(label="like")}, DlenHead(), {"like": 0.02})
        >>> sorted(head({"like": tf.zeros((1, 4))}, tf.zeros((1, 8))))
        ['like', 'like_and_up', 'up']

    Paper: Zhang et al., Deep Latent Emotion Network for Multi-Task Learning.
    """

    def __init__(self, tasks: Mapping[str, Task], config: DlenHead, rates: Mapping[str, float], **kwargs: Any) -> None:
        super().__init__(tasks, config, rates, **kwargs)
        if problem := dlen_problem(config, tasks):
            raise ModelError(f"dlen head: {problem}")
        binary = [name for name, task in tasks.items() if task.kind == "binary"]
        self.bounds = {name: config.ratios.get(name, config.ratio) * rates[name] for name in binary}
        self.prior = _prior(config, {name: rates[name] for name in binary})
        self.state = Tower(
            config.state_units, [logit(self.prior)], config.dropout, name="hidden_state", dtype=self.dtype_policy
        )
        starts = {
            name: [self._start(name), 0.0] if name in self.bounds else [start_of(task, rates.get(name))]
            for name, task in tasks.items()
        }
        self.towers = make_towers("tower", config.tower_units, starts, config.dropout, self.dtype_policy)

    def _start(self, task: str) -> float:
        """The logit of P(task|UP) with which eq. 1 gives the task's rate."""
        without = self.bounds[task] / 2
        return logit((self.rates[task] - without * (1 - self.prior)) / self.prior)

    def call(
        self,
        inputs: dict[str, tf.Tensor],
        shared: tf.Tensor,
        training: bool | None = None,
        biases: Mapping[str, tf.Tensor] | None = None,
    ) -> dict[str, Score]:
        """{task: score, "up": score, "<task>_and_up": score}."""
        up = Probability.from_logit(self.state(shared, training=training)[:, 0])
        scores: dict[str, Score] = {}
        joint: dict[str, Score] = {}
        for name, outputs in run_towers(self.towers, inputs, biases, training).items():
            if name in self.bounds:
                given = Probability.from_logit(outputs[:, 0])
                scores[name] = compose(up, given, bounded(outputs[:, 1], self.bounds[name]))
                joint[and_up(name)] = conjunction(up, given)  # eq. 4
            else:
                scores[name] = score_of(self.tasks[name], outputs[:, 0])
        return {**scores, UP: up, **joint}

    @classmethod
    def output_names(cls, tasks: Mapping[str, Task]) -> tuple[str, ...]:
        """The tasks, "up", and "<task>_and_up" for each binary task."""
        return (*tasks, UP, *(and_up(name) for name, task in tasks.items() if task.kind == "binary"))


def bounded(logits: tf.Tensor, bound: float) -> Probability:
    """``P(task|not UP) = bound * sigmoid(logits)`` (eq. 10)."""
    return Probability(
        math.log(bound) + tf.math.log_sigmoid(logits),
        tf.math.log1p(-bound * tf.sigmoid(logits)),  # at least log(1 - bound): never near a singularity
    )


def compose(up: Probability, given: Probability, without: Probability) -> Probability:
    """Eq. 1 and 3: P(task) and its complement from P(UP), P(task|UP) and P(task|not UP)."""
    return Probability(
        log_add_exp(given.log_p + up.log_p, without.log_p + up.log_not_p),
        log_add_exp(given.log_not_p + up.log_p, without.log_not_p + up.log_not_p),
    )


def _prior(config: DlenHead, rates: Mapping[str, float]) -> float:
    """P(UP) at the start: `prior`, or the chance of any interaction if tasks were independent, in [0.05, 0.95]."""
    if config.prior is None:
        nothing = math.prod(1 - rate for rate in rates.values())
        return max(min(max(1 - nothing, 0.05), 0.95), *rates.values())
    if too_high := [f"'{name}' ({rate:.3g})" for name, rate in rates.items() if rate >= config.prior]:
        raise ModelError(
            f"dlen head: prior {config.prior:g} is P(UP) and must exceed every task's rate, for whoever interacts "
            f"prefers; rates at or above it: {', '.join(too_high)}"
        )
    return config.prior
