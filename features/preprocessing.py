"""From the spec to Transform: one small function a feature kind, and the layout of what comes out.

The functions read the sparse tensors of `features.schema` (``(batch, longest)``, what is missing is absent) and
return one dense tensor an input of the layout. No column is handled by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import tensorflow as tf
import tensorflow_transform as tft

from features.kinds import frequency_input, missing_input
from features.layout import Input, Layout, Table
from features.raw_inputs import is_present
from features.scaling import buckets_between, quantile_buckets, scale
from features.sources import TICKS
from features.spec import (
    POSITION,
    Bag,
    Bucketized,
    Clock,
    Cross,
    Dataset,
    Id,
    Numeric,
    Pretrained,
    Sequence,
    TimeColumn,
    Tokens,
    Vocabulary,
)

Tensors = dict[str, tf.Tensor]
PreprocessingFn = Callable[[Mapping[str, tf.SparseTensor]], Tensors]
VocabularyWriter = Callable[[Mapping[str, Vocabulary | None]], Any]
"""Takes the rule of each file, None for the ids of pretrained vectors; gives a Beam transform of batches of tokens, one array a rule, to the paths of `vocabulary_files`."""


def make_preprocessing_fn(dataset: Dataset, write_vocabularies: VocabularyWriter) -> PreprocessingFn:
    """Returns TFT's ``preprocessing_fn`` of a dataset: raw sparse tensors to the inputs of `transformed_layout`.

    Args:
        dataset: the spec.
        write_vocabularies: how the analysis counts tokens (no Beam in this room).
    """

    def preprocess(inputs: Mapping[str, tf.SparseTensor]) -> Tensors:
        columns = {name: _present(inputs[name]) for name in dataset.transform_columns()}
        rows = _token_rows(dataset, columns, write_vocabularies)
        outputs = _numbers(dataset, columns)
        if dataset.position is not None:
            outputs[POSITION] = _position(columns[dataset.position])
        for name, feature in dataset.features.items():
            if isinstance(feature, Numeric | Bucketized):
                continue
            if isinstance(feature, Cross):
                outputs[name] = _cross(feature, [_texts(dataset, part, columns, outputs) for part in feature.of])
                continue
            raw = columns[dataset.feature_column(name)]
            if isinstance(feature, Clock):
                outputs[name] = _clock(feature, dataset.time, raw)
                continue
            table = rows[dataset.vocabulary_owner(name)]
            if isinstance(feature, Bag | Sequence):
                outputs[name] = _tokens(feature, raw, table)
                continue
            places = _places(raw.values, table)
            outputs[name] = _per_row(raw, places + 1, tf.constant(0, tf.int64))
            if isinstance(feature, Id) and feature.frequency_rank:
                outputs[frequency_input(name)] = _frequency_rank(raw, places, table.buckets)
        return outputs

    return preprocess


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
    """The values that are no sentinels. (NaN stays: it means missing in `features.scaling`, too.)"""
    values, rows, batch = raw.values, raw.indices[:, 0], raw.dense_shape[0]
    if not values.dtype.is_floating:
        # Not tf.boolean_mask: it adds three times the nodes, and TFT traces this graph many times.
        where = tf.reshape(tf.where(is_present(values)), [-1])
        values, rows = tf.gather(values, where), tf.gather(rows, where)
    return _Values(values, rows, batch)


def _per_row(raw: _Values, values: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
    """``(batch,)`` of the one value of each row, `default` where there is none; fails where there are two."""
    shape = tf.reshape(raw.batch, [1])
    return tf.raw_ops.SparseToDense(
        sparse_indices=raw.rows, output_shape=shape, sparse_values=values, default_value=default, validate_indices=True
    )


# -- tokens ---------------------------------------------------------------------------------------------------

_BETWEEN = "\x1f"
"""Between the texts of a cross: no token should hold it (ASCII's unit separator)."""
_WEEKDAY_OF_DAY_0 = 3
"""1970-01-01 was a Thursday; Monday is 0."""
_BLOCK = 16 * 2**20
_BEFORE_ANALYSIS = b"-1"
"""What TFT puts into vocabulary files while it traces the graph: a token of either type."""


class _Rows(NamedTuple):
    """Which row of a table a token has."""

    vocabulary: tf.Tensor | None
    """File of the tokens with a row of their own, most frequent first; None: no token has."""
    buckets: int
    """Rows behind them, each for the tokens of a hash."""


def _token_rows(dataset: Dataset, columns: Mapping[str, _Values], write: VocabularyWriter) -> dict[str, _Rows]:
    """For each feature that owns a table of tokens."""
    owned = {
        name: feature.vocabulary
        for name, feature in dataset.features.items()
        if isinstance(feature, Tokens) and dataset.vocabulary_owner(name) == name
    }
    rules: dict[str, Vocabulary | None] = {name: rule for name, rule in owned.items() if rule.hash_buckets is None}
    rules |= dict.fromkeys(dataset.pretrained())
    hashed = {name: _Rows(None, rule.hash_buckets) for name, rule in owned.items() if rule.hash_buckets is not None}
    if not rules:
        return hashed
    tokens = [columns[dataset.feature_column(name)].values for name in rules]
    number = len(vocabulary_files(rules))
    files = tft.experimental.ptransform_analyzer(
        tokens,
        write(rules),
        output_dtypes=[tf.string] * number,
        output_shapes=[[]] * number,
        output_asset_default_values=[_BEFORE_ANALYSIS] * number,
    )
    for name in rules:
        tft.annotate_asset(name, name)
    counted = {
        name: _Rows(file, rule.oov_buckets if rule is not None else 1)
        for (name, rule), file in zip(rules.items(), files[: len(rules)], strict=True)
    }
    return counted | hashed


def vocabulary_files(rules: Mapping[str, Vocabulary | None]) -> list[str]:
    """Files that a `VocabularyWriter` makes: the vocabularies, then the bounds of those counted in bounded memory, as JSON."""
    return [*rules, *(bound_file(name) for name, rule in rules.items() if rule is not None and rule.counted_tokens)]


def bound_file(vocabulary: str) -> str:
    """Name of the file that says how far a vocabulary can be trusted (`features.logs.token_counts.CountBound`)."""
    return f"{vocabulary}.bound.json"


def _places(values: tf.Tensor, rows: _Rows) -> tf.Tensor:
    """From 0 on the tokens of the vocabulary, then the buckets. Indices are one more: 0 is missing."""
    if rows.vocabulary is not None:
        return tft.apply_vocabulary(values, rows.vocabulary, num_oov_buckets=rows.buckets)
    return tf.strings.to_hash_bucket_fast(_as_text(values), rows.buckets)


def _as_text(values: tf.Tensor) -> tf.Tensor:
    return values if values.dtype == tf.string else tf.strings.as_string(values)


def _texts(dataset: Dataset, name: str, columns: Mapping[str, _Values], outputs: Tensors) -> tf.Tensor:
    """string ``(batch,)``: a feature's token, or its bucket's number; empty where missing."""
    feature, raw = dataset.features[name], columns[dataset.feature_column(name)]
    if isinstance(feature, Bucketized | Clock):
        index = outputs[name] if isinstance(feature, Bucketized) else _clock(feature, dataset.time, raw)
        return tf.where(index > 0, tf.strings.as_string(index), "")
    return _per_row(raw, _as_text(raw.values), tf.constant(""))


def _clock(feature: Clock, time: TimeColumn | None, raw: _Values) -> tf.Tensor:
    """int64 ``(batch,)``: 0 where missing, else 1 + the hour, the weekday (from Monday on) or both."""
    assert time is not None  # the spec checks it
    seconds = raw.values // TICKS[time.unit] + round(time.utc_offset_hours * 3600)
    hour, weekday = seconds // 3600 % 24, (seconds // 86_400 + _WEEKDAY_OF_DAY_0) % 7
    places = {"hour": hour, "weekday": weekday, "hour_of_week": 24 * weekday + hour}[feature.part]
    return _per_row(raw, places + 1, tf.constant(0, tf.int64))


def _cross(feature: Cross, texts: list[tf.Tensor]) -> tf.Tensor:
    """int64 ``(batch,)``: 0 where a text is missing, else 1 + the hash of all of them."""
    present = tf.reduce_all(tf.stack(texts) != "", axis=0)
    places = tf.strings.to_hash_bucket_fast(tf.strings.join(texts, _BETWEEN), feature.hash_buckets)
    return tf.where(present, places + 1, 0)


def _frequency_rank(raw: _Values, places: tf.Tensor, oov_buckets: int) -> tf.Tensor:
    """float32 ``(batch,)``: from 1, the most frequent token, to 0, one out of the vocabulary or missing."""
    kept = tft.get_num_buckets_for_transformed_feature(places) - oov_buckets
    places, size = tf.cast(places, tf.float32), tf.cast(kept, tf.float32)
    ranks = 1 - tf.math.log1p(places) / tf.math.log1p(tf.maximum(size, 1))
    return _per_row(raw, tf.where(places < size, ranks, 0), tf.constant(0, tf.float32))


def _tokens(feature: Bag | Sequence, raw: _Values, table: _Rows) -> tf.Tensor:
    """Bag, Sequence: int64 ``(batch, max_length)``, the first or last tokens in order, padded with 0 behind."""
    length = feature.max_length
    # The place of each token in its row: its number among all, less the number of the row's first.
    counts = tf.math.bincount(tf.cast(raw.rows, tf.int32), minlength=tf.cast(raw.batch, tf.int32), dtype=tf.int64)
    starts = tf.cumsum(counts, exclusive=True)
    if isinstance(feature, Sequence) and feature.keep == "last":
        starts += tf.maximum(counts - length, 0)
    places = tf.range(tf.size(raw.rows, tf.int64)) - tf.gather(starts, raw.rows)
    where = tf.reshape(tf.where((places >= 0) & (places < length)), [-1])
    indices = _places(tf.gather(raw.values, where), table) + 1
    cells = tf.stack([tf.gather(raw.rows, where), tf.gather(places, where)], axis=1)
    dense = tf.scatter_nd(cells, indices, tf.stack([raw.batch, length]))
    return tf.ensure_shape(dense, [None, length])


# -- numbers --------------------------------------------------------------------------------------------------


def _numbers(dataset: Dataset, columns: Mapping[str, _Values]) -> Tensors:
    """Numeric: float32 ``(batch,)``, missing is the mean. Bucketized: int64 ``(batch,)``, 0 where missing.

    Beside a numeric feature its indicator, 1 where missing, if the spec asks for it.
    """
    groups: dict[_Treatment, list[str]] = {}
    for name, feature in dataset.features.items():
        if isinstance(feature, Numeric | Bucketized):
            groups.setdefault(_treatment(feature), []).append(name)
    dense = {
        dataset.feature_column(name): _dense_number(columns[dataset.feature_column(name)])
        for names in groups.values()
        for name in names
    }
    outputs: Tensors = {}
    for treatment, names in groups.items():
        matrix = tf.stack([dense[dataset.feature_column(name)] for name in names], axis=1)
        outputs |= zip(names, tf.unstack(_treat(treatment, matrix), num=len(names), axis=1), strict=True)
    for name, feature in dataset.features.items():
        if isinstance(feature, Numeric) and feature.missing_indicator:
            outputs[missing_input(name)] = tf.cast(tf.math.is_nan(dense[dataset.feature_column(name)]), tf.float32)
    return outputs


def _dense_number(raw: _Values) -> tf.Tensor:
    """float64 ``(batch,)``, NaN where missing. An infinite number counts as missing."""
    dense = _per_row(raw, tf.cast(raw.values, tf.float64), tf.constant(float("nan"), tf.float64))
    return tf.where(tf.math.is_finite(dense), dense, tf.constant(float("nan"), tf.float64))


def _position(raw: _Values) -> tf.Tensor:
    """int64 ``(batch,)``: 0 where missing or negative, else 1 + the position."""
    number = _dense_number(raw)
    # 2^53: up to there float64 counts one by one; int64 holds it.
    index = 1 + tf.clip_by_value(tf.floor(number), -1.0, 2.0**53)
    return tf.cast(tf.where(tf.math.is_nan(number), tf.zeros_like(index), index), tf.int64)


class _Treatment(NamedTuple):
    """What is done to a number; columns of the same treatment are handled together."""

    scaling: str | None = None
    buckets: int = 0
    boundaries: tuple[float, ...] | None = None


def _treatment(feature: Numeric | Bucketized) -> _Treatment:
    if isinstance(feature, Numeric):
        return _Treatment(scaling=feature.scaling)
    if feature.boundaries is not None:
        return _Treatment(boundaries=feature.boundaries)
    return _Treatment(buckets=feature.buckets)


def _treat(treatment: _Treatment, numbers: tf.Tensor) -> tf.Tensor:
    if treatment.scaling is not None:
        return scale(numbers, treatment.scaling)
    if treatment.boundaries is not None:
        return buckets_between(numbers, treatment.boundaries)
    return quantile_buckets(numbers, treatment.buckets)


_SCALES: Mapping[str, Literal["standard", "log_standard", "unit", "raw"]] = {
    "zscore": "standard",
    "log_zscore": "log_standard",
    "quantile": "unit",
    "none": "raw",
}


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
            tables.append(Table(name=name, rows=1 + buckets, dim=feature.dim, boundaries=feature.boundaries))
        elif isinstance(feature, Clock):
            tables.append(Table(name=name, rows=1 + feature.rows, dim=feature.dim))
        elif isinstance(feature, Cross):
            tables.append(Table(name=name, rows=1 + feature.hash_buckets, dim=feature.dim))
        elif isinstance(feature, Pretrained):
            rows = 1 + _size(transform_output, name) + 1
            kind: Literal["frozen", "trained"] = "trained" if feature.trainable else "frozen"
            tables.append(Table(name=name, rows=rows, dim=feature.width, vectors=kind))
        elif isinstance(feature, Tokens) and dataset.vocabulary_owner(name) == name:
            rule = feature.vocabulary
            rows = rule.hash_buckets or _size(transform_output, name) + rule.oov_buckets
            tables.append(Table(name=name, rows=1 + rows, dim=feature.dim))
    return Layout(
        inputs=tuple(inputs),
        tables=tuple(tables),
        position=dataset.position is not None,
        row_weights=dataset.weighs_rows,
    )


def _size(transform_output: tft.TFTransformOutput, name: str) -> int:
    """Lines of a vocabulary's file, by blocks: TFT reads line by line, a second for a million tokens."""
    lines = 0
    with tf.io.gfile.GFile(transform_output.vocabulary_file_by_name(name), "rb") as file:
        while block := file.read(_BLOCK):
            lines += block.count(b"\n")
    return lines


def _inputs(dataset: Dataset, name: str) -> list[Input]:
    feature = dataset.features[name]
    table = dataset.vocabulary_owner(name)
    if isinstance(feature, Numeric):
        number = Input(name=name, kind="number", scale=_SCALES[feature.scaling])
        flag = Input(name=missing_input(name), kind="number", scale="flag")
        return [number, flag] if feature.missing_indicator else [number]
    if isinstance(feature, Bag | Sequence):
        shape = {"kind": "indices", "length": feature.max_length, "pooling": feature.pooling}
        if isinstance(feature, Sequence):
            shape |= {"ordered": True, "keep": feature.keep, "target": feature.attends_to()}
        return [Input.model_validate({"name": name, "table": table, **shape})]
    index = Input(name=name, kind="index", table=table)
    ranked = isinstance(feature, Id) and feature.frequency_rank
    return [index, Input(name=frequency_input(name), kind="number", scale="unit")] if ranked else [index]
