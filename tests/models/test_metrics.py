"""Metrics by hand, against scikit-learn, and against naive loops."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from models import metrics

ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=60)
"""(label, prediction in sevenths, group): few values, so ties and one-class groups are common."""


def naive_auc(labels, predictions):
    pairs = [
        (p, n)
        for p, y in zip(predictions, labels, strict=True)
        if y
        for n, z in zip(predictions, labels, strict=True)
        if not z
    ]
    if not pairs:
        return None
    return sum((p > n) + (p == n) / 2 for p, n in pairs) / len(pairs)


def naive_gauc(labels, predictions, groups):
    by_group = defaultdict(list)
    for row in zip(labels, predictions, groups, strict=True):
        by_group[row[2]].append(row)
    total = weight = 0
    for rows in by_group.values():
        area = naive_auc([r[0] for r in rows], [r[1] for r in rows])
        if area is not None:
            total, weight = total + area * len(rows), weight + len(rows)
    return total / weight if weight else None


def columns(rows):
    labels, predictions, groups = (np.array(column) for column in zip(*rows, strict=True))
    return labels, predictions / 7, groups


def test_auc_by_hand():
    # Positives .8 and .4, negatives .4 and .1: pairs won 1, 1, 1/2, 1 of 4.
    assert metrics.auc(np.array([1, 0, 1, 0]), np.array([0.8, 0.4, 0.4, 0.1])) == 3.5 / 4


def test_auc_of_equal_predictions_is_a_half():
    assert metrics.auc(np.array([1, 0, 0]), np.array([0.3, 0.3, 0.3])) == 0.5


def test_auc_counts_masked_rows_out():
    labels, predictions = np.array([1, 0, 1]), np.array([0.9, 0.5, 0.1])
    assert metrics.auc(labels, predictions, mask=np.array([1, 1, 0])) == 1.0
    assert metrics.auc(labels, predictions) == 0.5


@given(ROWS)
def test_auc_equals_the_naive_loop(rows):
    labels, predictions, _ = columns(rows)
    found, expected = metrics.auc(labels, predictions), naive_auc(labels, predictions)
    assert (found is None) == (expected is None)
    assert found is None or math.isclose(found, expected)


def mean_auc(labels, predictions, masks=None):
    masks = masks or {}
    areas = {name: metrics.auc(labels[name], predictions[name], masks.get(name)) for name in labels}
    return metrics.mean_auc(areas, labels, masks)


def test_mean_auc_by_hand():
    labels = {"a": np.array([1, 0, 0]), "b": np.array([1, 1, 0, 0]), "none": np.array([0, 0, 0])}
    predictions = {
        "a": np.array([0.5, 0.9, 0.1]),
        "b": np.array([0.9, 0.3, 0.2, 0.1]),
        "none": np.array([0.1, 0.2, 0.3]),
    }
    weights = math.sqrt(12 * 1 * 2 / 4), math.sqrt(12 * 2 * 2 / 5)
    expected = (weights[0] * 0.5 + weights[1] * 1.0) / sum(weights)
    assert mean_auc(labels, predictions) == pytest.approx(expected, abs=1e-12)
    # Masked: the first row of b does not count, whose areas and numbers are then those of a second task of one positive.
    masked = mean_auc(labels, predictions, {"b": np.array([0, 1, 1, 1])})
    assert masked == pytest.approx((0.5 + 1.0) / 2, abs=1e-12)
    assert mean_auc({"none": labels["none"]}, predictions) is None
    assert mean_auc({}, {}) is None


@pytest.mark.parametrize("positives", [1, 2, 3])
def test_a_task_weighs_the_inverse_of_what_chance_makes_of_its_auc(positives):
    """Over all orders of six predictions."""
    labels = np.arange(6) < positives
    areas = [metrics.auc(labels, np.array(order)) for order in itertools.permutations(range(6))]
    error = np.std(areas)
    weighed = {"rare": labels, "other": np.array([1, 0])}
    predictions = {"rare": np.zeros(6), "other": np.array([1, 0])}  # an AUC of a half, and of one
    # The other task's AUC is 0 or 1, half of the time each: its error is a half.
    expected = (0.5 / error + 1.0 / 0.5) / (1 / error + 1 / 0.5)
    assert mean_auc(weighed, predictions) == pytest.approx(expected, abs=1e-12)


@given(ROWS)
def test_gauc_equals_the_naive_loop(rows):
    labels, predictions, groups = columns(rows)
    found, expected = metrics.gauc(labels, predictions, groups), naive_gauc(labels, predictions, groups)
    assert (found.value is None) == (expected is None)
    assert found.value is None or math.isclose(found.value, expected)


NARROW = st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 0.5, -0.5, math.inf, -math.inf])
"""What a model answers: sorted by its bits."""


@given(st.lists(st.tuples(st.integers(0, 1), NARROW, st.integers(0, 2)), min_size=1, max_size=40))
def test_gauc_of_any_float32_equals_the_naive_loop(rows):
    labels, predictions, groups = (np.array(column) for column in zip(*rows, strict=True))
    found, expected = metrics.gauc(labels, predictions, groups), naive_gauc(labels, predictions, groups)
    assert (found.value is None) == (expected is None)
    assert found.value is None or math.isclose(found.value, expected)
    wide = np.nextafter(predictions, math.inf)  # no float32 any more: sorted as float64
    found, expected = metrics.gauc(labels, wide, groups), naive_gauc(labels, wide, groups)
    assert found.value is None or math.isclose(found.value, expected)


@given(ROWS, st.randoms())
def test_masked_rows_might_as_well_not_be_there(rows, random):
    labels, predictions, groups = columns(rows)
    mask = np.array([random.random() < 0.5 for _ in rows])
    for name in ("auc", "log_loss", "normalized_entropy", "calibration", "calibration_bins", "mse", "mae"):
        metric = getattr(metrics, name)
        assert metric(labels, predictions, mask) == metric(labels[mask], predictions[mask]), name
    assert metrics.gauc(labels, predictions, groups, mask) == metrics.gauc(
        labels[mask], predictions[mask], groups[mask]
    )


def test_against_sklearn_on_many_rows_with_ties():
    rng = np.random.default_rng(5)
    predictions = np.round(rng.random(20_000), 2).astype(np.float32)
    labels = (rng.random(20_000) < predictions).astype(np.float32)
    assert metrics.auc(labels, predictions) == pytest.approx(
        sklearn.metrics.roc_auc_score(labels, predictions), abs=1e-12
    )
    inside = np.clip(predictions.astype(np.float64), 1e-7, 1 - 1e-7)
    assert metrics.log_loss(labels, predictions) == pytest.approx(sklearn.metrics.log_loss(labels, inside), rel=1e-12)
    assert metrics.mse(labels, predictions) == pytest.approx(sklearn.metrics.mean_squared_error(labels, predictions))
    assert metrics.mae(labels, predictions) == pytest.approx(sklearn.metrics.mean_absolute_error(labels, predictions))


def test_gauc_by_hand():
    # Group a (3 rows): AUC 1. Group b (2 rows): AUC 0. Group c has no negative.
    labels = np.array([1, 0, 0, 1, 0, 1])
    predictions = np.array([0.9, 0.5, 0.1, 0.2, 0.6, 0.7])
    groups = np.array(["a", "a", "a", "b", "b", "c"])
    assert metrics.gauc(labels, predictions, groups) == metrics.GroupedAuc(3 / 5, 2, 5)


def test_gauc_ignores_what_only_tells_users_apart():
    labels = np.array([1, 1, 0, 1, 0, 0])
    users = np.array([1, 1, 1, 2, 2, 2])
    assert metrics.gauc(labels, users.astype(float), users).value == 0.5


def test_expected_auc_of_certain_rows_is_the_auc():
    labels, predictions = np.array([1, 0, 1, 0]), np.array([0.8, 0.4, 0.4, 0.1])
    assert metrics.expected_auc(labels, predictions) == pytest.approx(3.5 / 4)
    assert metrics.expected_auc(np.ones(3), np.arange(3)) is None


@pytest.mark.parametrize("wrong", [-0.25, 1.5])
def test_expected_auc_refuses_what_is_no_probability(wrong):
    chances = np.array([0.5, wrong, 1.0, wrong])
    with pytest.raises(ValueError, match=f"^2 of 4 probabilities are none, such as {wrong:g}; allowed: 0 to 1$"):
        metrics.expected_auc(chances, np.arange(4))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_expected_auc_equals_the_naive_loop(rows):
    chances, predictions = (np.array(column) / 4 for column in zip(*rows, strict=True))
    total = weight = 0.0
    for q, p in zip(chances, predictions, strict=True):
        for r, s in zip(chances, predictions, strict=True):
            total += q * (1 - r) * ((p > s) + (p == s) / 2)
            weight += q * (1 - r)
    found = metrics.expected_auc(chances, predictions)
    assert (found is None) == (weight == 0)
    assert found is None or math.isclose(found, total / weight)


def naive_difference_error(labels, first, second):
    """DeLong, Biometrics 44, 1988: sample variances of the pairwise comparisons' means, one pair at a time."""
    positives, negatives = ([row for row, y in enumerate(labels) if y == wanted] for wanted in (1, 0))

    def beats(scores, i, j):
        return (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2

    def variance(values):
        mean = sum(values) / len(values)
        return sum((value - mean) ** 2 for value in values) / (len(values) - 1)

    def change(i, j):
        return beats(first, i, j) - beats(second, i, j)

    of_positives = [sum(change(i, j) for j in negatives) / len(negatives) for i in positives]
    of_negatives = [sum(change(i, j) for i in positives) / len(positives) for j in negatives]
    return math.sqrt(variance(of_positives) / len(positives) + variance(of_negatives) / len(negatives))


def test_auc_difference_error_by_hand():
    # Shares of the two negatives below each positive: 1, 1 and 1, 0; so the changes 0 and 1, variance 1/2, over 2 rows.
    # Shares of the two positives above each negative: 1, 1 and 1/2, 1/2; both changes 1/2, variance 0.
    labels = np.array([1, 1, 0, 0])
    found = metrics.auc_difference_error(labels, np.array([3, 2, 0, 1]), np.array([3, 0, 1, 2]))
    assert found == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=30))
