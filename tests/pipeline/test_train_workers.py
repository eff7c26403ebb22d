"""The train stage with two workers: the chief as TFX starts it, the other one by hand, both on loopback."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx import v1 as tfx

from features import progress
from features.raw_inputs import arrow_to_dense
from features.spec import ROW_ID
from models.config import ModelConfig, TrainConfig
from pipeline.components import train
from pipeline.components.train_workers import ARGUMENTS
from pipeline.components.transform import LAYOUT_FILE
from tests.models.test_strategies import free_addresses
from tests.serving.exports import DATASET, ROWS, Export

MODEL = ModelConfig.model_validate({"trunk": {"kind": "shared_bottom", "units": (8,)}})
COPIES = 40


def write_transformed(path: pathlib.Path, export: Export) -> None:
    columns = {}
    for name, values in export.transformed.items():
        kind = np.float32 if np.issubdtype(values.dtype, np.floating) else np.int64
        rows = np.concatenate([values] * COPIES).astype(kind)
        columns[name] = pa.array(list(rows)) if rows.ndim > 1 else pa.array(rows)
    count = len(rows)
    labels = {"label_click": np.arange(count) % 2, "label_like": np.arange(count) // 2 % 2}
    columns |= {name: pa.array(values.astype(np.float32)) for name, values in labels.items()}
    path.parent.mkdir()
    pq.write_table(pa.table(columns | {ROW_ID: pa.array(range(count))}), path)


def answers(directory: str) -> dict[str, Any]:
    inputs = {name: tf.constant(values) for name, values in arrow_to_dense(ROWS, DATASET).items()}
    return {k: v.numpy() for k, v in tf.saved_model.load(directory).signatures["raw"](**inputs).items()}


def arguments_of(strategy: str, data: pathlib.Path, graph: pathlib.Path, run: pathlib.Path) -> tfx.components.FnArgs:
    return tfx.components.FnArgs(
        train_files=[str(data / "train" / "*")],
        eval_files=[str(data / "validation" / "*")],
        transform_graph_path=str(graph),
        serving_model_dir=str(run / "model"),
        model_run_dir=str(run / "run"),
        custom_config={
            "dataset": DATASET.model_dump_json(),
            "model": MODEL.model_dump_json(),
            "train": TrainConfig.model_validate(
                {"batch_size": 37, "epochs": 2, "strategy": strategy}
            ).model_dump_json(),
            "checkpoints": str(run / "checkpoints"),
        },
    )


@pytest.mark.slow
def test_two_workers_export_the_model_of_one(
    export: Export, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = export.directory.parent / "graph"
    (graph / LAYOUT_FILE).write_text(export.layout.model_dump_json())
    for split in ("train", "validation"):
        write_transformed(tmp_path / split / "part.parquet", export)
    train.run_fn(arguments_of("none", tmp_path, graph, tmp_path / "one"))

    reported: list[dict[str, Any]] = []
    monkeypatch.setattr(progress, "report", lambda stage, **numbers: reported.append({"stage": stage, **numbers}))
    addresses = free_addresses(2)
    chief, other = (
        json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}) for index in (0, 1)
    )
    monkeypatch.setenv("TF_CONFIG", chief)
    worker = subprocess.Popen(
        [sys.executable, "-m", "pipeline.components.train_workers", str(tmp_path / "two" / "checkpoints" / ARGUMENTS)],
        env=os.environ | {"TF_CONFIG": other},
        cwd=pathlib.Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )
    train.run_fn(arguments_of("multi_worker_mirrored", tmp_path, graph, tmp_path / "two"))
    _, errors = worker.communicate(timeout=300)
    assert worker.returncode == 0, errors
    assert {(report["stage"], report["epoch"]) for report in reported} == {("train", 1), ("train", 2)}
    assert not list((tmp_path / "two" / "checkpoints").iterdir())
    found, expected = (answers(str(tmp_path / name / "model")) for name in ("two", "one"))
    assert set(found) == {"click", "like"}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)
        assert len(set(values.round(6))) > 1
