"""The metrics of a ranker, exact, on whole columns of labels and predictions (numpy only).

Every function takes 1-D arrays of the same length and an optional sample mask (rows where it is 0 or False do not
count). A metric that the rows cannot define (an AUC without a negative, a mean over no row) is ``None``; the docstrings
say when, and :func:`why_undefined` says it in words. A NaN among the predictions is an error, never a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.binary_metrics import BinaryMetrics, ByClass, CalibrationBin, wins

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class GroupedAuc(NamedTuple):
    """An AUC averaged over groups."""

    value: float | None
    """None where no group holds both classes."""
    groups: int
    """Groups that hold both classes; the others do not count."""
    rows: int
    """Rows of those groups."""


def by_class(labels: Array, predictions: Array, mask: Array | None = None) -> ByClass:
    """Checks and sorts; arguments and errors are those of :func:`auc`."""
    positive, predictions = _binary(labels, predictions, mask)
    return ByClass(np.sort(predictions[positive]), np.sort(predictions[~positive]))


def auc(labels: Array, predictions: Array, mask: Array | None = None) -> float | None:
    """Area under the ROC curve: P(prediction of a positive > of a negative) + P(equal) / 2, exact with ties.

    Args:
        labels: 0/1, (rows,).
        predictions: any finite or infinite number, (rows,); only their order counts.
        mask: 0/1 or bool, (rows,).

    Returns:
        The area, or None if the rows hold no positive or no negative.

    Raises:
        ValueError: lengths differ, a label is neither 0 nor 1, a prediction is NaN.
    """
    return BinaryMetrics([by_class(labels, predictions, mask)], ["auc"]).metric("auc")


def mean_auc(
    areas: Mapping[str, float | None], labels: Mapping[str, Array], masks: Mapping[str, Array] | None = None
) -> float | None:
    """One number for several tasks, to choose among models by: the mean of their AUCs, each weighed by how sure it is.

    ``sum_k AUC_k / s_k / sum_k 1 / s_k``, where ``s_k = sqrt((P + N + 1) / (12 P N))`` is the standard error that the AUC has for
    predictions that know nothing (Mann and Whitney, On a Test of Whether one of Two Random Variables is Stochastically Larger than
    the Other, 1947), for P positives and N negatives. In a plain mean a task with six positives would decide: its AUC is some
    thirty times as noisy as that of a task with thousands.

    Args:
        areas: of each task its :func:`auc` on these rows.
        labels: of each task, 0/1, (rows,).
        masks: of the tasks that have one.

    Returns:
        The mean over the tasks whose AUC is defined, or None if none is.
    """
    total = weights = 0.0
    for name, area in areas.items():
        if area is not None:
            mask = (masks or {}).get(name)
            kept = labels[name] if mask is None else labels[name][_kept(mask, len(labels[name]))]
            positives = float(np.count_nonzero(kept))
            negatives = len(kept) - positives
            weight = math.sqrt(12 * positives * negatives / (len(kept) + 1))
            total, weights = total + weight * area, weights + weight
    return total / weights if weights else None


def gauc(labels: Array, predictions: Array, groups: Array, mask: Array | None = None) -> GroupedAuc:
    """AUC within each group, averaged over the groups that hold both classes, weighted by their rows.

    ``GAUC = sum_g rows_g AUC_g / sum_g rows_g`` (Zhu et al., KDD 2017). It asks whether a user's own items are in the
    right order, which is what a feed needs; a model that only knows which users click much has a GAUC of 0.5.

    Args:
        labels: 0/1, (rows,).
        predictions: (rows,).
        groups: what a row belongs to (a user), any sortable type, (rows,).
        mask: 0/1 or bool, (rows,).

    Raises:
        ValueError: as :func:`auc`.
    """
    if len(groups) != len(labels):
        raise ValueError(f"groups and labels must have one length; got {len(groups)} and {len(labels)}")
    kept_groups = np.asarray(groups) if mask is None else np.asarray(groups)[_kept(mask, len(labels))]
    positive, predictions = _binary(labels, predictions, mask)
    keys = _keys(_codes(kept_groups), predictions)
    positives, negatives = np.sort(keys[positive]), np.sort(keys[~positive])
    if not len(positives):
        return GroupedAuc(None, 0, 0)
    names = positives >> np.uint64(32)
    begins, ends = _runs(names[1:] != names[:-1])
    firsts = names[begins] << np.uint64(32)
    before = np.searchsorted(negatives, firsts)
    both = np.searchsorted(negatives, firsts | np.uint64(0xFFFFFFFF), "right") - before
    won = np.add.reduceat(wins(positives, negatives), begins) - 2 * (ends - begins) * before
    defined = both > 0
    counts, pairs = (ends - begins + both)[defined], ((ends - begins) * both)[defined]
    rows = int(counts.sum())
    value = float((counts * (won[defined] / (2 * pairs))).sum() / rows) if rows else None
    return GroupedAuc(value, int(defined.sum()), rows)


def expected_auc(probabilities: Array, predictions: Array) -> float | None:
    """AUC of `predictions` where each row is positive with a known probability q, over all pairs of rows.

    ``sum_ij q_i (1 - q_j) ([p_i > p_j] + [p_i = p_j] / 2) / (sum q sum (1 - q))``: with labels in place of q it is
    :func:`auc`. Its highest value, that of q itself, is below 1 unless every q is 0 or 1.

    Args:
        probabilities: q, (rows,), in [0, 1].
        predictions: p, (rows,).

    Returns:
        The area, or None if all q are 0 or all are 1.

    Raises:
        ValueError: lengths differ, a prediction is NaN, a probability lies outside [0, 1].
    """
    chances, predictions = _select(probabilities, predictions, None)
    if (wrong := (chances < 0) | (chances > 1)).any():
        raise ValueError(
            f"{wrong.sum():,} of {len(chances):,} probabilities are none, such as {chances[wrong][0]:g}; allowed: 0 to 1"
        )
    positives, negatives = chances.sum(), (1 - chances).sum()
    if not positives or not negatives:
        return None
    order = np.argsort(predictions, kind="stable")
    chances, predictions = chances[order], predictions[order]
    begins, _ = _runs(predictions[1:] != predictions[:-1])
    up, down = np.add.reduceat(chances, begins), np.add.reduceat(1 - chances, begins)
    below = np.cumsum(down) - down
    return float((up * (below + down / 2)).sum() / (positives * negatives))


def auc_difference_error(labels: Array, first: Array, second: Array, mask: Array | None = None) -> float | None:
    """Standard error of ``auc(first) - auc(second)``, two predictions of the same rows.

    With v_i the share of negatives that positive i lies above, w_j the share of positives that negative j lies below
    (ties count half), m positives and n negatives: ``variance = S(v1 - v2) / m + S(w1 - w2) / n``, S the sample
    variance (DeLong, DeLong, Clarke-Pearson, Comparing the Areas under Two or More Correlated ROC Curves, Biometrics
    44, 1988; by ranks as Sun and Xu, IEEE Signal Processing Letters 21, 2014).

    Args:
        labels: 0/1, (rows,).
        first: predictions, (rows,).
        second: predictions of another model, (rows,).
        mask: 0/1 or bool, (rows,).

    Returns:
        The error, or None if the rows hold fewer than two positives or two negatives.

    Raises:
        ValueError: as :func:`auc`.
    """
    positive, one = _binary(labels, first, mask)
    _, other = _binary(labels, second, mask)
    if min(positive.sum(), (~positive).sum()) < 2:
        return None
    changes = _placements(positive, one) - _placements(positive, other)
    return float(np.sqrt(sum(np.var(changes[part], ddof=1) / part.sum() for part in (positive, ~positive))))


def log_loss(labels: Array, predictions: Array, mask: Array | None = None) -> float | None:
    """Mean of ``-y log p - (1 - y) log(1 - p)`` in nats, p clipped to [1e-7, 1 - 1e-7]; None without rows.

    Raises:
        ValueError: as :func:`auc`, or a prediction outside [0, 1].
    """
    return BinaryMetrics([by_class(labels, predictions, mask)], ["log_loss"]).metric("log_loss")


def normalized_entropy(labels: Array, predictions: Array, mask: Array | None = None) -> float | None:
    """Log loss over that of always predicting the mean label; below 1 the model knows more than the mean.

    ``NE = log_loss / (-q log q - (1 - q) log(1 - q))`` with q the mean label (He et al., ADKDD 2014, eq. 3).
    None if the rows hold no positive or no negative.

    Raises:
        ValueError: as :func:`log_loss`.
    """
    return BinaryMetrics([by_class(labels, predictions, mask)], ["normalized_entropy"]).metric("normalized_entropy")


def calibration(labels: Array, predictions: Array, mask: Array | None = None) -> float | None:
    """Predicted over observed positives: ``sum p / sum y``, 1 at best; None without a positive.

    Raises:
        ValueError: as :func:`log_loss`.
    """
    return BinaryMetrics([by_class(labels, predictions, mask)], ["calibration"]).metric("calibration")


def calibration_bins(
    labels: Array, predictions: Array, mask: Array | None = None, bins: int = 10
) -> list[CalibrationBin]:
    """Rows in order of their prediction, cut into at most `bins` parts of about equal size.

    Equal predictions share a bin (so the order of the rows does not matter), which may leave fewer bins.

    Raises:
        ValueError: as :func:`log_loss`, or `bins` < 1.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1; got {bins}")
    part = by_class(labels, predictions, mask)
    rows = len(part.positives) + len(part.negatives)
    return BinaryMetrics([part], (), bins, rows).calibration_bins()