def test_auc_difference_error_equals_the_naive_loop(rows):
    labels, first, second, mask = (np.array([row[part] for row in rows]) for part in range(4))
    found = metrics.auc_difference_error(labels, first, second, mask)
    kept = [row for row in rows if row[3]]
    if min(sum(row[0] for row in kept), sum(1 - row[0] for row in kept)) < 2:
        assert found is None
    else:
        expected = naive_difference_error(*([row[part] for row in kept] for part in range(3)))
        assert found == pytest.approx(expected, abs=1e-12)


def test_the_same_model_twice_has_no_error():
    labels, scores = np.array([1, 0, 1, 0, 0]), np.array([0.1, 0.1, 0.4, 0.3, 0.2])
    assert metrics.auc_difference_error(labels, scores, scores * 2) == 0


def test_log_loss_and_normalized_entropy_by_hand():
    labels, predictions = np.array([1, 0, 0, 0]), np.array([0.5, 0.5, 0.25, 0.25])
    loss = (2 * math.log(2) - 2 * math.log(0.75)) / 4
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert metrics.log_loss(labels, predictions) == pytest.approx(loss, rel=1e-14)
    assert metrics.normalized_entropy(labels, predictions) == pytest.approx(loss / entropy, rel=1e-14)
    assert metrics.normalized_entropy(labels, np.full(4, 0.25)) == pytest.approx(1, rel=1e-14)


