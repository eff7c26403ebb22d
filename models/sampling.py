"""Predictions of all rows from what was learned of down-sampled ones."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tensorflow as tf

from features.sampling import Correction
from models.heads.scores import Probability, Score
from models.losses import log_add_exp


def corrected(scores: Mapping[str, Score], correction: Correction) -> dict[str, tf.Tensor]:
    """{task: P(task | x)}, (batch,), of the correction's root and the tasks below it.

    ``p = k q / (k q_root + 1 - q_root)`` (`features.sampling`), from logarithms: what is nearly 0 or 1 keeps its digits.
    """
    log_keep = math.log(correction.keep)
    root = Probability(*scores[correction.root])
    log_kept = log_add_exp(root.log_p + log_keep, root.log_not_p)
    return {
        name: tf.exp(tf.minimum(Probability(*scores[name]).log_p + log_keep - log_kept, 0.0))
        for name in (correction.root, *correction.below)
    }