def mse(labels: Array, predictions: Array, mask: Array | None = None) -> float | None:
    """Mean of ``(y - p)^2``; None without rows.

    Raises:
        ValueError: lengths differ, a prediction is NaN.
    """
    labels, predictions = _select(labels, predictions, mask)
    return float(np.mean((labels - predictions) ** 2)) if len(labels) else None


def mae(labels: Array, predictions: Array, mask: Array | None = None) -> float | None:
    """Mean of ``|y - p|``; None without rows.

    Raises:
        ValueError: as :func:`mse`.
    """
    labels, predictions = _select(labels, predictions, mask)
    return float(np.mean(np.abs(labels - predictions))) if len(labels) else None


def why_undefined(labels: Array, mask: Array | None = None) -> str | None:
    """Why a metric of these 0/1 labels may be None: no row, no positive or no negative; None if all are defined.

    GAUC needs more (a group with both classes): ask :attr:`GroupedAuc.groups`.
    """
    kept = np.asarray(labels) if mask is None else np.asarray(labels)[_kept(mask, len(labels))]
    return undefined(int((kept == 1).sum()), len(kept))


def undefined(positives: int, rows: int) -> str | None:
    """See :func:`why_undefined`."""
    if not rows:
        return "no rows"
    if positives in (0, rows):
        return f"no {'negative' if positives else 'positive'} among {rows:,} rows"
    return None


