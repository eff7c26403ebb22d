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

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

EPSILON = 1e-7
"""Probabilities are clipped to [EPSILON, 1 - EPSILON] inside logarithms: where a float32 sigmoid saturates."""


class GroupedAuc(NamedTuple):
    """An AUC averaged over groups."""

    value: float | None
    """None where no group holds both classes."""
    groups: int
    """Groups that hold both classes; the others do not count."""
    rows: int
    """Rows of those groups."""


class CalibrationBin(NamedTuple):
    """Rows with similar predictions: what was predicted for them and what happened."""

    prediction: float
    label: float
    rows: int


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
    labels, predictions = _binary(labels, predictions, mask)
    areas, _ = _areas(labels, predictions, np.zeros(len(labels), np.int64), 1)
    return None if np.isnan(areas[0]) else float(areas[0])


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
    labels, predictions = _binary(labels, predictions, mask)
    names, index = np.unique(kept_groups, return_inverse=True)
    areas, rows = _areas(labels, predictions, index.astype(np.int64), len(names))
    defined = ~np.isnan(areas)
    counted = int(rows[defined].sum())
    value = float((areas[defined] * rows[defined]).sum() / counted) if counted else None
    return GroupedAuc(value, int(defined.sum()), counted)


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
    kept, one = _binary(labels, first, mask)
    _, other = _binary(labels, second, mask)
    positive = kept == 1
    if min(positive.sum(), (~positive).sum()) < 2:
        return None
    changes = _placements(positive, one) - _placements(positive, other)
    return float(np.sqrt(sum(np.var(changes[part], ddof=1) / part.sum() for part in (positive, ~positive))))


def log_loss(labels: Array, predictions: Array, mask: Array | None = None) -> float | None:
    """Mean of ``-y log p - (1 - y) log(1 - p)`` in nats, p clipped by :data:`EPSILON`; None without rows.

    Raises:
        ValueError: as :func:`auc`, or a prediction outside [0, 1].
    """
    labels, predictions = _probabilities(labels, predictions, mask)
    if not len(labels):
        return None
    clipped = np.clip(predictions, EPSILON, 1 - EPSILON)
    return float(-np.mean(np.where(labels == 1, np.log(clipped), np.log1p(-clipped))))


def normalized_entropy(labels: Array, predictions: Array, mask: Array | None = None) -> float | None:
    """Log loss over that of always predicting the mean label; below 1 the model knows more than the mean.

    ``NE = log_loss / (-q log q - (1 - q) log(1 - q))`` with q the mean label (He et al., ADKDD 2014, eq. 3).
    None if the rows hold no positive or no negative.

    Raises:
        ValueError: as :func:`log_loss`.
    """
    kept, _ = _binary(labels, predictions, mask)
    mean = float(kept.mean()) if len(kept) else 0.0
    loss = log_loss(labels, predictions, mask)
    if loss is None or mean in (0.0, 1.0):
        return None
    return loss / float(-mean * np.log(mean) - (1 - mean) * np.log1p(-mean))


