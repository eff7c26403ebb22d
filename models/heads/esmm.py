"""The Entire Space Multi-Task Model's head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from features.errors import ModelError
from features.outputs import given
from features.spec import Task
from models.config import Escm2Head, EsmmHead, chain_problem, parents_first
from models.heads.head import Head, make_towers, run_towers
from models.heads.scores import Probability, Score, conjunction, logit, score_of, start_of


class Esmm(Head):
    """Along each chain of tasks a product of conditional probabilities.

    ``P(task) = P(parent) P(task|parent)``, ``P(task|parent) = sigmoid(tower(x_task))``: the paper's pCTCVR = pCTR x pCVR (eq. 1), for
    chains and trees of any length. The losses are the tasks' own, of P(task) over all impressions (eq. 3): none looks at
    the rows with a positive parent alone. A task without parent has ``P(task) = sigmoid(tower(x_task))``, a regression a plain
    tower. A task's bias goes to its tower's logit: what raises P(parent) raises P(task) by the product.

    Products are sums of logarithms, so that neither losses nor gradients vanish far down a chain. Biases start where P(task)
    is the task's rate: at ``logit(rate / the parent's rate)``.

    Shapes:
        input: {task: (batch, width)}.
        output: {task: score of (batch,)}, and "<task>_given_<parent>", P(task|parent), of each task with a parent.

    Raises:
        ModelError: without a chain of binary tasks, or for a task that is not rarer than its parent.

    Example:
        >>> tasks = {"click": Task(label="click"), "buy": Task(label="buy", parent="click")}
        >>> head = Esmm(tasks, EsmmHead(), {"click": 0.2, "buy": 0.01})
        >>> scores = head({name: tf.zeros((1, 4)) for name in tasks}, tf.zeros((1, 8)))
        >>> round(float(scores["buy_given_click"].prediction), 3)
        0.05

    Paper: Ma et al., Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click Conversion Rate, SIGIR 2018.
    """

    config: EsmmHead | Escm2Head

    def __init__(
        self, tasks: Mapping[str, Task], config: EsmmHead | Escm2Head, rates: Mapping[str, float], **kwargs: Any
    ) -> None:
        super().__init__(tasks, config, rates, **kwargs)
        if problem := chain_problem(tasks):
            raise ModelError(f"{config.kind} head: {problem}")
        starts = {name: [self._start(name)] for name in tasks}
        self.towers = make_towers("tower", config.tower_units, starts, config.dropout, self.dtype_policy)

    def _start(self, name: str) -> float:
        """The tower's output that makes P(task) the task's rate; a regression's mean."""
        task = self.tasks[name]
        if task.kind != "binary" or task.parent is None:
            return start_of(task, self.rates.get(name))
        rate, of_parent = self.rates[name], self.rates[task.parent]
        if rate >= of_parent:
            raise ModelError(
                f"{self.config.kind} head: task '{name}' has rate {rate:.6g} in the training split and its parent "
                f"'{task.parent}' {of_parent:.6g}; a task happens after its parent only, so its rate must be the smaller one"
            )
        return logit(rate / of_parent)

    def call(
        self,
        inputs: dict[str, tf.Tensor],
        shared: tf.Tensor,
        training: bool | None = None,
        biases: Mapping[str, tf.Tensor] | None = None,
    ) -> dict[str, Score]:
        """{task: score, "<task>_given_<parent>": score}."""
        del shared
        logits = run_towers(self.towers, inputs, biases, training)
        outputs = {name: values[:, 0] for name, values in logits.items()}
        scores: dict[str, Score] = {}
        for name in parents_first(self.tasks):
            task = self.tasks[name]
            if task.kind != "binary":
                scores[name] = score_of(task, outputs[name])
                continue
            scores[name] = own = Probability.from_logit(outputs[name])
            if task.parent is not None:
                scores[given(name, task.parent)] = own
                scores[name] = conjunction(Probability(*scores[task.parent]), own)
        return {name: scores[name] for name in Esmm.output_names(self.tasks)}

    @classmethod
    def output_names(cls, tasks: Mapping[str, Task]) -> tuple[str, ...]:
        """The tasks, and "<task>_given_<parent>" of each task with a parent."""
        return (*tasks, *(given(name, task.parent) for name, task in tasks.items() if task.parent is not None))