def _kept(mask: Array, rows: int) -> Array:
    if len(mask) != rows:
        raise ValueError(f"mask and labels must have one length; got {len(mask)} and {rows}")
    return np.asarray(mask).astype(bool)


def _select(labels: Array, predictions: Array, mask: Array | None) -> tuple[Floats, Floats]:
    """The rows that count, as float64."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    _refuse_other_shapes(labels, predictions)
    if mask is not None:
        kept = _kept(mask, len(labels))
        labels, predictions = labels[kept], predictions[kept]
    labels, predictions = labels.astype(np.float64), predictions.astype(np.float64)
    _refuse_nan(labels, predictions)
    return labels, predictions


def _refuse_other_shapes(labels: Array, predictions: Array) -> None:
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(f"labels and predictions must be (rows,) alike; got {labels.shape} and {predictions.shape}")


def _refuse_nan(labels: Array, predictions: Array) -> None:
    for name, values in (("labels", labels), ("predictions", predictions)):
        if np.issubdtype(values.dtype, np.floating) and (missing := int(np.isnan(values).sum())):
            raise ValueError(f"{missing:,} of {len(values):,} {name} are NaN; allowed: numbers")


def _binary(labels: Array, predictions: Array, mask: Array | None) -> tuple[npt.NDArray[np.bool_], Array]:
    """Of the rows that count: which are positive, and their predictions, floats of the width they came in."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    _refuse_other_shapes(labels, predictions)
    if mask is not None:
        kept = _kept(mask, len(labels))
        labels, predictions = labels[kept], predictions[kept]
    if predictions.dtype not in (np.float32, np.float64):
        predictions = predictions.astype(np.float64)
    _refuse_nan(labels, predictions)
    if labels.dtype == np.bool_:
        return labels, predictions
    positive = labels == 1
    wrong = ~positive & (labels != 0)
    if wrong.any():
        raise ValueError(f"a label is {labels[wrong][0]:g}; allowed: 0 or 1")
    return positive, predictions


def _codes(groups: Array) -> npt.NDArray[np.uint64]:
    """(rows,): numbers below 2^32, equal where the groups are."""
    if not np.issubdtype(groups.dtype, np.integer) or (len(groups) and (groups.min() < 0 or groups.max() >= 2**32)):
        groups = np.unique(groups, return_inverse=True)[1]
    return groups.astype(np.uint64)


def _keys(groups: npt.NDArray[np.uint64], predictions: Array) -> npt.NDArray[np.uint64]:
    """(rows,): one number to sort by, the group above 32 bits that rise with the prediction and tie where it does."""
    groups <<= np.uint64(32)
    if predictions.dtype != np.float32:
        groups |= np.unique(predictions, return_inverse=True)[1].astype(np.uint64)
        return groups
    groups |= rising_bits(predictions)
    return groups


def rising_bits(predictions: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """(rows,): integers that rise with the predictions, and tie where they do."""
    # A float's bits rise with it once those of negative ones are turned; of -0.0 and 0.0, which are equal, they differ.
    bits = (predictions + np.float32(0.0)).view(np.uint32)
    bits ^= np.where(bits >> np.uint32(31), np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    return bits


def _placements(positive: npt.NDArray[np.bool_], predictions: Array) -> Floats:
    """(rows,): the share of the other class that a positive lies above, or a negative below; ties count half."""
    shares = np.empty(len(predictions))
    for part in (positive, ~positive):
        others = np.sort(predictions[~part])
        shares[part] = wins(predictions[part], others) / (2 * len(others))
    return np.where(positive, shares, 1 - shares)


def _runs(changes: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Begin and end of each run of equal rows, from (rows - 1,) flags that say where a row differs from the one before."""
    begins = np.concatenate(([0], np.flatnonzero(changes) + 1)).astype(np.int64)
    return begins, np.append(begins[1:], len(changes) + 1)