def calibration(labels: Array, predictions: Array, mask: Array | None = None) -> float | None:
    """Predicted over observed positives: ``sum p / sum y``, 1 at best; None without a positive.

    Raises:
        ValueError: as :func:`log_loss`.
    """
    labels, predictions = _probabilities(labels, predictions, mask)
    observed = float(labels.sum())
    return float(predictions.sum()) / observed if observed else None


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
    labels, predictions = _probabilities(labels, predictions, mask)
    if not len(labels):
        return []
    order = np.argsort(predictions, kind="stable")
    labels, predictions = labels[order], predictions[order]
    begins, ends = _runs(predictions[1:] != predictions[:-1])
    _, first = np.unique(bins * (begins + ends) // (2 * len(labels)), return_index=True)
    starts = begins[first]
    rows = np.diff(np.append(starts, len(labels)))
    predicted, observed = np.add.reduceat(predictions, starts) / rows, np.add.reduceat(labels, starts) / rows
    return [CalibrationBin(float(p), float(y), int(n)) for p, y, n in zip(predicted, observed, rows, strict=True)]


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
    if not len(kept):
        return "no rows"
    positives = int((kept == 1).sum())
    if positives in (0, len(kept)):
        return f"no {'negative' if positives else 'positive'} among {len(kept):,} rows"
    return None


def _kept(mask: Array, rows: int) -> Array:
    if len(mask) != rows:
        raise ValueError(f"mask and labels must have one length; got {len(mask)} and {rows}")
    return np.asarray(mask).astype(bool)


def _select(labels: Array, predictions: Array, mask: Array | None) -> tuple[Floats, Floats]:
    """The rows that count, as float64."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(f"labels and predictions must be (rows,) alike; got {labels.shape} and {predictions.shape}")
    if mask is not None:
        kept = _kept(mask, len(labels))
        labels, predictions = labels[kept], predictions[kept]
    labels, predictions = labels.astype(np.float64), predictions.astype(np.float64)
    for name, values in (("labels", labels), ("predictions", predictions)):
        if missing := int(np.isnan(values).sum()):
            raise ValueError(f"{missing:,} of {len(values):,} {name} are NaN; allowed: numbers")
    return labels, predictions


def _binary(labels: Array, predictions: Array, mask: Array | None) -> tuple[Floats, Floats]:
    labels, predictions = _select(labels, predictions, mask)
    wrong = (labels != 0) & (labels != 1)
    if wrong.any():
        raise ValueError(f"a label is {labels[wrong][0]:g}; allowed: 0 or 1")
    return labels, predictions


def _probabilities(labels: Array, predictions: Array, mask: Array | None) -> tuple[Floats, Floats]:
    labels, predictions = _binary(labels, predictions, mask)
    wrong = (predictions < 0) | (predictions > 1)
    if wrong.any():
        raise ValueError(f"a prediction is {predictions[wrong][0]:g}; allowed: a probability, 0 to 1")
    return labels, predictions


def _areas(labels: Floats, predictions: Floats, groups: npt.NDArray[np.int64], count: int) -> tuple[Floats, Floats]:
    """AUC and rows of each of `count` groups; NaN where a class is missing.

    Mann-Whitney: with R the sum of the positives' ranks in their group (ties share the mean of their ranks),
    ``AUC = (R - P (P + 1) / 2) / (P N)``.
    """
    if not len(labels):
        return np.full(count, np.nan), np.zeros(count)
    order = _order(predictions, groups, count)
    labels, predictions, groups = labels[order], predictions[order], groups[order]
    rows = np.bincount(groups, minlength=count).astype(np.float64)
    begins = np.concatenate(([0.0], np.cumsum(rows)[:-1]))
    starts, ends = _runs((predictions[1:] != predictions[:-1]) | (groups[1:] != groups[:-1]))
    ranks = np.repeat((starts + ends + 1) / 2, ends - starts) - begins[groups]
    positives = np.bincount(groups, weights=labels, minlength=count)
    rank_sums = np.bincount(groups, weights=ranks * labels, minlength=count)
    pairs = positives * (rows - positives)
    areas = np.full(count, np.nan)
    np.divide(rank_sums - positives * (positives + 1) / 2, pairs, out=areas, where=pairs > 0)
    return areas, rows


def _order(predictions: Floats, groups: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """(rows,): group by group, within each by rising prediction; equal ones in any order."""
    if count == 1:
        return np.argsort(predictions)
    with np.errstate(over="ignore"):
        narrow = (predictions + 0.0).astype(np.float32)  # of -0.0 and 0.0, which are equal, the bits differ
    if count > 2**31 or (narrow != predictions).any():
        return np.lexsort((predictions, groups))
    # One number to sort by: the group above the float's bits, which rise with it once those of negative ones are turned.
    bits = narrow.view(np.uint32).astype(np.uint64)
    rising = np.where(bits >> np.uint64(31), ~bits & np.uint64(0xFFFFFFFF), bits | np.uint64(0x80000000))
    return np.argsort(groups.astype(np.uint64) << np.uint64(32) | rising)


def _placements(positive: npt.NDArray[np.bool_], predictions: Floats) -> Floats:
    """(rows,): the share of the other class that a positive lies above, or a negative below; ties count half."""
    within = np.empty(len(predictions))
    for part in (positive, ~positive):
        within[part] = _midranks(predictions[part])
    # A row's rank among all, less that within its class, counts the rows of the other class below it.
    shares: Floats = (_midranks(predictions) - within) / np.where(positive, (~positive).sum(), positive.sum())
    return np.where(positive, shares, 1 - shares)


def _midranks(values: Floats) -> Floats:
    """(rows,): ranks from 1; equal values share the mean of theirs."""
    order = np.argsort(values, kind="stable")
    starts, ends = _runs(values[order][1:] != values[order][:-1])
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return ranks


def _runs(changes: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Begin and end of each run of equal rows, from (rows - 1,) flags that say where a row differs from the one before."""
    begins = np.concatenate(([0], np.flatnonzero(changes) + 1)).astype(np.int64)
    return begins, np.append(begins[1:], len(changes) + 1)
