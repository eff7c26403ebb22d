"""What Transform learns: vocabularies, moments and quantiles, beside `tft`'s own analyzers of the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata

from benchmarks.equality.compared import Compared
from features.scaling import QUANTILES
from features.spec import Bucketized, Dataset, Numeric, Tokens

COLUMNS = 12
"""Of numbers, a kind: TFT takes seconds for each that stands alone."""
EPSILON = 0.01
"""Of `tft.quantiles`, by default."""
Numbers = np.ndarray[Any, np.dtype[np.float64]]


def compare(log: str, dataset: Dataset, examples: Path, transformed: Path, graph: Path) -> list[Compared]:
    """Compares all that Transform learned.

    Args:
        log: its name in the table.
        dataset: the spec.
        examples: ingest's train split.
        transformed: the same rows as Transform wrote them.
        graph: Transform's graph.
    """
    rows, written = _table(examples), _table(transformed)
    learned = _Stock(dataset, rows, graph.parent / "stock_transform")
    found = _vocabularies(log, dataset, graph, learned)
    for kind in ("zscore", "log_zscore", "none"):
        found += _moments(log, kind, dataset, (rows, written), learned)
    found += _quantiles(log, dataset, (rows, written), learned)
    return found + _positions(log, dataset, (rows, written))


def _table(split: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(split.glob("*.parquet")))


def _numeric(dataset: Dataset, kind: str) -> list[str]:
    found = [n for n, f in dataset.features.items() if isinstance(f, Numeric) and f.scaling == kind]
    return found[:COLUMNS]


def _bucketized(dataset: Dataset) -> dict[str, Bucketized]:
    every = {n: f for n, f in dataset.features.items() if isinstance(f, Bucketized) and f.boundaries is None}
    return dict(list(every.items())[:COLUMNS])


def _vocabulary_features(dataset: Dataset) -> dict[str, Tokens]:
    return {
        name: feature
        for name, feature in dataset.features.items()
        if isinstance(feature, Tokens)
        and dataset.vocabulary_owner(name) == name
        and feature.vocabulary.hash_buckets is None
    }


class _Stock:
    """`tft`'s analyzers, one by one, each of the column as it lies in the examples."""

    def __init__(self, dataset: Dataset, rows: pa.Table, folder: Path) -> None:
        self._dataset = dataset
        columns = sorted({dataset.feature_column(name) for name in self._names()})
        kinds = {"int64": tf.int64, "float32": tf.float32, "string": tf.string}
        spec = {name: tf.io.VarLenFeature(kinds[dataset.all_columns()[name].element_type]) for name in columns}
        metadata = dataset_metadata.DatasetMetadata.from_feature_spec(spec)
        plain = [
            {name: [] if value is None else value for name, value in row.items()}
            for row in rows.select(columns).to_pylist()
        ]
        with (
            tft_beam.Context(temp_dir=str(folder / "tmp"), use_deep_copy_optimization=False),
            beam.Pipeline(argv=["--runner=FnApiRunner"]) as pipeline,
        ):
            source = (pipeline | beam.Create(plain), metadata)
            _ = source | tft_beam.AnalyzeDataset(self._preprocess) | tft_beam.WriteTransformFn(str(folder))
        self._output = tft.TFTransformOutput(str(folder))
        first = {name: tf.sparse.from_dense(tf.zeros([1, 1], spec[name].dtype)) for name in columns}
        self._constants = self._output.transform_raw_features(first)

    def _names(self) -> Iterator[str]:
        yield from _vocabulary_features(self._dataset)
        yield from _bucketized(self._dataset)
        for kind in ("zscore", "log_zscore", "none"):
            yield from _numeric(self._dataset, kind)

    def _preprocess(self, inputs: Mapping[str, tf.SparseTensor]) -> dict[str, tf.Tensor]:
        first = next(iter(inputs.values()))
        rows = tf.cast(first.dense_shape[0], tf.int32)

        def told(found: tf.Tensor) -> tf.Tensor:
            """(rows,): the same text of all numbers that an analyzer found, for an output must have a row a row."""
            texts = found if found.dtype == tf.string else tf.strings.as_string(found, precision=17, scientific=True)
            return tf.repeat(tf.reshape(tf.strings.reduce_join(tf.reshape(texts, [-1]), separator=" "), [1]), rows)

        outputs = {}
        for name, feature in _vocabulary_features(self._dataset).items():
            rule = feature.vocabulary
            tokens = inputs[self._dataset.feature_column(name)]
            file = tft.vocabulary(
                tokens, top_k=rule.top_k, frequency_threshold=rule.min_count, vocab_filename=f"v_{name}"
            )
            outputs[f"vocabulary_{name}"] = told(file)
        for name in (name for kind in ("zscore", "log_zscore", "none") for name in _numeric(self._dataset, kind)):
            numbers = self._values(inputs, name)
            outputs[f"mean_{name}"] = told(tft.mean(numbers))
            outputs[f"var_{name}"] = told(tft.var(numbers))
        for name, bucketized in _bucketized(self._dataset).items():
            found = tft.quantiles(self._values(inputs, name), bucketized.buckets, EPSILON)
            outputs[f"quantiles_{name}"] = told(tf.cast(found, tf.float64))
        return outputs

    def _values(self, inputs: Mapping[str, tf.SparseTensor], name: str) -> tf.Tensor:
        values = tf.cast(inputs[self._dataset.feature_column(name)].values, tf.float64)
        values = tf.boolean_mask(values, tf.math.is_finite(values))
        feature = self._dataset.features[name]
        log = isinstance(feature, Numeric) and feature.scaling == "log_zscore"
        return tf.sign(values) * tf.math.log1p(tf.abs(values)) if log else values

    def constant(self, name: str) -> Numbers:
        """What an analyzer found."""
        return np.array(self._constants[name].numpy()[0].split(), np.float64)

    def vocabulary(self, name: str) -> list[bytes]:
        """Of a feature, in order."""
        return list(self._output.vocabulary_by_name(f"v_{name}"))


