"""Down-sampling all the way: a simulated log, ingested, transformed and trained on; predictions judged on whole validation days."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest

import pipeline  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf

from features.layout import Layout
from features.sampling import correction_of
from features.spec import ROW_WEIGHT, Dataset
from models.arrow_stream import stream_tensors
from models.config import ModelConfig, TrainConfig
from models.ranker import Ranker, build_ranker
from models.training import TrainingData
from pipeline.components.ingest import Folders, ingest
from pipeline.components.train import training_rates
from pipeline.components.transform import LAYOUT_FILE, transform
from pipeline.config import DataConfig

ROWS = 60_000
KEEP = 0.1
CLICK = np.array([0.02, 0.05, 0.1, 0.2])
"""P(click | tab)."""
LIKE = np.array([0.4, 0.3, 0.5, 0.2])
"""P(like | click, tab)."""


def dataset(correct: str) -> Dataset:
    return Dataset.model_validate(
        {
            "name": "sampled",
            "source": "log.csv",
            "columns": {"tab": "int64", "click": "int64", "like": "int64"},
            "features": {"tab": "categorical"},
            "tasks": {"click": "click", "like": {"label": "like", "parent": "click"}},
            "split": {"by": "random", "train": 0.5, "validation": 0.4, "test": 0.1},
            "downsample": {"keep": KEEP, "unless": ["click"], "correct": correct},
        }
    )


def write_log(folder: Path) -> None:
    draw = np.random.default_rng(7)
    tab = draw.integers(0, 4, ROWS)
    click = draw.random(ROWS) < CLICK[tab]
    like = click & (draw.random(ROWS) < LIKE[tab])
    lines = [f"{t},{int(c)},{int(k)}" for t, c, k in zip(tab, click, like, strict=True)]
    (folder / "log.csv").write_text("\n".join(["tab,click,like", *lines]) + "\n")


def whole(data: TrainingData, split: str, config: TrainConfig) -> dict[str, tf.Tensor]:
    rows = data.rows(split, config)
    (batch,) = stream_tensors(rows.batches(rows.rows), rows.schema)
    return dict(batch)


def converge(ranker: Ranker, batch: dict[str, tf.Tensor]) -> None:
    """The loss's minimum over all rows at once: no noise of batches, and no choice of an epoch by its order of rows."""
    optimizer = tf.keras.optimizers.Adam(0.01)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = ranker.compute_loss(batch, training=True)
        variables = ranker.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    for _ in range(200):
        step()


def trained(tmp_path: Path, spec: Dataset, preset: str) -> tuple[dict[str, Any], dict[str, float], dict[str, float]]:
    """The manifest, the rates that training starts from, and sum(p) / sum(y) of each task on the validation split."""
    folders = Folders(*[str(tmp_path / name / "1") for name in ("examples", "quarantine", "manifest", "tables")])
    manifest = ingest(spec, DataConfig(path=str(tmp_path)), folders, beam.Pipeline(argv=["--runner=FnApiRunner"]))
    files = {
        s: sorted(map(str, (Path(folders.examples) / f"Split-{s}").glob("*.parquet"))) for s in ("train", "validation")
    }
    outputs = {s: str(tmp_path / "transformed" / s) for s in files}
    transform(spec, files, outputs, str(tmp_path / "graph"), beam.Pipeline(argv=["--runner=FnApiRunner"]))
    layout = Layout.model_validate_json((tmp_path / "graph" / LAYOUT_FILE).read_text())
    found = {s: sorted(map(str, Path(outputs[s]).glob("*.parquet"))) for s in files}
    data = TrainingData(found["train"], found["validation"], layout, spec.tasks)
    config = TrainConfig(seed=3)
    model = ModelConfig.model_validate({"preset": preset, "embedding_dim": 4})
    tf.keras.utils.set_random_seed(3)
    rates = training_rates(data, config)
    ranker = build_ranker(layout, spec.tasks, model, rates, correction=correction_of(spec.downsample, spec.tasks))
    converge(ranker, whole(data, "train", config))
    batch = whole(data, "validation", config)
    predictions = ranker(batch)
    if spec.weighs_rows:
        assert set(batch[ROW_WEIGHT].numpy()) == {1.0}
    ratios = {
        task: float(np.sum(predictions[task], dtype=np.float64) / np.sum(batch[f"label_{task}"])) for task in spec.tasks
    }
    return manifest, rates, ratios


@pytest.mark.slow
@pytest.mark.parametrize(
    ("correct", "preset"),
    [
        ("weights", "shared_bottom"),
        ("probability", "shared_bottom"),
        ("probability", "esmm"),
        ("none", "shared_bottom"),
    ],
)
def test_predictions_are_calibrated_on_real_traffic_with_either_correction(
    tmp_path: Path, correct: str, preset: str
) -> None:
    write_log(tmp_path)
    manifest, rates, ratios = trained(tmp_path, dataset(correct), preset)
    out = manifest["rows_out"]
    assert manifest["rows_read"] == ROWS == sum(out.values()) + manifest["sampled_out"]
    assert out["train"] < 0.25 * ROWS
    click, like = CLICK.mean(), (CLICK * LIKE).mean()
    kept = click + KEEP * (1 - click)
    expected = (click, like) if correct == "weights" else (click / kept, like / kept)
    assert (rates["click"], rates["like"]) == pytest.approx(expected, rel=0.06)
    if correct == "none":
        # Without correction every probability is that of kept rows: too high by 1 / P(kept | x), 4 to 8 times here.
        assert min(ratios.values()) > 3
    else:
        # 24,000 rows, of which 2,200 are clicks and 690 likes: their shares vary by 2 and 4 %, the training's by as much.
        assert ratios["click"] == pytest.approx(1, abs=0.08)
        assert ratios["like"] == pytest.approx(1, abs=0.16)
