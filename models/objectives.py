"""A task's loss by what its configuration names."""

from __future__ import annotations

import tensorflow as tf

from features.losses import AnyLoss, FocalLoss, HuberLoss, WeightedLogistic
from models.heads.scores import Log1pValue, Probability, Score
from models.losses import focal, huber, log_loss, smoothed, squared_error, weighted_logistic


def row_losses(loss: AnyLoss, labels: tf.Tensor, score: Score) -> tf.Tensor:
    """A task's loss of each row, (batch,).

    Args:
        loss: as `features.losses` defines it.
        labels: (batch,), 0/1 of a binary task, on the label's own scale of a regression.
        score: of the same kind as the loss.
    """
    if isinstance(score, Probability):
        return _binary_loss(loss, labels, score)
    if isinstance(loss, WeightedLogistic):
        return weighted_logistic(labels, score.output)
    targets = tf.math.log1p(labels) if isinstance(score, Log1pValue) else labels
    if isinstance(loss, HuberLoss):
        return huber(targets, score.output, loss.delta)
    return squared_error(targets, score.output)


def _binary_loss(loss: AnyLoss, labels: tf.Tensor, score: Probability) -> tf.Tensor:
    labels = smoothed(labels, getattr(loss, "label_smoothing", 0.0))
    if isinstance(loss, FocalLoss):
        return focal(labels, *score, loss.gamma, loss.alpha)
    return log_loss(labels, *score)
