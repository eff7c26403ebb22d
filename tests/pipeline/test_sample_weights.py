"""Sample weights all the way: a column of the log, ingested, transformed, and multiplied into the loss."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest

import pipeline  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
from features.layout import Layout
from features.spec import Dataset
from models.arrow_stream import stream_tensors
from models.config import ModelConfig, TrainConfig
from models.ranker import build_ranker
from models.training import TrainingData
from pipeline.components.ingest import Folders, ingest
from pipeline.components.train import training_rates
from pipeline.components.transform import LAYOUT_FILE, transform
from pipeline.config import Budget, DataConfig

DATASET = Dataset.model_validate(
    {
        "name": "weighted",
        "source": "log.csv",
        "columns": {"user": "int64", "trust": "float32", "click": "int64"},
        "features": {"user": {"kind": "id", "vocabulary": {"min_count": 1}}},
        "tasks": {"click": {"label": "click", "sample_weight": "trust"}},
        "split": {"by": "random", "train": 0.8, "validation": 0.1, "test": 0.1},
    }
)


def test_a_rows_weight_in_the_log_is_its_weight_in_the_loss(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    rows = [f"{draw.integers(1, 9)},{draw.integers(0, 5) / 2},{draw.integers(0, 2)}" for _ in range(300)]
    (tmp_path / "log.csv").write_text("\n".join(["user,trust,click", *rows, "3,-1,1", "3,,0"]) + "\n")
    folders = Folders(*[str(tmp_path / name / "1") for name in ("examples", "quarantine", "manifest", "tables")])
    data_config = DataConfig(path=str(tmp_path), budget=Budget(max_share=0.5))
    manifest = ingest(DATASET, data_config, folders, beam.Pipeline(argv=["--runner=FnApiRunner"]))
    assert [(r["reason"], r["column"], r["rows"]) for r in manifest["quarantined"]["reasons"]] == [
        ("bad_weight", "trust", 2)
    ]
    splits = ("train", "validation")
    files = {s: sorted(map(str, (Path(folders.examples) / f"Split-{s}").glob("*.parquet"))) for s in splits}
    outputs = {s: str(tmp_path / "transformed" / s) for s in splits}
    graph = str(tmp_path / "graph")
    transform(DATASET, files, outputs, graph, beam.Pipeline(argv=["--runner=FnApiRunner"]))

    layout = Layout.model_validate_json((tmp_path / "graph" / LAYOUT_FILE).read_text())
    found = {s: sorted(map(str, Path(outputs[s]).glob("*.parquet"))) for s in splits}
    data = TrainingData(found["train"], found["validation"], layout, DATASET.tasks)
    config = TrainConfig(shuffle_rows=0)
    train = data.rows("train", config)
    (batch,) = stream_tensors(train.batches(train.rows), train.schema)
    weights, labels = batch["weight_click"].numpy(), batch["label_click"].numpy()
    assert set(weights) == {0.0, 0.5, 1.0, 1.5, 2.0}
    ranker = build_ranker(
        layout, DATASET.tasks, ModelConfig.model_validate("shared_bottom"), training_rates(data, config)
    )
    p = ranker(batch)["click"].numpy().astype(np.float64)
    losses = -(labels * np.log(p) + (1 - labels) * np.log(1 - p))
    assert float(ranker.compute_loss(batch)) == pytest.approx((weights * losses).sum() / weights.sum(), rel=1e-5)
