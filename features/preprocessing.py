"""From the spec to Transform: one small function a feature kind, and the layout of what comes out.

The functions read the sparse tensors of `features.schema` (``(batch, longest)``, what is missing is absent) and
return one dense tensor an input of the layout. No column is handled by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf
import tensorflow_transform as tft

from features.kinds import missing_input
from features.layout import Input, Layout, Table
from features.raw_inputs import is_present
from features.spec import Bag, Bucketized, Categorical, Dataset, Id, Numeric, Sequence

Tensors = dict[str, tf.Tensor]
PreprocessingFn = Callable[[Mapping[str, tf.SparseTensor]], Tensors]

QUANTILES = 256
"""Quantiles that ``scaling: quantile`` interpolates between."""
_CONSTANT = 1e-9
"""A column whose standard deviation is below this share of its mean is constant up to rounding."""


def make_preprocessing_fn(dataset: Dataset) -> PreprocessingFn:
    """Returns TFT's ``preprocessing_fn`` of a dataset: raw sparse tensors to the inputs of `transformed_layout`."""

    def preprocess(inputs: Mapping[str, tf.SparseTensor]) -> Tensors:
        columns = {name: _present(inputs[name]) for name in dataset.feature_columns()}
        vocabularies = _vocabularies(dataset, columns)
        outputs: Tensors = {}
        for name, feature in dataset.features.items():
            raw = columns[dataset.feature_column(name)]
            if isinstance(feature, Numeric):
                outputs |= _number(name, feature, raw)
            elif isinstance(feature, Bucketized):
                outputs[name] = _bucket(feature, raw)
            elif isinstance(feature, Id | Categorical):
                outputs[name] = _token(raw, *vocabularies[dataset.vocabulary_owner(name)])
            else:
                outputs[name] = _tokens(feature, raw, *vocabularies[dataset.vocabulary_owner(name)])
        return outputs

    return preprocess


def preprocessing_fn(inputs: Mapping[str, tf.SparseTensor], custom_config: Mapping[str, str]) -> Tensors:
    """The same in the form that TFX calls; ``custom_config["dataset"]`` is the dataset's JSON."""
    return make_preprocessing_fn(Dataset.model_validate_json(custom_config["dataset"]))(inputs)


# -- values ---------------------------------------------------------------------------------------------------


class _Values(NamedTuple):
    """The values of a column that are there."""

    values: tf.Tensor
    """``(n,)``"""
    rows: tf.Tensor
    """int64 ``(n,)``, increasing: the row of each value."""
    batch: tf.Tensor
    """int64 scalar: how many rows there are."""


def _present(raw: tf.SparseTensor) -> _Values:
    """The values that are no sentinels."""
    return _kept(_Values(raw.values, raw.indices[:, 0], raw.dense_shape[0]), is_present(raw.values))


def _finite(raw: _Values) -> _Values:
    """Finite numbers as float64: a time in milliseconds does not fit float32."""
    values = tf.cast(raw.values, tf.float64)
    raw = raw._replace(values=values)
    return _kept(raw, tf.math.is_finite(values))


def _kept(raw: _Values, mask: tf.Tensor) -> _Values:
    # Not tf.boolean_mask: it adds three times the nodes, and TFT traces this graph many times.
    where = tf.reshape(tf.where(mask), [-1])
    return raw._replace(values=tf.gather(raw.values, where), rows=tf.gather(raw.rows, where))


