"""What the statistics stage wrote, beside TFDV's statistics of a data frame with the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2

from benchmarks.equality.compared import Compared
from benchmarks.equality.learned import rank_error

Feature = Any
"""A `FeatureNameStatistics`."""
QUANTILES = statistics_pb2.Histogram.QUANTILES
EPSILON = 0.01
"""Of TFDV's quantiles, as documented in `tfdv.StatsOptions`."""
_SUMS = ("mean", "std_dev")
_NUMBERS = ("min", "max", "num_zeros")
_COUNTS = ("num_non_missing", "num_missing", "min_num_values", "max_num_values", "tot_num_values")


def compare(log: str, written: Path, schema: Path, rows: pd.DataFrame) -> list[Compared]:
    """Compares every column of `rows` by what both sides tell of it.

    Args:
        log: its name in the table.
        written: FeatureStats.pb of the split.
        schema: schema.pbtxt by which TFDV knows categories among numbers.
        rows: of the split, one value a column and row, missing ones None or NaN.
    """
    options = tfdv.StatsOptions(schema=tfdv.load_schema_text(str(schema)))
    stock = _by_name(tfdv.generate_statistics_from_dataframe(rows, options))
    ours = _by_name(tfdv.load_stats_binary(str(written)))
    pairs = [(ours[name], stock[name]) for name in rows.columns]
    numeric = [(a, b) for a, b in pairs if a.WhichOneof("stats") == "num_stats"]
    texts = [(a, b) for a, b in pairs if a.WhichOneof("stats") == "string_stats"]
    wrong = [a.path.step[0] for a, b in pairs if a.WhichOneof("stats") != b.WhichOneof("stats")]
    if wrong or len(numeric) + len(texts) != len(pairs):
        raise ValueError(f"columns are numbers to one and texts to the other, or neither: {wrong}")
    return [*_all(log, pairs), *_of_numbers(log, numeric, rows), *_of_texts(log, texts)]


def _by_name(found: Any) -> Mapping[str, Feature]:
    return {feature.path.step[0]: feature for feature in found.datasets[0].features}


def _all(log: str, pairs: list[tuple[Feature, Feature]]) -> Iterable[Compared]:
    off = _worst((getattr(_common(a), name), getattr(_common(b), name)) for a, b in pairs for name in _COUNTS)
    yield Compared(log, "values, missing, values a row", f"{len(pairs)} columns", "TFDV", off, 0, "exact")


def _of_numbers(log: str, pairs: list[tuple[Feature, Feature]], rows: pd.DataFrame) -> Iterable[Compared]:
    text = f"{len(pairs)} columns"

    def off(names: Iterable[str]) -> float:
        return _worst((getattr(a.num_stats, name), getattr(b.num_stats, name)) for a, b in pairs for name in names)

    yield Compared(log, "min, max, zeros", text, "TFDV", off(_NUMBERS), 0, "exact")
    yield Compared(log, "mean, deviation", text, "TFDV", off(_SUMS), 1e-6, "relative; order of the sum")
    errors = [
        [_quantile_error(side.num_stats, rows) for side, rows in ((a, column), (b, column))]
        for a, b, column in ((a, b, rows[a.path.step[0]]) for a, b in pairs)
    ]
    mine, theirs = (max(error[side] for error in errors) for side in (0, 1))
    why = "share of the rows by which an edge's rank is off; the documented epsilon"
    yield Compared(log, "edges of quantile histograms", text, f"TFDV: {theirs:.2g} of {EPSILON}", mine, EPSILON, why)
    medians = _worst_rank([(a.num_stats.median, rows[a.path.step[0]]) for a, _ in pairs])
    yield Compared(log, "median", text, "exact rank", medians, EPSILON, why)


def _of_texts(log: str, pairs: list[tuple[Feature, Feature]]) -> Iterable[Compared]:
    text = f"{len(pairs)} columns"
    unique = _worst((a.string_stats.unique, b.string_stats.unique) for a, b in pairs)
    yield Compared(log, "unique values", text, "TFDV", unique, 0, "exact")
    lengths = _worst((a.string_stats.avg_length, b.string_stats.avg_length) for a, b in pairs)
    yield Compared(log, "mean length", text, "TFDV", lengths, 1e-6, "relative; float32")
    for what, values in (("most frequent values", _top), ("rank histograms", _ranked)):
        different = sum(not same_ranking(values(a), values(b)) for a, b in pairs)
        yield Compared(log, what, text, "TFDV", different, 0, "same counts, same values but for the order of equals")


def same_ranking(ours: list[tuple[str, float]], stock: list[tuple[str, float]]) -> bool:
    """Whether two lists of values and their falling counts say the same.

    TFDV orders values of one count as its workers happened to meet them, and cuts the list among them.
    """
    if [count for _, count in ours] != [count for _, count in stock]:
        return False
    last = stock[-1][1] if stock else 0
    return {one for one in ours if one[1] > last} == {one for one in stock if one[1] > last}


def _top(feature: Feature) -> list[tuple[str, float]]:
    return [(value.value, value.frequency) for value in feature.string_stats.top_values]


def _ranked(feature: Feature) -> list[tuple[str, float]]:
    return [(bucket.label, bucket.sample_count) for bucket in feature.string_stats.rank_histogram.buckets]


def _common(feature: Feature) -> Any:
    return getattr(feature, feature.WhichOneof("stats")).common_stats


def _worst(pairs: Iterable[tuple[float, float]]) -> float:
    """Largest difference, relative to the other side's number where that is above 1."""
    return max(abs(a - b) / max(abs(b), 1) for a, b in pairs)


def _quantile_error(numbers: Any, column: pd.Series) -> float:
    (histogram,) = (histogram for histogram in numbers.histograms if histogram.type == QUANTILES)
    edges = np.array([bucket.high_value for bucket in histogram.buckets][:-1])
    return rank_error(_ordered(column), edges)


def _worst_rank(found: Iterable[tuple[float, pd.Series]]) -> float:
    return max(rank_error(_ordered(column), np.array([median])) for median, column in found)


def _ordered(column: pd.Series) -> npt.NDArray[np.float64]:
    return np.sort(column.dropna().to_numpy(np.float64))