def test_log_loss_of_a_sure_mistake_is_finite():
    assert metrics.log_loss(np.array([1]), np.array([0.0])) == pytest.approx(-math.log(1e-7))


def test_calibration_by_hand():
    assert metrics.calibration(np.array([1, 0, 1, 0]), np.array([0.5, 0.5, 1.0, 1.0])) == 1.5


def test_calibration_bins_by_hand():
    bins = metrics.calibration_bins(np.array([1, 0, 1, 0]), np.array([0.9, 0.1, 0.7, 0.3]), bins=2)
    assert [(pytest.approx(b.prediction), b.label, b.rows) for b in bins] == [(0.2, 0.0, 2), (0.8, 1.0, 2)]


def test_calibration_bins_keep_equal_predictions_together():
    bins = metrics.calibration_bins(np.array([1, 0, 0, 0, 1]), np.array([0.5, 0.5, 0.5, 0.5, 0.9]), bins=3)
    assert [(b.prediction, b.label, b.rows) for b in bins] == [(0.5, 0.25, 4), (0.9, 1.0, 1)]


@given(ROWS, st.integers(1, 12))
def test_calibration_bins_lose_no_row(rows, bins):
    labels, predictions, _ = columns(rows)
    found = metrics.calibration_bins(labels, predictions, bins=bins)
    assert sum(b.rows for b in found) == len(rows)
    assert sum(b.rows * b.label for b in found) == pytest.approx(labels.sum())
    assert sum(b.rows * b.prediction for b in found) == pytest.approx(predictions.sum())
    assert len(found) <= bins


