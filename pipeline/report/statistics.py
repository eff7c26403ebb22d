"""TFDV's statistics as the page shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from tensorflow_metadata.proto.v0 import statistics_pb2

from features.spec import DAY, ROW_ID, ROW_WEIGHT, Dataset, label_column, mask_column, weight_column
from pipeline.report.data import OTHERS, Bar, ColumnStatistics
from pipeline.report.html import general

_MAX_BARS = 16
_LONG_TAIL, _BODY = 2.5, 1.25
"""Over the distance from the least value to the last decile: a range this long has a tail; so much of it is shown."""
Feature: TypeAlias = "statistics_pb2.FeatureNameStatistics"


def column_statistics(
    splits: Mapping[str, statistics_pb2.DatasetFeatureStatisticsList], dataset: Dataset, first: str
) -> dict[str, tuple[ColumnStatistics, ...]]:
    """Statistics of the log's columns in each split, in the spec's order.

    Args:
        splits: what StatisticsGen wrote, by split.
        dataset: the spec; labels, masks, weights and feedrank's own columns are left out.
        first: the split that chooses the bars; the other splits count the same ranges and values.
    """
    features = {split: {f.path.step[0]: f for f in read.datasets[0].features} for split, read in splits.items()}
    of_tasks = (column(task) for task in dataset.tasks for column in (label_column, mask_column, weight_column))
    ours = {ROW_ID, DAY, ROW_WEIGHT, *of_tasks}
    names = [name for name in dataset.all_columns() if name in features[first] and name not in ours]
    return {
        split: tuple(_column(name, dataset, found[name], features[first][name]) for name in names if name in found)
        for split, found in features.items()
    }


def _column(name: str, dataset: Dataset, feature: Feature, model: Feature) -> ColumnStatistics:
    column = dataset.all_columns()[name]
    is_text = feature.WhichOneof("stats") == "string_stats"
    common = feature.string_stats.common_stats if is_text else feature.num_stats.common_stats
    rows = common.num_missing + common.num_non_missing
    shared = {
        "name": name,
        "type": column.type,
        "rows": rows,
        "missing": common.num_missing / rows if rows else 0.0,
        "mean_length": common.avg_num_values if column.is_list else None,
    }
    if is_text:
        return ColumnStatistics(**shared, distinct=feature.string_stats.unique, bars=_values(feature, model))
    numbers = feature.num_stats
    if not common.num_non_missing:
        return ColumnStatistics(**shared)
    return ColumnStatistics(
        **shared,
        mean=numbers.mean,
        deviation=numbers.std_dev,
        minimum=numbers.min,
        median=numbers.median,
        maximum=numbers.max,
        bars=_ranges(feature, model),
    )


def _values(feature: Feature, model: Feature) -> tuple[Bar, ...]:
    """Shares of `model`'s most frequent values, and of all others."""
    counts = {bucket.label: bucket.sample_count for bucket in feature.string_stats.rank_histogram.buckets}
    common = feature.string_stats.common_stats
    total = common.tot_num_values or sum(counts.values())
    if not total or model.WhichOneof("stats") != "string_stats":
        return ()
    labels = [bucket.label for bucket in model.string_stats.rank_histogram.buckets][:_MAX_BARS]
    bars = [Bar(label=label, share=counts.get(label, 0) / total) for label in labels]
    rest = 1 - sum(bar.share for bar in bars)
    return (*bars, Bar(label=OTHERS, share=max(rest, 0.0)))


def _buckets(feature: Feature) -> Sequence[statistics_pb2.Histogram.Bucket]:
    kind = statistics_pb2.Histogram.QUANTILES
    return next((h.buckets for h in feature.num_stats.histograms if h.type == kind and not h.name), ())


def _ranges(feature: Feature, model: Feature) -> tuple[Bar, ...]:
    """Shares of equal ranges; where `model`'s values have a long tail, the last range holds all of it.

    TFDV's quantiles are used, not its equal-width buckets: one outlier would leave those a single bar.
    """
    own, guide = list(_buckets(feature)), list(_buckets(model))
    if len(guide) < 3:
        return ()
    low, ninth, top = guide[0].low_value, guide[-1].low_value, guide[-1].high_value
    if not ninth > low:
        return ()
    high = top if top - low <= _LONG_TAIL * (ninth - low) else low + _BODY * (ninth - low)
    edges = [low + (high - low) * i / _MAX_BARS for i in range(_MAX_BARS)] + [top]
    total = sum(bucket.sample_count for bucket in own) or 1.0
    shares = [share / total for share in _rebinned(own, edges)]
    return tuple(
        Bar(label=f"{general(a)} to {general(b)}", share=share)
        for (a, b), share in zip(pairwise(edges), shares, strict=True)
    )


def _rebinned(buckets: Sequence[statistics_pb2.Histogram.Bucket], edges: Sequence[float]) -> Iterator[float]:
    """Rows of `buckets` in each range, spread evenly within a bucket; what lies outside goes to the nearest range."""
    for place, (low, high) in enumerate(pairwise(edges)):
        begin = float("-inf") if place == 0 else low
        end = float("inf") if place == len(edges) - 2 else high
        yield sum(_overlap(bucket, begin, end, last=end == float("inf")) for bucket in buckets)


def _overlap(bucket: statistics_pb2.Histogram.Bucket, begin: float, end: float, last: bool) -> float:
    width = bucket.high_value - bucket.low_value
    if width <= 0:
        inside = begin <= bucket.low_value < end or (last and bucket.low_value >= begin)
        return float(bucket.sample_count) if inside else 0.0
    shared = min(bucket.high_value, end) - max(bucket.low_value, begin)
    return float(bucket.sample_count * max(shared, 0.0) / width)