def _vocabularies(log: str, dataset: Dataset, graph: Path, learned: _Stock) -> list[Compared]:
    ours, different, tokens = tft.TFTransformOutput(str(graph)), 0, 0
    names = _vocabulary_features(dataset)
    for name in names:
        mine, theirs = list(ours.vocabulary_by_name(name)), learned.vocabulary(name)
        tokens += len(theirs)
        different += sum(a != b for a, b in zip(mine, theirs, strict=False)) + abs(len(mine) - len(theirs))
    text = f"{len(names)} vocabularies, {tokens:,} tokens"
    return [Compared(log, "vocabularies", text, "`tft.vocabulary`", different, 0, "same tokens in the same order")]


def _column(rows: pa.Table, name: str) -> Numbers:
    """(rows,) float64, NaN where missing."""
    lists = rows[name].combine_chunks()
    lengths = np.asarray(lists.value_lengths().fill_null(0))
    found = np.full(len(lengths), np.nan)
    found[lengths > 0] = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def _moments(
    log: str, kind: str, dataset: Dataset, tables: tuple[pa.Table, pa.Table], learned: _Stock
) -> list[Compared]:
    rows, written = tables
    worst, names = 0.0, _numeric(dataset, kind)
    for name in names:
        numbers = _column(rows, dataset.feature_column(name))
        numbers = np.sign(numbers) * np.log1p(np.abs(numbers)) if kind == "log_zscore" else numbers
        (mean,), (variance,) = learned.constant(f"mean_{name}"), learned.constant(f"var_{name}")
        if kind == "none":
            expected = np.where(np.isnan(numbers), mean, numbers)
        else:
            expected = (
                np.zeros(len(numbers)) if variance < 1e-15 else np.nan_to_num((numbers - mean) / np.sqrt(variance))
            )
        off = np.abs(written[name].to_numpy() - expected) / np.maximum(np.abs(expected), 1)
        worst = float(np.fmax(worst, off.max()))
    what = {"zscore": "z-scores", "log_zscore": "z-scores of logarithms", "none": "numbers as they are"}[kind]
    stock = "by `tft.mean`" if kind == "none" else "by `tft.mean`, `tft.var`"
    why = "relative; float32 of the output"
    return [Compared(log, what, f"{len(names)} columns, all rows", stock, worst, 1e-5, why)] if names else []


def _quantiles(log: str, dataset: Dataset, tables: tuple[pa.Table, pa.Table], learned: _Stock) -> list[Compared]:
    rows, written = tables
    mine = theirs = allowed = 0.0
    features = _bucketized(dataset)
    for name, feature in features.items():
        numbers, buckets = _column(rows, dataset.feature_column(name)), written[name].to_numpy() - 1
        known = ~np.isnan(numbers)
        ordered, buckets = np.sort(numbers[known]), buckets[known]
        edges = [
            numbers[known][buckets > k].min() if (buckets > k).any() else np.inf for k in range(feature.buckets - 1)
        ]
        mine = max(mine, rank_error(ordered, np.array(edges)))
        theirs = max(theirs, rank_error(ordered, learned.constant(f"quantiles_{name}")))
        allowed = max(allowed, min(0.01, 0.1 / feature.buckets))
    if not features:
        return []
    text, why = (
        f"{len(features)} columns",
        "share of the rows by which a boundary's rank is off; the documented epsilon",
    )
    stock = f"`tft.quantiles`: {theirs:.2g} of {EPSILON:g}"
    return [Compared(log, "quantiles", text, stock, mine, allowed + 1 / len(rows), why)]


def _positions(log: str, dataset: Dataset, tables: tuple[pa.Table, pa.Table]) -> list[Compared]:
    rows, written = tables
    names, off = _numeric(dataset, "quantile"), 0.0
    for name in names:
        numbers = _column(rows, dataset.feature_column(name))
        known = ~np.isnan(numbers)
        ordered, numbers, places = np.sort(numbers[known]), numbers[known], written[name].to_numpy()[known]
        below, up_to = (np.searchsorted(ordered, numbers, side) / len(ordered) for side in ("left", "right"))
        off = max(off, float(np.maximum(np.maximum(below - places, places - up_to), 0).max()))
    # Of QUANTILES - 1 boundaries the first is rank 1 / QUANTILES and has place 0: one step. Between two boundaries places are on a
    # straight line and ranks need not be: another.
    allowed = 2 / QUANTILES + min(0.01, 0.1 / QUANTILES)
    why = f"share of the rows between a value and its rank; two steps of the {QUANTILES} quantiles and the documented epsilon"
    text = f"{len(names)} columns, all rows"
    return [Compared(log, "places among quantiles", text, "exact rank", off, allowed, why)] if names else []


def rank_error(ordered: Numbers, boundaries: Numbers) -> float:
    """By what share of all rows the rank of a boundary is off at most, against exact quantiles.

    Args:
        ordered: (rows,), rising.
        boundaries: (buckets - 1,), rising; above all rows (infinite) is taken for the largest.
    """
    wanted = np.arange(1, len(boundaries) + 1) / (len(boundaries) + 1)
    edges = np.minimum(boundaries, ordered[-1])
    below, up_to = (np.searchsorted(ordered, edges, side) / len(ordered) for side in ("left", "right"))
    return float(np.maximum(np.maximum(below - wanted, wanted - up_to), 0).max())
