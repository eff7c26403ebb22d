"""Averages of the weights along the path of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import tensorflow as tf

Gradient: TypeAlias = "tf.Tensor | tf.IndexedSlices | None"
SAME = tf.VariableAggregation.ONLY_FIRST_REPLICA
"""Copies of a model that train together all write the same."""


class WeightAverage(tf.Module):
    """Exponential moving averages of all weights, at a cost that does not grow with the tables' rows.

    After T steps a weight x has the average ``a_T = sum_t d^(T-t) x_t / sum_t d^(T-t)`` over t = 1..T: the start, drawn at random, has no part
    in it. A table's row that was x from step k on, because no step looked it up, has at step t
    ``a_t = x + (a_k - x) d^(t-k) (1 - d^k) / (1 - d^t)``. So a row's average is brought up to date when a step is about to change the row,
    and at the end: exact, while a step touches the rows that it looked up. It doubles the tables' memory.

    Checkpoints hold its variables.

    Args:
        dense: variables that every step changes.
        tables: variables of which a step changes the rows of its gradient alone.
        decay: d, in (0, 1); about ``1 / (1 - d)`` steps count.

    Paper: Kingma and Ba, Adam, ICLR 2015, section 7.2, after Polyak and Juditsky, Acceleration of Stochastic Approximation by
    Averaging, 1992.
    """

    def __init__(self, dense: Sequence[tf.Variable], tables: Sequence[tf.Variable], decay: float) -> None:
        super().__init__(name="weight_average")
        self._dense, self._tables, self._decay = list(dense), list(tables), decay
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=SAME)
        self.dense = [tf.Variable(variable, trainable=False, aggregation=SAME) for variable in dense]
        self.tables = [tf.Variable(table, trainable=False, aggregation=SAME) for table in tables]
        self.since = [
            tf.Variable(tf.zeros(table.shape[0], tf.int64), trainable=False, aggregation=SAME) for table in tables
        ]
        """k of each row."""
        self._caught_up = tf.function(self._catch_up, autograph=False)

    def before_step(self, gradients: Iterable[tuple[Gradient, tf.Variable]]) -> None:
        """Brings the rows up to date that a step is about to change by these gradients."""
        rows = {
            variable.ref(): tf.unique(gradient.indices)[0] if isinstance(gradient, tf.IndexedSlices) else None
            for gradient, variable in gradients
            if gradient is not None
        }
        for place, table in enumerate(self._tables):
            if table.ref() in rows:
                self._update(place, rows[table.ref()])

    def after_step(self) -> None:
        """Counts a step, and averages what every step changes."""
        done = self.steps.assign_add(1)
        for average, variable in zip(self.dense, self._dense, strict=True):
            average.assign(variable + (average - variable) * self._kept(done - 1, done, variable.dtype))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averages instead of its weights."""
        self._caught_up()
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _catch_up(self) -> None:
        for place in range(len(self._tables)):
            self._update(place, None)

    def _update(self, place: int, rows: tf.Tensor | None) -> None:
        """Of the given rows of a table, or of all."""
        table, average, since = self._tables[place], self.tables[place], self.since[place]
        rows = tf.range(table.shape[0]) if rows is None else rows
        weights = tf.gather(table, rows)
        kept = self._kept(tf.gather(since, rows), self.steps, table.dtype)[:, tf.newaxis]
        average.scatter_update(tf.IndexedSlices(weights + (tf.gather(average, rows) - weights) * kept, rows))
        since.scatter_update(tf.IndexedSlices(tf.fill(tf.shape(rows), self.steps.read_value()), rows))

    def _kept(self, k: tf.Tensor, t: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """``d^(t-k) (1 - d^k) / (1 - d^t)``; 0 before the first step."""
        log = tf.math.log(tf.constant(self._decay, tf.float64))
        then, now = tf.cast(k, tf.float64) * log, tf.cast(t, tf.float64) * log
        kept = tf.math.divide_no_nan(tf.exp(now - then) * tf.math.expm1(then), tf.math.expm1(now))
        return tf.cast(kept, dtype)

    def _swap(self) -> None:
        for one, other in zip([*self._dense, *self._tables], [*self.dense, *self.tables], strict=True):
            held = tf.identity(one)
            one.assign(other)
            other.assign(held)