@given(ROWS, st.integers(1, 12))
def test_calibration_bins_equal_the_naive_loop(rows, bins):
    labels, predictions, _ = columns(rows)
    parts = defaultdict(list)
    for value in predictions:  # equal predictions go together where the middle of them lies
        middle = 2 * int((predictions < value).sum()) + int((predictions == value).sum())
        parts[bins * middle // (2 * len(rows))].append(value)
    expected = [np.isin(predictions, parts[number]) for number in sorted(parts)]
    found = metrics.calibration_bins(labels, predictions, bins=bins)
    assert [b.rows for b in found] == [part.sum() for part in expected]
    assert [b.prediction for b in found] == pytest.approx([predictions[part].mean() for part in expected])
    assert [b.label for b in found] == pytest.approx([labels[part].mean() for part in expected])


@pytest.mark.parametrize("kind", [bool, np.float32, np.int64])
def test_labels_of_any_type(kind):
    labels, predictions = np.array([1, 0, 1, 0], kind), np.array([0.8, 0.4, 0.4, 0.1])
    assert metrics.auc(labels, predictions) == 3.5 / 4
    assert metrics.calibration(labels, predictions) == pytest.approx(1.7 / 2)


@pytest.mark.parametrize("names", [["b", "a"], [-5, 2**40], [1.5, -0.5], [0, 2**32 - 1]])
def test_groups_of_any_type(names):
    groups = np.array(names)[[0, 0, 0, 1, 1, 1]]
    labels, predictions = np.array([1, 0, 0, 0, 1, 0]), np.array([0.9, 0.5, 0.1, 0.3, 0.2, 0.1], np.float32)
    assert metrics.gauc(labels, predictions, groups) == metrics.GroupedAuc((1 + 0.5) / 2, 2, 6)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_ranking_metrics_undefined(label):
    labels, predictions = np.full(3, label), np.array([0.1, 0.2, 0.3])
    assert metrics.auc(labels, predictions) is None
    assert metrics.normalized_entropy(labels, predictions) is None
    assert metrics.gauc(labels, predictions, np.array([1, 1, 2])) == metrics.GroupedAuc(None, 0, 0)
    assert metrics.log_loss(labels, predictions) is not None
    assert metrics.why_undefined(labels) == f"no {'negative' if label else 'positive'} among 3 rows"


def test_no_rows_leave_everything_undefined():
    nothing = np.array([], np.float32)
    for metric in (metrics.auc, metrics.log_loss, metrics.normalized_entropy, metrics.calibration, metrics.mse):
        assert metric(nothing, nothing) is None
    assert metrics.calibration_bins(nothing, nothing) == []
    assert metrics.gauc(nothing, nothing, nothing) == metrics.GroupedAuc(None, 0, 0)
    assert metrics.why_undefined(nothing) == "no rows"


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 1], [0.5, math.nan], "1 of 2 predictions are NaN"),
        ([0, 2], [0.5, 0.5], "a label is 2; allowed: 0 or 1"),
        ([0, 1], [0.5, 1.5], "a prediction is 1.5; allowed: a probability"),
        ([0, 1], [0.5], "must be (rows,) alike; got (2,) and (1,)"),
    ],
)
def test_wrong_input_is_named(labels, predictions, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        metrics.log_loss(np.array(labels), np.array(predictions))
