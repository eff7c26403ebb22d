"""Numbers, scaled and cut into buckets, many columns at once.

All columns of a kind go through one set of operations, ``(batch, columns)``: TFT traces the graph many times and a hundred
columns one by one take minutes. Numbers are float64 (a time in milliseconds does not fit float32); missing is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf
import tensorflow_transform as tft

QUANTILES = 256
"""Quantiles that ``scaling: quantile`` interpolates between."""
_CONSTANT = 1e-9
"""A column whose standard deviation is below this share of its mean is constant up to rounding."""
_NO_WEIGHT = 1e-9


def scale(numbers: tf.Tensor, scaling: str) -> tf.Tensor:
    """Scales columns with what Transform learns of them.

    Args:
        numbers: float64 ``(batch, columns)``, NaN where missing.
        scaling: one of ``Numeric.scaling``.

    Returns:
        float32 ``(batch, columns)``; a missing value becomes the column's mean (``none``), 0 (``zscore``,
        ``log_zscore``) or 0.5 (``quantile``).
    """
    scaled, mean = _SCALINGS[scaling](numbers)
    return tf.cast(tf.where(tf.math.is_nan(numbers), mean, scaled), tf.float32)


def quantile_buckets(numbers: tf.Tensor, buckets: int) -> tf.Tensor:
    """int64 ``(batch, columns)``: 0 where missing, else 1 + the number of the quantile bucket."""
    boundaries = _quantiles(numbers, buckets)
    places = tf.searchsorted(boundaries, tf.transpose(numbers), side="right", out_type=tf.int64)
    return _zero_where_missing(numbers, tf.transpose(places) + 1)


def buckets_between(numbers: tf.Tensor, boundaries: tuple[float, ...]) -> tf.Tensor:
    """int64 ``(batch, columns)``: 0 where missing; bucket i + 1 holds boundaries[i - 1] <= x < boundaries[i]."""
    flat = tf.reshape(numbers, [-1])
    places = tf.searchsorted(tf.constant(boundaries, tf.float64), flat, side="right", out_type=tf.int64)
    return _zero_where_missing(numbers, tf.reshape(places, tf.shape(numbers)) + 1)


def _zero_where_missing(numbers: tf.Tensor, buckets: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.math.is_nan(numbers), tf.zeros_like(buckets), buckets)


def _unscaled(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    mean = tft.mean(numbers, reduce_instance_dims=False)
    return numbers, tf.where(tf.math.is_nan(mean), tf.zeros_like(mean), mean)  # NaN: the column has no value at all


def _zscore(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    mean = tft.mean(numbers, reduce_instance_dims=False)
    deviation = tf.sqrt(tft.var(numbers, reduce_instance_dims=False))
    # A constant column has a deviation of rounding errors: dividing by it would blow up the first other value.
    varies = deviation > _CONSTANT * tf.maximum(tf.abs(mean), _CONSTANT)
    scaled = tf.where(varies, tf.math.divide_no_nan(numbers - mean, deviation), tf.zeros_like(numbers))
    return scaled, tf.constant(0.0, tf.float64)


def _log_zscore(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return _zscore(tf.sign(numbers) * tf.math.log1p(tf.abs(numbers)))


def _quantile_position(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Between 0 and 1, interpolated between the two quantiles around a value."""
    boundaries = _quantiles(numbers, QUANTILES)
    transposed = tf.transpose(numbers)
    last = QUANTILES - 2
    places = tf.searchsorted(boundaries, transposed, side="right")
    below = tf.gather(boundaries, tf.clip_by_value(places - 1, 0, last), batch_dims=1)
    above = tf.gather(boundaries, tf.clip_by_value(places, 0, last), batch_dims=1)
    part = tf.clip_by_value(tf.math.divide_no_nan(transposed - below, above - below), 0.0, 1.0)
    position = (tf.cast(tf.maximum(places - 1, 0), tf.float64) + part) / last
    return tf.transpose(tf.minimum(position, 1.0)), tf.constant(0.5, tf.float64)


_SCALINGS: Mapping[str, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]] = {
    "none": _unscaled,
    "zscore": _zscore,
    "log_zscore": _log_zscore,
    "quantile": _quantile_position,
}
"""Scaling -> numbers to scaled numbers and what stands for a missing one."""


def _quantiles(numbers: tf.Tensor, buckets: int) -> tf.Tensor:
    """float64 ``(columns, buckets - 1)``. A rank may be wrong by a tenth of a bucket, and never by more than 1 %."""
    epsilon = min(0.01, 0.1 / buckets)
    # TFT fails where one of several columns has no value at all, so each batch gets a row that weighs next to nothing.
    padded = tf.concat([numbers, tf.zeros_like(numbers[:1])], axis=0)
    weights = tf.concat([tf.ones_like(numbers[:, 0]), _NO_WEIGHT * tf.ones_like(numbers[:1, 0])], axis=0)
    boundaries = tft.quantiles(
        padded, buckets, epsilon=epsilon, weights=tf.cast(weights, tf.float32), reduce_instance_dims=False
    )
    return tf.cast(boundaries, tf.float64)
