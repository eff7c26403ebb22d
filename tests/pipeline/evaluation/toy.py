"""A dataset, rows and an exported model so small that every prediction is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from features.columns import to_lists
from features.layout import Layout
from features.spec import ROW_ID, Dataset
from serving.bundle import Extras, write_bundle


def dataset(**changes) -> Dataset:
    spec = {
        "name": "toy",
        "source": {"files": "log.csv"},
        "columns": {
            "user": "int64",
            "item": "string",
            "score": "float32",
            "tab": "string",
            "clicked": "int64",
            "liked": "int64",
            "exposed": "int64",
            "seconds": "float32",
        },
        "group": "user",
        "item": "item",
        "features": {"score": {"kind": "numeric"}},
        "tasks": {
            "click": {"label": "clicked"},
            "like": {"label": "liked", "mask": "exposed"},
            "dwell": {"label": "seconds", "kind": "regression"},
        },
        "split": {"by": "random"},
    }
    return Dataset.model_validate(spec | changes)


SCORES = [0.9, 0.8, 0.2, 0.6, 0.4, 0.1]


def rows(copies: int = 1) -> pa.RecordBatch:
    """Six rows: user 1 has items a, b, c; user 2 has d, e; one row has no user. `copies` repeats them."""

    def column(values, kind):
        return pa.array(values * copies, kind)

    return pa.RecordBatch.from_pydict(
        {
            "user": column([1, 1, 1, 2, 2, None], pa.int64()),
            "item": column(["a", "b", "c", "d", "e", "f"], pa.string()),
            "score": column(SCORES, pa.float32()),
            "tab": column(["x", "x", "x", "y", None, "x"], pa.string()),
            "label_click": column([1, 0, 0, 0, 1, 1], pa.float32()),
            "label_like": column([1, 0, 0, 1, 0, 0], pa.float32()),
            "mask_like": column([1, 1, 1, 0, 1, 1], pa.float32()),
            "label_dwell": column([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], pa.float32()),
            ROW_ID: pa.array(range(6 * copies), pa.int64()),
        }
    )


def write_split(folder: Path, batch: pa.RecordBatch) -> Path:
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_batches([to_lists(batch)]), folder / "part-0.parquet")
    return folder


WILD, FAILING = 50.0, -50.0


class _Toy(tf.Module):
    """click = score ** power (or NaN), like = click / 2, dwell = score, up = score."""

    def __init__(self, power: float, column: str) -> None:
        super().__init__()
        self.power = tf.Variable(power)
        self._column = column

    def signature(self) -> tf.types.experimental.ConcreteFunction:
        def raw(inputs):
            score = inputs[self._column]
            click = tf.where(self.power > 99.0, score * np.nan, tf.abs(score) ** self.power)
            click = tf.where(self.power < 0.0, 1 - score, click)
            click = tf.where(self.power == WILD, 2 + score, click)
            with tf.control_dependencies([tf.debugging.assert_none_equal(self.power, FAILING)]):
                click = tf.identity(click)
            return {"click": click, "like": click / 2, "dwell": score, "up": tf.identity(score)}

        spec = {self._column: tf.TensorSpec([None], tf.float32, name=self._column)}
        return tf.function(raw).get_concrete_function(spec)


def export(folder: Path, power: float = 1.0, spec: Dataset | None = None) -> Path:
    """A SavedModel below `folder` as feedrank exports it. A power below 0 predicts clicks upside down, above 99 NaN,
    `WILD` numbers above 1; `FAILING` fails."""
    spec = spec or dataset()
    model = _Toy(power, spec.feature_columns()[0])
    tf.saved_model.save(model, str(folder), signatures={"raw": model.signature()})
    outputs = {name: pa.array([0.5], pa.float32()) for name in ("click", "like", "dwell", "up")}
    extras = Extras("{}", pa.table({ROW_ID: pa.array([1], pa.int64())} | outputs), {}, {"epochs": []})
    write_bundle(folder, spec, Layout(inputs=(), tables=()), extras, [])
    return folder
