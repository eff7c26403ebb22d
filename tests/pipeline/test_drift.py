"""Drift distances by hand, and on TFDV's real statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2

from features.errors import DataError
from pipeline.drift import features_by_name, jensen_shannon, l_infinity


def _category(counts: dict[str, float], missing: int = 0) -> Any:
    feature = statistics_pb2.FeatureNameStatistics()
    feature.path.step.append("city")
    for label, count in counts.items():
        feature.string_stats.rank_histogram.buckets.add(label=label, sample_count=count)
    feature.string_stats.common_stats.num_missing = missing
    feature.string_stats.common_stats.num_non_missing = int(sum(counts.values()))
    return feature


def _number(buckets: list[tuple[float, float, float]], missing: int = 0) -> Any:
    feature = statistics_pb2.FeatureNameStatistics()
    histogram = feature.num_stats.histograms.add(type=statistics_pb2.Histogram.QUANTILES)
    for low, high, count in buckets:
        histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
    feature.num_stats.common_stats.num_missing = missing
    return feature


def test_l_infinity_by_hand() -> None:
    before = _category({"a": 6, "b": 4})
    assert l_infinity(before, before) == 0
    assert l_infinity(before, _category({"a": 30, "b": 50, "c": 20})) == pytest.approx(0.3)
    assert l_infinity(before, _category({"a": 3, "b": 2}, missing=5)) == pytest.approx(0.5)


def test_l_infinity_needs_counted_values() -> None:
    with pytest.raises(DataError, match="count no values"):
        l_infinity(_category({"a": 1}), _number([(0, 1, 1)]))


def test_jensen_shannon_by_hand() -> None:
    whole, halves = _number([(0, 1, 10)]), _number([(0, 0.5, 5), (0.5, 1, 5)])
    assert jensen_shannon(whole, halves) == pytest.approx(0)
    assert jensen_shannon(whole, _number([(2, 3, 10)])) == pytest.approx(1)
    # P = (1/2, 1/2), Q = (1, 0): H(3/4, 1/4) - (1 + 0) / 2
    expected = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)) - 0.5
    assert jensen_shannon(whole, _number([(0, 0.5, 10)])) == pytest.approx(expected)
    assert jensen_shannon(whole, _number([(0, 1, 10)], missing=10)) == pytest.approx(expected)
    assert jensen_shannon(_number([(1, 1, 10)]), _number([(1, 1, 3)])) == pytest.approx(0)
    assert jensen_shannon(whole, _number([])) == 0


def _statistics(values: npt.NDArray[np.float64]) -> Any:
    batch = pa.RecordBatch.from_arrays([pa.array([[v] for v in values.tolist()], pa.list_(pa.float32()))], ["x"])
    table = tfdv.generate_statistics_from_dataframe(batch.to_pandas().explode("x").astype("float32"))
    return features_by_name(table)["x"]


def test_a_heavy_tail_is_no_drift_but_a_shift_is() -> None:
    random = np.random.default_rng(0)
    before, after = _statistics(random.pareto(0.8, 5000)), _statistics(random.pareto(0.8, 5000))
    assert jensen_shannon(before, after) < 0.1
    assert jensen_shannon(before, _statistics(10 * random.pareto(0.8, 5000))) > 0.25
