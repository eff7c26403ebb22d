"""What a task's predictions are trained to minimise. `models.losses` computes them; this module loads no TensorFlow."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from features.frozen import BareKind, Frozen


class _Binary(Frozen):
    label_smoothing: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """s: labels are trained on as ``y (1 - s) + s / 2`` (Szegedy et al., Rethinking the Inception Architecture, CVPR 2016)."""


class LogLoss(_Binary):
    """Cross entropy, ``-(y log p + (1 - y) log(1 - p))``."""

    kind: Literal["log_loss"] = "log_loss"


class FocalLoss(_Binary):
    """Cross entropy in which rows that are predicted well already count less (Lin et al., Focal Loss for Dense Object
    Detection, ICCV 2017, eq. 4 and 5): ``-alpha_t (1 - p_t)^gamma log p_t``, p_t the probability of the row's class.

    Its probabilities are no frequencies: with gamma > 0 they lie nearer to 1/2, with `alpha` elsewhere. Ranking does not mind;
    heads that multiply a chain's probabilities (esmm, escm2) refuse it, and label smoothing, for the chain's tasks.
    """

    kind: Literal["focal"] = "focal"
    gamma: float = pydantic.Field(default=2.0, ge=0)
    """0: cross entropy."""
    alpha: float | None = pydantic.Field(default=None, gt=0, lt=1)
    """Weight of positives; that of negatives is ``1 - alpha``. None: both 1."""


class _Transformed(Frozen):
    transform: Literal["none", "log1p"] = "none"
    """``log1p``: the error is that of ``log(1 + y)``, for labels (>= 0) that span orders of magnitude. Predictions are
    brought back by ``exp(z) - 1``, nearer to the median than to the mean of such labels."""


class SquaredError(_Transformed):
    """``(y - z)^2``."""

    kind: Literal["mse"] = "mse"


class HuberLoss(_Transformed):
    """``e^2 / 2`` where ``|e| <= delta``, else ``delta (|e| - delta / 2)``, with e = y - z (Huber, Robust Estimation of a Location
    Parameter, 1964): outliers pull with no more than `delta`."""

    kind: Literal["huber"] = "huber"
    delta: float = pydantic.Field(default=1.0, gt=0)
    """Error from which on the loss grows no faster than evenly."""


class WeightedLogistic(Frozen):
    """Watch time as odds (Covington et al., Deep Neural Networks for YouTube Recommendations, RecSys 2016, section 4.2).

    Logistic regression in which a row with y > 0 is a positive of weight y, a row with y = 0 a negative of weight 1:
    ``y softplus(-z)`` or ``softplus(z)``. The odds ``exp(z)`` that it learns are the sum of y over the number of negatives,
    ``E[y] / (1 - P(y > 0))``: near the expected time where positives are rare, above it elsewhere. The paper predicts ``exp(z)``.
    """

    kind: Literal["weighted_logistic"] = "weighted_logistic"


BINARY_LOSSES = (LogLoss, FocalLoss)
REGRESSION_LOSSES = (SquaredError, HuberLoss, WeightedLogistic)
AnyLoss = LogLoss | FocalLoss | SquaredError | HuberLoss | WeightedLogistic
TaskLoss = Annotated[AnyLoss, pydantic.Field(discriminator="kind"), BareKind()]
"""Any of the kinds; a bare kind stands for that kind with its defaults."""


def in_log1p(loss: AnyLoss) -> bool:
    """Whether the error is that of ``log(1 + y)``."""
    return isinstance(loss, _Transformed) and loss.transform == "log1p"


def needs_nonnegative(loss: AnyLoss) -> bool:
    """Whether labels below 0 make no sense to `loss`."""
    return isinstance(loss, WeightedLogistic) or in_log1p(loss)
