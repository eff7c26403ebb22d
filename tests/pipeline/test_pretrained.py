"""Pretrained vectors all the way: from a file through ingest, Transform and a training into an export that needs no file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf
import tensorflow_transform as tft

from features.layout import Layout
from features.logs.vectors import table_rows, vectors_file
from features.spec import Dataset
from models.arrow_stream import stream_tensors
from models.config import ModelConfig, TrainConfig
from models.ranker import Ranker, build_ranker
from models.training import TrainingData, fit
from pipeline.components.ingest import VECTORS, Folders, ingest
from pipeline.components.train import training_rates
from pipeline.components.transform import LAYOUT_FILE, VECTORS_DIRECTORY, read_coverage, told_coverage, transform
from pipeline.config import DataConfig
from serving.signatures import ServedRanker

IDS = [40, 10, 30]
VECTORS_OF = {40: [1.0, 2.0], 10: [3.0, 4.0], 30: [-5.0, 0.5]}
ROWS = 400


def dataset(**keys: Any) -> Dataset:
    picture = {"kind": "pretrained", "column": "item", "vectors": "vectors.parquet", "dimension": 2, **keys}
    return Dataset.model_validate(
        {
            "name": "pictures",
            "source": "log.csv",
            "columns": {"item": "int64", "age": "float32", "click": "int64"},
            "features": {"item": {"kind": "id", "vocabulary": {"min_count": 1}}, "picture": picture, "age": "numeric"},
            "tasks": {"click": "click"},
            "split": {"by": "random", "train": 0.6, "validation": 0.2, "test": 0.2},
        }
    )


class Run:
    """Everything up to the training's data."""

    def __init__(self, folder: Path, spec: Dataset) -> None:
        draw = np.random.default_rng(2)
        # 20 has no vector, and every tenth row no item.
        items = [str(draw.choice([10, 20, 30, 40])) if draw.random() > 0.1 else "" for _ in range(ROWS)]
        lines = [f"{item},{draw.random():.3f},{draw.integers(0, 2)}" for item in items]
        (folder / "log.csv").write_text("\n".join(["item,age,click", *lines]) + "\n")
        pq.write_table(pa.table({"id": IDS, "vector": list(map(VECTORS_OF.get, IDS))}), folder / "vectors.parquet")
        folders = Folders(*[str(folder / name / "1") for name in ("examples", "quarantine", "manifest", "tables")])
        self.manifest = ingest(
            spec, DataConfig(path=str(folder)), folders, beam.Pipeline(argv=["--runner=FnApiRunner"])
        )
        self.graph, self.spec, self.items = folder / "graph", spec, items
        shutil.copytree(Path(folders.tables) / VECTORS, self.graph / VECTORS_DIRECTORY)
        (folder / "vectors.parquet").unlink()
        splits = ("train", "validation", "test")
        files = {s: sorted(map(str, (Path(folders.examples) / f"Split-{s}").glob("*.parquet"))) for s in splits}
        outputs = {s: str(folder / "transformed" / f"Split-{s}") for s in splits}
        transform(spec, files, outputs, str(self.graph), beam.Pipeline(argv=["--runner=FnApiRunner"]))
        self.layout = Layout.model_validate_json((self.graph / LAYOUT_FILE).read_text())
        found = {s: sorted(map(str, Path(outputs[s]).glob("*.parquet"))) for s in splits}
        self.data = TrainingData(found["train"], found["validation"], self.layout, spec.tasks)
        self.config = TrainConfig.model_validate(
            {
                "batch_size": 64,
                "epochs": 2,
                "seed": 1,
                "dense_optimizer": {"kind": "adam", "learning_rate": 0.05},
                "embedding_optimizer": {"kind": "adagrad", "learning_rate": 0.5},
            }
        )

    def ranker(self, preset: str = "shared_bottom") -> Ranker:
        tf.keras.utils.set_random_seed(1)
        model = ModelConfig.model_validate({"preset": preset, "embedding_dim": 4})
        ranker = build_ranker(self.layout, self.spec.tasks, model, training_rates(self.data, self.config))
        file = vectors_file(str(self.graph / VECTORS_DIRECTORY), "picture")
        ranker.lookups.set_vectors({"picture": table_rows(file, self.spec.pretrained()["picture"].missing)})
        return ranker

    def batch(self) -> dict[str, tf.Tensor]:
        rows = self.data.rows("train", self.config)
        (batch,) = stream_tensors(rows.batches(rows.rows), rows.schema)
        return dict(batch)


def table_of(ranker: Ranker) -> npt.NDArray[np.float32]:
    rows: npt.NDArray[np.float32] = ranker.lookups.tables["picture"].table.numpy()
    return rows


def served(run: Run, ranker: Ranker, directory: Path) -> Any:
    module = ServedRanker(ranker, tft.TFTransformOutput(str(run.graph)), run.spec, run.layout)
    tf.saved_model.save(module, str(directory), signatures=module.signatures())
    shutil.move(run.graph, f"{run.graph}_moved")
    return tf.saved_model.load(str(directory)).signatures["raw"]


