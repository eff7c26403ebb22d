"""Rankers that do more with lists than pool them, exported: raw rows answer as the ranker in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from features.preprocessing import transformed_layout
from features.raw_inputs import arrow_to_dense
from features.spec import ROW_ID, Dataset
from models.config import ModelConfig
from models.ranker import build_ranker
from serving.export import Extras, export_ranker
from tests.serving.exports import DATASET, ROWS, Export

ATTENTION = {"kind": "sequence", "max_length": 3, "pooling": "din_attention", "target": "user_id"}


@pytest.mark.parametrize(
    ("watched", "model"),
    [
        (ATTENTION, {"preset": "shared_bottom", "interactions": "dot"}),
        (ATTENTION, {"preset": "mose", "trunk": {"units": [8]}}),
    ],
)
def test_raw_rows_answer_as_in_memory(export: Export, tmp_path: Path, watched: dict[str, Any], model: dict[str, Any]):
    spec = DATASET.model_dump(mode="json")
    dataset = Dataset.model_validate(spec | {"features": spec["features"] | {"watched": watched}})
    tft_output = tft.TFTransformOutput(str(export.directory.parent / "graph"))
    layout, config = transformed_layout(dataset, tft_output), ModelConfig.model_validate(model)
    tf.keras.utils.set_random_seed(1)
    ranker = build_ranker(layout, dataset.tasks, config, {"click": 0.3, "like": 0.1})
    for variable in ranker.trainable_variables:  # as drawn, rows would hardly differ
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.2))
    outputs = ranker({name: tf.constant(values) for name, values in export.transformed.items()})
    expected = {name: values.numpy() for name, values in outputs.items()}
    predictions = pa.table({ROW_ID: ROWS[ROW_ID]} | expected)
    extras = Extras(model_json=config.model_dump_json(), predictions=predictions, gates={}, training={"epochs": []})
    export_ranker(ranker, tft_output, dataset, layout, str(tmp_path / "model"), extras)

    loaded = tf.saved_model.load(str(tmp_path / "model"))
    inputs = {name: tf.constant(values) for name, values in arrow_to_dense(ROWS, dataset).items()}
    answers = loaded.signatures["raw"](**inputs)
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, atol=1e-5)
        assert len(np.unique(np.round(values, 4))) > 1
