"""A tiny export for tests: TFT's own transform of a few rows, a small ranker on it, and what the ranker predicts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import tf_keras
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from features.layout import Input, Layout
from features.preprocessing import make_preprocessing_fn, transformed_layout
from features.schema import feature_spec
from features.spec import ROW_ID, Dataset
from pipeline.components.vocabularies import WriteVocabularies
from serving.export import Extras, export_ranker

Predictions = dict[str, npt.NDArray[np.float32]]

DATASET = Dataset.model_validate(
    {
        "name": "tiny",
        "source": {"files": "log.csv"},
        "columns": {
            "user_id": "int64",
            "home-town": "string",  # no valid Python name: signatures must keep it all the same
            "tags": "list<string>",
            "watched": "list<int64>",
            "age": "float32",
            "visits": "int64",
            "clicked": "int64",
            "liked": "int64",
        },
        "features": {
            "user_id": {"kind": "id", "vocabulary": {"min_count": 1, "oov_buckets": 2}},
            "town": {"kind": "categorical", "column": "home-town"},
            "tags": {"kind": "bag", "max_length": 2},
            "watched": {"kind": "sequence", "max_length": 3},
            "age": {"kind": "numeric", "missing_indicator": True},
            "visits": {"kind": "bucketized", "boundaries": [1, 10]},
        },
        "tasks": {"click": {"label": "clicked"}, "like": {"label": "liked"}},
        "split": {"by": "random"},
    }
)

ROWS = pa.table(
    {
        ROW_ID: pa.array([11, 12, 13, 14, 15, 16], pa.int64()),
        "user_id": pa.array([1, 2, 1, None, 99, -(2**62)], pa.int64()),
        "home-town": pa.array([b"Oslo", b"Bern", None, b"Oslo", b"\xc3\x85lesund", b"Bern"], pa.binary()),
        "tags": pa.array([[b"a", b"b", b"c"], [], None, [b"c"], [b"zz", b"a"], [b"b"]], pa.list_(pa.binary())),
        "watched": pa.array([[5], [5, 6, 7, 8], None, [], [6, 6], [1234]], pa.list_(pa.int64())),
        "age": pa.array([31.5, None, 20.0, 64.25, -1.0, 0.0], pa.float32()),
        "visits": pa.array([0, 3, 10, None, 1, 100], pa.int64()),
    }
)
"""Every kind of value: present, missing, empty, too long, out of the vocabulary."""


class TinyRanker(tf_keras.Model):
    """One dense layer over pooled embeddings and numbers, with the call convention of the real ranker."""

    def __init__(self, layout: Layout, seed: int = 0) -> None:
        super().__init__()
        self.layout = layout
        self.embeddings = {
            table.name: tf_keras.layers.Embedding(table.rows, 4, embeddings_initializer=_normal(seed + place))
            for place, table in enumerate(layout.tables)
        }
        self.logits = tf_keras.layers.Dense(2, kernel_initializer=_normal(seed + 99))

    def call(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        logits = self.logits(tf.concat([self._width(part, inputs[part.name]) for part in self.layout.inputs], axis=1))
        click, like = tf.unstack(tf.sigmoid(logits), axis=1)
        return {"click": click, "like": like, "click_and_up": click / 2}

    def _width(self, part: Input, values: tf.Tensor) -> tf.Tensor:
        if part.kind == "number":
            return values[:, tf.newaxis]
        embedded = self.embeddings[part.table](values)
        return embedded if part.kind == "index" else tf.reduce_sum(embedded, axis=1)


def _normal(seed: int) -> tf_keras.initializers.Initializer:
    return tf_keras.initializers.RandomNormal(stddev=1.0, seed=seed)


@dataclasses.dataclass(frozen=True)
class Export:
    """An exported model and all that it was made of."""

    directory: Path
    layout: Layout
    predictions: Predictions
    """By the in-memory ranker, on rows that TFT's Beam pipeline transformed."""
    transformed: dict[str, npt.NDArray[np.generic]]


def make_export(folder: Path) -> Export:
    """Analyses, transforms, builds a ranker and exports it below `folder`."""
    transformed, tft_output = _transform(folder)
    (folder / "graph" / "feedrank" / "tables").mkdir(parents=True)
    pq.write_table(pa.table({"user_id": [1, 2]}), folder / "graph" / "feedrank" / "tables" / "user.parquet")
    return _export(transformed, tft_output, folder / "model", seed=0)


def make_other_export(export: Export, directory: Path, seed: int = 1000) -> Export:
    """A ranker with other weights behind the same transform graph."""
    tft_output = tft.TFTransformOutput(str(export.directory.parent / "graph"))
    return _export(export.transformed, tft_output, directory, seed)


def _export(
    transformed: dict[str, npt.NDArray[np.generic]], tft_output: tft.TFTransformOutput, directory: Path, seed: int
) -> Export:
    layout = transformed_layout(DATASET, tft_output)
    ranker = TinyRanker(layout, seed)
    outputs = ranker({name: tf.constant(values) for name, values in transformed.items()})
    predictions = {name: values.numpy() for name, values in outputs.items()}
    extras = Extras(
        model_json='{"preset": "tiny"}',
        predictions=pa.table({ROW_ID: ROWS[ROW_ID]} | predictions),
        gates={},
        training={"epochs": []},
    )
    export_ranker(ranker, tft_output, DATASET, layout, str(directory), extras)
    return Export(directory, layout, predictions, transformed)


def _transform(folder: Path) -> tuple[dict[str, npt.NDArray[np.generic]], tft.TFTransformOutput]:
    """The rows as TFT's own Beam pipeline transforms them, and its output."""
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(feature_spec(DATASET)))
    rows = [{name: _values(row[name]) for name in DATASET.feature_columns()} for row in ROWS.to_pylist()]
    with tft_beam.Context(temp_dir=str(folder / "temp"), use_deep_copy_optimization=False):
        (data, _), transform_fn = (rows, metadata) | tft_beam.AnalyzeAndTransformDataset(
            make_preprocessing_fn(DATASET, WriteVocabularies)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "graph"))
    return {name: np.stack([row[name] for row in data]) for name in data[0]}, tft.TFTransformOutput(
        str(folder / "graph")
    )


def _values(value: object) -> list[object]:
    return [] if value is None else value if isinstance(value, list) else [value]