@pytest.fixture(name="run", scope="module")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("pretrained"), dataset())


def test_ids_without_a_vector_are_counted(run: Run) -> None:
    assert run.manifest["vectors"] == {"picture": {"rows": 3, "dimension": 2, "width": 2, "explained_variance": None}}
    coverage = read_coverage(str(run.graph))["picture"]
    assert set(coverage) == {"train", "validation", "test"}
    sums = {what: sum(of[what] for of in coverage.values()) for what in ("rows", "missing", "unknown")}
    unknown = run.items.count("20")
    assert sums == {"rows": ROWS, "missing": run.items.count(""), "unknown": unknown}
    assert told_coverage({"picture": coverage}) == f"picture: {unknown} of 400 rows have an id without a vector"


def test_the_vocabulary_is_the_table_in_the_files_order(run: Run) -> None:
    vocabulary = tft.TFTransformOutput(str(run.graph)).vocabulary_by_name("picture")
    assert vocabulary == [b"40", b"10", b"30"]
    table = run.layout.table("picture")
    assert (table.rows, table.dim, table.vectors) == (5, 2, "frozen")


def test_every_row_has_its_items_vector(run: Run) -> None:
    ranker, batch = run.ranker(), run.batch()
    vectors = ranker.embed(batch).vectors["picture"].numpy()
    tokens = [None, *tft.TFTransformOutput(str(run.graph)).vocabulary_by_name("item")]
    items = [int(tokens[i]) if 0 < i < len(tokens) else None for i in batch["item"].numpy()]
    assert {10, 20, 30, 40, None} == set(items)
    np.testing.assert_array_equal(vectors, np.float32([VECTORS_OF.get(item, [0, 0]) for item in items]))


@pytest.mark.parametrize("preset", ["shared_bottom", "stem"])
def test_frozen_vectors_have_no_gradient(run: Run, preset: str) -> None:
    ranker, batch = run.ranker(preset), run.batch()
    table = ranker.lookups.tables["picture"].table
    with tf.GradientTape() as tape:
        tape.watch(table)
        loss = ranker.compute_loss(batch, training=True)
    gradient = tape.gradient(loss, table, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    assert not np.asarray(tf.convert_to_tensor(gradient)).any()
    assert table.ref() not in {v.ref() for v in ranker.trainable_variables}
    groups = 1 if preset == "shared_bottom" else 2
    np.testing.assert_array_equal(table[1], [1.0, 2.0] * groups)


def test_frozen_vectors_stay_and_the_export_answers_without_files(run: Run, tmp_path: Path) -> None:
    ranker = run.ranker()
    before = table_of(ranker)
    fit(ranker, run.data, run.config, tmp_path / "checkpoints", tmp_path / "log")
    np.testing.assert_array_equal(table_of(ranker), before)
    moved = np.abs(ranker.lookups.tables["item"].table.numpy()).max()
    assert moved > 0.06  # drawn within 0.05
    items = [10, 20, 30, 40, -(2**63)]
    place = {item: 1 + row for row, item in enumerate(IDS)}
    of_item = [b"", *tft.TFTransformOutput(str(run.graph)).vocabulary_by_name("item")]
    index = [of_item.index(str(item).encode()) if item > 0 else 0 for item in items]
    age = tft.TFTransformOutput(str(run.graph)).transform_raw_features(
        {
            "item": tf.sparse.from_dense(tf.ones((5, 1), tf.int64)),
            "age": tf.sparse.from_dense(tf.fill((5, 1), 0.25)),
        }
    )["age"]
    expected = ranker(
        {
            "item": tf.constant(index, tf.int64),
            "picture": tf.constant([place[10], 4, place[30], place[40], 0], tf.int64),
            "age": age,
        }
    )["click"].numpy()
    answer = served(run, ranker, tmp_path / "model")
    found = answer(item=tf.constant(items, tf.int64), age=tf.fill([5], 0.25))["click"].numpy()
    shutil.move(f"{run.graph}_moved", run.graph)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(set(np.round(found, 5))) == 5


def test_trainable_vectors_begin_with_the_files_and_move(run: Run, tmp_path: Path) -> None:
    layout = run.layout
    run.layout = layout.model_copy(
        update={
            "tables": tuple(
                t.model_copy(update={"vectors": "trained"}) if t.name == "picture" else t for t in layout.tables
            )
        }
    )
    ranker = run.ranker()
    run.layout = layout
    before = table_of(ranker)
    np.testing.assert_array_equal(before[1:4], list(map(VECTORS_OF.get, IDS)))
    fit(ranker, run.data, run.config, tmp_path / "checkpoints", tmp_path / "log")
    assert (table_of(ranker) != before).any(axis=1).all()
