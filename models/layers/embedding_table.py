"""One table of embedding vectors, looked up by single rows or by padded lists."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

Pooling = Literal["mean", "sum", "sqrtn"]


class EmbeddingTable(tf.keras.layers.Layer):
    """Rows of a table of which row 0 stands for *missing or padding*.

    A single index i gives ``E[i]``; a missing value has a learned vector of its own, ``E[0]``. A padded list of indices
    is pooled over its entries that are not 0: ``s = sum_j [i_j > 0] E[i_j]``, n of them, gives ``s`` (sum), ``s / n`` (mean) or
    ``s / sqrt(n)`` (sqrtn); an empty list gives zeros. The gradient is sparse: it holds the rows that were looked up.

    Args:
        rows: rows of the table.
        dim: width of a row.
        frozen: rows are given (assign `table`) and have no gradient.

    Shapes:
        input: int64 (batch,) or (batch, length).
        output: (batch, dim), or (batch, length, dim) for lists that are not pooled.

    Example:
        >>> EmbeddingTable(rows=10, dim=4)(tf.constant([[3, 5, 0]]), pooling="mean").shape
        TensorShape([1, 4])
    """

    def __init__(self, rows: int, dim: int, frozen: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frozen = frozen
        self.rows = rows
        self.dim = dim

    def build(self, input_shape: Any) -> None:
        """Creates the table, uniform in [-0.05, 0.05] as Keras' Embedding."""
        self.table = self.add_weight(
            name="table",
            shape=(self.rows, self.dim),
            initializer=tf.keras.initializers.RandomUniform(-0.05, 0.05),
            trainable=not self.frozen,
            experimental_autocast=False,  # a cast before the lookup would copy the whole table
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, pooling: Pooling | None = "mean") -> tf.Tensor:
        """The row of each index; of lists the pooled rows, or all where `pooling` is None."""
        if inputs.shape.rank == 1 or pooling is None:
            return tf.cast(self._rows(inputs), self.compute_dtype)
        present = inputs > 0
        return tf.cast(self._sums(inputs, present) / _divisor(present, pooling)[:, None], self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "rows": self.rows, "dim": self.dim, "frozen": self.frozen}

    def _rows(self, indices: tf.Tensor) -> tf.Tensor:
        rows = tf.nn.embedding_lookup(self.table, indices)
        return tf.stop_gradient(rows) if self.frozen else rows

    def _sums(self, inputs: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """float32 (batch, dim). Each distinct row is fetched once and padding never; (batch, length, dim) is never made."""
        entries = tf.where(present)
        distinct, places = tf.unique(tf.gather_nd(inputs, entries))
        rows = self._rows(distinct)
        return tf.sparse.segment_sum(rows, places, entries[:, 0], num_segments=tf.shape(inputs)[0])


def pool(vectors: tf.Tensor, present: tf.Tensor, pooling: Pooling) -> tf.Tensor:
    """(batch, ..., dim) of `vectors` (batch, length, ..., dim): those that are present, bool (batch, length), as one."""
    wider = (..., *[tf.newaxis] * (vectors.shape.rank - 2))
    weights = tf.cast(present, tf.float32)[wider]  # bfloat16 counts end at 256
    total = tf.reduce_sum(weights * tf.cast(vectors, tf.float32), axis=1)
    return tf.cast(total / _divisor(present, pooling)[wider], vectors.dtype)


def _divisor(present: tf.Tensor, pooling: Pooling) -> tf.Tensor:
    """float32 (batch,): what the sum of the entries that are present is divided by."""
    count = tf.maximum(tf.reduce_sum(tf.cast(present, tf.float32), axis=1), 1)
    return {"sum": tf.ones_like(count), "mean": count, "sqrtn": tf.sqrt(count)}[pooling]
