"""The Entire Space Counterfactual Multi-Task Model's head."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from features.outputs import given
from features.spec import ROW_WEIGHT, Task, label_column, mask_column, weight_column
from models.config import Escm2Head, children
from models.heads.esmm import Esmm
from models.heads.head import make_towers
from models.heads.scores import Probability, Score, Value
from models.losses import log_loss, weighted_mean


class Escm2(Esmm):
    """ESMM whose conditional probabilities are also held against what would come of every impression's parent happening.

    With o the parent's label, p = max(P(parent), `min_propensity`) and e the log loss of P(task|parent), a task with a parent has

    - `ipw`: ``R = mean(o e / p)``;
    - `dr`: ``R = mean(e' + o (e - e') / p) + mean(o (e - e')^2 / p)``, with ``e' = softplus(imputation(shared input))``,
      the error imputed to rows without a positive parent, and its own loss as the second term.

    The total loss is ``sum_t w_t L_t`` over tasks without parent and ``sum_t w_t (lambda_g L_t + lambda_c R_t)`` over those
    with one; L_t is ESMM's loss over all impressions, R_t the mean over rows where neither task's mask is 0, by the
    task's sample weights.

    Biases are in all of it, as in ESMM's: propensities and errors are those of the probabilities that are trained.

    Propensities are constants: no gradient of R reaches P(parent). It does reach both P(task|parent) and the imputation,
    through both terms. Authors' code published with PaddleRec multiplies `ipw` by (rows / positive parents) and caps weights
    at 15; here weights are the paper's, and the cap is `min_propensity`'s. The paper leaves the imputation's
    range open; errors are not negative, hence softplus. It starts at the log loss of always predicting the rate.

    Shapes:
        input: {task: (batch, width)} and the trunk's input (batch, in).
        output: ESMM's scores, and "imputed/<task>", e' of (batch,), which is no output of the model.

    Raises:
        ModelError: as ESMM.

    Example:
        >>> tasks = {"click": Task(label="click"), "buy": Task(label="buy", parent="click")}
        >>> head = Escm2(tasks, Escm2Head(form="dr"), {"click": 0.2, "buy": 0.1})
        >>> sorted(head({name: tf.zeros((1, 4)) for name in tasks}, tf.zeros((1, 8))))
        ['buy', 'buy_given_click', 'click', 'imputed/buy']

    Paper: Wang et al., ESCM2: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion Rate Estimation, SIGIR 2022.
    """

    config: Escm2Head

    def __init__(self, tasks: Mapping[str, Task], config: Escm2Head, rates: Mapping[str, float], **kwargs: Any) -> None:
        super().__init__(tasks, config, rates, **kwargs)
        self.parents = children(tasks)
        starts = {
            name: [_inverse_softplus(_entropy(rates[name] / rates[parent]))]
            for name, parent in (self.parents.items() if config.form == "dr" else ())
        }
        self.imputations = make_towers("imputation", config.imputation_units, starts, config.dropout, self.dtype_policy)

    def call(
        self,
        inputs: dict[str, tf.Tensor],
        shared: tf.Tensor,
        training: bool | None = None,
        biases: Mapping[str, tf.Tensor] | None = None,
    ) -> dict[str, Score]:
        """{task: score, "<task>_given_<parent>": score, "imputed/<task>": score}."""
        imputed: dict[str, Score] = {
            _imputed(name): Value(tf.math.softplus(tower(shared, training=training)[:, 0]))
            for name, tower in self.imputations.items()
        }
        return {**super().call(inputs, shared, training=training, biases=biases), **imputed}

    def loss_weight(self, task: str) -> float:
        """lambda_g for a task with a parent."""
        return self.config.global_weight if task in self.parents else 1.0

    def auxiliary_loss(
        self, scores: Mapping[str, Score], labels: Mapping[str, tf.Tensor], weights: Mapping[str, tf.Tensor | float]
    ) -> tf.Tensor:
        """``sum_t w_t lambda_c R_t``."""
        risks = [weights[name] * self.risk(name, scores, labels) for name in self.parents]
        return self.config.counterfactual_weight * tf.add_n(risks)

    def risk(self, name: str, scores: Mapping[str, Score], labels: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The counterfactual risk R of a task with a parent."""
        parent = self.parents[name]
        happened = labels[label_column(parent)]
        propensity = tf.stop_gradient(tf.maximum(scores[parent].prediction, self.config.min_propensity))
        weight = happened / propensity
        error = log_loss(labels[label_column(name)], *Probability(*scores[given(name, parent)]))
        if self.config.form == "ipw":
            rows = weight * error
        else:
            imputed = scores[_imputed(name)].prediction
            beyond = error - imputed
            rows = imputed + weight * beyond + weight * tf.square(beyond)
        factors = [mask_column(name), mask_column(parent), weight_column(name), ROW_WEIGHT]
        counts = [labels[column] for column in factors if column in labels]
        return weighted_mean(rows, math.prod(counts[1:], start=counts[0]) if counts else None)


def _imputed(task: str) -> str:
    """A name that no task can have."""
    return f"imputed/{task}"


def _entropy(p: float) -> float:
    """The log loss of predicting p of a label that is 1 with probability p."""
    return -(p * math.log(p) + (1 - p) * math.log1p(-p))


def _inverse_softplus(y: float) -> float:
    return math.log(math.expm1(y))
