"""Averages of the weights along the path of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import tensorflow as tf

Gradient: TypeAlias = "tf.Tensor | tf.IndexedSlices | None"
SAME = tf.VariableAggregation.ONLY_FIRST_REPLICA
"""Copies of a model that train together all write the same."""
BLOCK_ROWS = 65_536
"""Of a table, whose averages are brought up to date and exchanged for its weights together: never a copy of all."""


class _Average(tf.Module):
    """A variable that every step changes, and its average."""

    def __init__(self, trained: tf.Variable) -> None:
        super().__init__(name="average")
        self.trained = trained
        self.average = tf.Variable(trained, trainable=False, aggregation=SAME)

    def move(self, kept: tf.Tensor) -> None:
        """``average = kept * average + (1 - kept) * weight``."""
        self.average.assign(self.trained + (self.average - self.trained) * kept)

    def swap(self) -> None:
        """Exchanges weight and average."""
        held = tf.identity(self.trained)
        self.trained.assign(self.average)
        self.average.assign(held)


class _RowAverages(tf.Module):
    """A table of which a step changes the rows of its gradient alone, its average, and `since`, the step k of each row.

    Args:
        table: the table.
        steps: how many were taken.
        kept: of the steps k and t, and of a type, how much the average of step k counts in that of step t.
    """

    def __init__(
        self, table: tf.Variable, steps: tf.Variable, kept: Callable[[tf.Tensor, tf.Tensor, tf.DType], tf.Tensor]
    ) -> None:
        super().__init__(name="row_averages")
        self.trained = table
        self._steps, self._kept = steps, kept
        self.average = tf.Variable(table, trainable=False, aggregation=SAME)
        self.since = tf.Variable(tf.zeros(table.shape[0], tf.int64), trainable=False, aggregation=SAME)

    def update(self, rows: tf.Tensor) -> None:
        """Brings rows up to date: of each, ``average = kept * average + (1 - kept) * weight``."""
        now = self._steps.read_value()
        weights = tf.gather(self.trained, rows)
        kept = self._kept(tf.gather(self.since, rows), now, weights.dtype)
        moved = weights + (tf.gather(self.average, rows) - weights) * kept[:, tf.newaxis]
        self.average.scatter_update(tf.IndexedSlices(moved, rows))
        self.since.scatter_update(tf.IndexedSlices(tf.fill(tf.shape(rows), now), rows))

    def update_all(self) -> None:
        """Brings all rows up to date, a block at a time."""
        for rows in self._blocks():
            self._update_block(rows)

    def swap(self) -> None:
        """Exchanges weights and averages, a block at a time."""
        for rows in self._blocks():
            self._swap_block(rows)

    def _blocks(self) -> Iterator[tf.Tensor]:
        total = self.trained.shape[0]
        for first in range(0, total, BLOCK_ROWS):
            yield tf.range(first, min(first + BLOCK_ROWS, total), dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
    def _update_block(self, rows: tf.Tensor) -> None:
        self.update(rows)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
    def _swap_block(self, rows: tf.Tensor) -> None:
        held = tf.gather(self.trained, rows)
        self.trained.scatter_update(tf.IndexedSlices(tf.gather(self.average, rows), rows))
        self.average.scatter_update(tf.IndexedSlices(held, rows))


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
        self._decay = decay
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=SAME)
        self.dense = [_Average(variable) for variable in dense]
        self.tables = [_RowAverages(table, self.steps, self._kept) for table in tables]

    def before_step(self, gradients: Iterable[tuple[Gradient, tf.Variable]]) -> None:
        """Brings the rows up to date that a step is about to change by these gradients."""
        rows = {
            variable.ref(): tf.unique(gradient.indices)[0] if isinstance(gradient, tf.IndexedSlices) else None
            for gradient, variable in gradients
            if gradient is not None
        }
        for table in self.tables:
            if (reference := table.trained.ref()) in rows:
                changed = rows[reference]
                table.update(tf.range(table.trained.shape[0]) if changed is None else changed)

    def after_step(self) -> None:
        """Counts a step, and averages what every step changes."""
        done = self.steps.assign_add(1)
        for weight in self.dense:
            weight.move(self._kept(done - 1, done, weight.trained.dtype))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averages instead of its weights."""
        for table in self.tables:
            table.update_all()
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for weight in self.dense:
            weight.swap()
        for table in self.tables:
            table.swap()

    def _kept(self, k: tf.Tensor, t: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """``d^(t-k) (1 - d^k) / (1 - d^t)``; 0 before the first step."""
        log = tf.math.log(tf.constant(self._decay, tf.float64))
        then, now = tf.cast(k, tf.float64) * log, tf.cast(t, tf.float64) * log
        kept = tf.math.divide_no_nan(tf.exp(now - then) * tf.math.expm1(then), tf.math.expm1(now))
        return tf.cast(kept, dtype)