def _per_row(raw: _Values, values: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
    """``(batch,)`` of the one value of each row, `default` where there is none; fails where there are two."""
    shape = tf.reshape(raw.batch, [1])
    return tf.raw_ops.SparseToDense(
        sparse_indices=raw.rows, output_shape=shape, sparse_values=values, default_value=default, validate_indices=True
    )


# -- tokens ---------------------------------------------------------------------------------------------------


def _vocabularies(dataset: Dataset, columns: Mapping[str, _Values]) -> dict[str, tuple[tf.Tensor, int]]:
    """For each feature that owns one, its vocabulary file (most frequent first) and its out-of-vocabulary buckets."""
    vocabularies = {}
    for name, feature in dataset.features.items():
        if isinstance(feature, Numeric | Bucketized) or dataset.vocabulary_owner(name) != name:
            continue
        values = columns[dataset.feature_column(name)].values
        rule = feature.vocabulary
        file = tft.vocabulary(
            values, top_k=rule.top_k, frequency_threshold=rule.min_count, vocab_filename=name, name=name
        )
        vocabularies[name] = (file, rule.oov_buckets)
    return vocabularies


def _index(values: tf.Tensor, vocabulary: tf.Tensor, oov_buckets: int) -> tf.Tensor:
    """1..V for the tokens of the vocabulary, then the out-of-vocabulary buckets."""
    return tft.apply_vocabulary(values, vocabulary, num_oov_buckets=oov_buckets) + 1


def _token(raw: _Values, vocabulary: tf.Tensor, oov_buckets: int) -> tf.Tensor:
    """Id, Categorical: int64 ``(batch,)``, 0 where missing."""
    return _per_row(raw, _index(raw.values, vocabulary, oov_buckets), tf.constant(0, tf.int64))


def _tokens(feature: Bag | Sequence, raw: _Values, vocabulary: tf.Tensor, oov_buckets: int) -> tf.Tensor:
    """Bag, Sequence: int64 ``(batch, max_length)``, the first or last tokens in order, padded with 0 behind."""
    length = feature.max_length
    # The place of each token in its row: its number among all, less the number of the row's first.
    counts = tf.math.bincount(tf.cast(raw.rows, tf.int32), minlength=tf.cast(raw.batch, tf.int32), dtype=tf.int64)
    starts = tf.cumsum(counts, exclusive=True)
    if isinstance(feature, Sequence) and feature.keep == "last":
        starts += tf.maximum(counts - length, 0)
    places = tf.range(tf.size(raw.rows, tf.int64)) - tf.gather(starts, raw.rows)
    where = tf.reshape(tf.where((places >= 0) & (places < length)), [-1])
    indices = _index(tf.gather(raw.values, where), vocabulary, oov_buckets)
    cells = tf.stack([tf.gather(raw.rows, where), tf.gather(places, where)], axis=1)
    dense = tf.scatter_nd(cells, indices, tf.stack([raw.batch, length]))
    return tf.ensure_shape(dense, [None, length])


# -- numbers --------------------------------------------------------------------------------------------------


def _number(name: str, feature: Numeric, raw: _Values) -> Tensors:
    """Numeric: float32 ``(batch,)``, missing is the mean; beside it the indicator if the spec asks for it."""
    raw = _finite(raw)
    scaled, mean = _SCALINGS[feature.scaling](raw.values)
    outputs = {name: _per_row(raw, tf.cast(scaled, tf.float32), tf.cast(mean, tf.float32))}
    if feature.missing_indicator:
        outputs[missing_input(name)] = _per_row(raw, tf.zeros_like(raw.rows, tf.float32), tf.constant(1.0))
    return outputs


def _unscaled(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return values, tft.mean(values)


def _zscore(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    mean, deviation = tft.mean(values), tf.sqrt(tft.var(values))
    varies = deviation > _CONSTANT * tf.maximum(tf.abs(mean), _CONSTANT)
    scaled = tf.where(varies, tf.math.divide_no_nan(values - mean, deviation), tf.zeros_like(values))
    return scaled, tf.constant(0.0, tf.float64)


def _log_zscore(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return _zscore(tf.sign(values) * tf.math.log1p(tf.abs(values)))


def _quantile_position(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    boundaries = tft.quantiles(values, QUANTILES, epsilon=_epsilon(QUANTILES))
    return tft.apply_buckets_with_interpolation(values, boundaries), tf.constant(0.5, tf.float64)


_SCALINGS: Mapping[str, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]] = {
    "none": _unscaled,
    "zscore": _zscore,
    "log_zscore": _log_zscore,
    "quantile": _quantile_position,
}
"""Scaling -> present values, float64 ``(n,)``, to scaled values and what stands for a missing one (their mean)."""


def _epsilon(buckets: int) -> float:
    """Allowed error of a quantile's rank: a tenth of a bucket, and never more than 1 %."""
    return min(0.01, 0.1 / buckets)


def _bucket(feature: Bucketized, raw: _Values) -> tf.Tensor:
    """Bucketized: int64 ``(batch,)``; bucket i + 1 holds boundary[i - 1] <= x < boundary[i]; 0 is missing."""
    raw = _finite(raw)
    if feature.boundaries is not None:
        boundaries = tf.constant([sorted(feature.boundaries)], tf.float64)
    else:
        boundaries = tft.quantiles(raw.values, feature.buckets, epsilon=_epsilon(feature.buckets))
    return _per_row(raw, tft.apply_buckets(raw.values, boundaries) + 1, tf.constant(0, tf.int64))


# -- layout ---------------------------------------------------------------------------------------------------


def transformed_layout(dataset: Dataset, transform_output: tft.TFTransformOutput) -> Layout:
    """What the transformed columns are, and the embedding tables with their sizes.

    Args:
        dataset: the spec.
        transform_output: of an analysis with this dataset's ``preprocessing_fn``; it knows the vocabularies' sizes.
    """
    inputs: list[Input] = []
    tables: list[Table] = []
    for name, feature in dataset.features.items():
        inputs += _inputs(dataset, name)
        if isinstance(feature, Bucketized):
            buckets = feature.buckets if feature.boundaries is None else len(feature.boundaries) + 1
            tables.append(Table(name=name, rows=1 + buckets, dim=feature.dim))
        elif not isinstance(feature, Numeric) and dataset.vocabulary_owner(name) == name:
            rows = 1 + transform_output.vocabulary_size_by_name(name) + feature.vocabulary.oov_buckets
            tables.append(Table(name=name, rows=rows, dim=feature.dim))
    return Layout(inputs=tuple(inputs), tables=tuple(tables))


def _inputs(dataset: Dataset, name: str) -> list[Input]:
    feature = dataset.features[name]
    table = dataset.vocabulary_owner(name)
    if isinstance(feature, Numeric):
        number = Input(name=name, kind="number", scale="unit" if feature.scaling == "quantile" else "standard")
        flag = Input(name=missing_input(name), kind="number", scale="flag")
        return [number, flag] if feature.missing_indicator else [number]
    if isinstance(feature, Bag | Sequence):
        return [Input(name=name, kind="indices", table=table, length=feature.max_length, pooling=feature.pooling)]
    return [Input(name=name, kind="index", table=table)]
