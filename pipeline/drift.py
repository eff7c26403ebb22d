"""How far a column's distribution moved between two sets of statistics.

Measured on TFDV's statistics. TFDV's own distance of numbers compares histograms of equal-width buckets, in which one
outlier squeezes all else into the first bucket: a heavy-tailed column (follower counts) then drifts with every new maximum.
Here numbers are compared on quantile histograms. Missing values count as a value of their own in both distances.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tensorflow_metadata.proto.v0 import statistics_pb2

from features.errors import DataError

Feature: TypeAlias = statistics_pb2.FeatureNameStatistics
_MISSING = object()


def features_by_name(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> dict[str, Feature]:
    """The statistics of each column of the whole data set (no slice)."""
    return {".".join(feature.path.step) or feature.name: feature for feature in statistics.datasets[0].features}


def l_infinity(before: Feature, after: Feature) -> float:
    """Largest difference of any value's share of the rows: max_v |p(v) - q(v)|, in [0, 1].

    Args:
        before: a column whose values TFDV counted (strings, or integers that the schema calls categorical).
        after: the same column elsewhere.

    Raises:
        DataError: if the values were not counted.
    """
    shares, others = _value_shares(before), _value_shares(after)
    return max((abs(shares.get(v, 0.0) - others.get(v, 0.0)) for v in {*shares, *others}), default=0.0)


def _value_shares(feature: Feature) -> Mapping[object, float]:
    if not feature.HasField("string_stats"):
        name = ".".join(feature.path.step)
        raise DataError(f"statistics of category '{name}' count no values; StatisticsGen needs the curated schema")
    counts: dict[object, float] = {b.label: b.sample_count for b in feature.string_stats.rank_histogram.buckets}
    counts[_MISSING] = feature.string_stats.common_stats.num_missing
    rows = feature.string_stats.common_stats.num_missing + feature.string_stats.common_stats.num_non_missing
    return {value: count / rows for value, count in counts.items()} if rows else {}


def jensen_shannon(before: Feature, after: Feature) -> float:
    """Jensen-Shannon divergence in bits, in [0, 1]: H((P + Q) / 2) - (H(P) + H(Q)) / 2.

    P and Q spread each bucket of a quantile histogram evenly over its range. A bucket without width is a value of its own.

    Args:
        before: a column with TFDV's numeric statistics.
        after: the same column elsewhere.
    """
    edges = np.unique(np.concatenate([_buckets(before)[:, :2].ravel(), _buckets(after)[:, :2].ravel()]))
    p, q = _masses(before, edges), _masses(after, edges)
    if not (p.sum() and q.sum()):
        return 0.0
    p, q = p / p.sum(), q / q.sum()
    return max(0.0, _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2)


def _buckets(feature: Feature) -> npt.NDArray[np.float64]:
    """The quantile histogram: rows of (low, high, rows)."""
    quantiles = [h for h in feature.num_stats.histograms if h.type == statistics_pb2.Histogram.QUANTILES]
    rows = [(b.low_value, b.high_value, b.sample_count) for h in quantiles[:1] for b in h.buckets]
    return np.asarray(rows, np.float64).reshape(-1, 3)


def _masses(feature: Feature, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rows at each edge, between each two edges, and missing."""
    points, spans = np.zeros(len(edges)), np.zeros(max(len(edges) - 1, 0))
    for low, high, rows in _buckets(feature):
        first, last = np.searchsorted(edges, [low, high])
        if first == last:
            points[first] += rows
        else:
            spans[first:last] += rows * np.diff(edges[first : last + 1]) / (high - low)
    return np.concatenate([points, spans, [feature.num_stats.common_stats.num_missing]])


def _entropy(shares: npt.NDArray[np.float64]) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log2(positive)).sum())
