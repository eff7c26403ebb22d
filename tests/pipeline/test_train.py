from __future__ import annotations

import ast
import inspect
import json
import math
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf
from tfx import v1 as tfx

from features.errors import DataError
from features.spec import ROW_ID, Dataset, Task
from models.arrow_stream import stream_tensors
from models.config import ModelConfig, TrainConfig
from models.heads.scores import score_of, start_of
from models.losses import weighted_mean
from models.objectives import row_losses
from models.ranker import build_ranker
from models.training import Curves, TrainingData, WarmStart
from pipeline.components import train
from pipeline.components.transform import LAYOUT_FILE
from pipeline.config import WITNESS_ROWS
from serving.bundle import Extras
from tests.models.transformed import LAYOUT, TASKS, transformed_table, write_split

CONFIG = TrainConfig.model_validate({"batch_size": 256, "epochs": 1})
MODEL = ModelConfig.model_validate({"trunk": {"kind": "ple", "units": (8,), "layers": 1, "shared_experts": 2}})
DATASET = Dataset.model_validate(
    {
        "name": "small",
        "source": {"files": "*.csv"},
        "columns": {
            "user": "int64", "item": "int64", "history": "list<int64>", "age": "float32",
            "is_click": "int64", "is_buy": "int64", "saw_price": "int64",
        },
        "features": {
            "user": {"kind": "id"},
            "item": {"kind": "id"},
            "history": {"kind": "sequence", "max_length": 3, "vocabulary_of": "item"},
            "age": {"kind": "numeric"},
        },
        "tasks": {name: task.model_dump() for name, task in TASKS.items()},
        "split": {"by": "random"},
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    directory = tmp_path_factory.mktemp("transformed")
    train_files = write_split(directory / "Split-train", 1_000, seed=1)
    return TrainingData(train_files, write_split(directory / "Split-validation", 1_500, seed=2), LAYOUT, TASKS)


def test_rates_are_the_shares_of_positives_that_the_mask_lets_in(data: TrainingData) -> None:
    table = transformed_table(1_000, seed=1).to_pandas()
    seen = table[table.mask_buy == 1]
    expected = {"click": table.label_click.mean(), "buy": seen.label_buy.mean()}
    assert train.training_rates(data, CONFIG) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", (1 * 3 + 2 * 7 + 1 * 0) / 4),
        ("huber", (1 * 3 + 2 * 7 + 1 * 0) / 4),
        ({"kind": "mse", "transform": "log1p"}, math.exp((1 * math.log(4) + 2 * math.log(8) + 1 * 0) / 4) - 1),
        ("weighted_logistic", (1 * 3 + 2 * 7) / 1),
    ],
)
def test_a_regression_starts_where_its_loss_is_least(tmp_path: pathlib.Path, loss: Any, expected: float) -> None:
    """By the mask the row of 99 does not count, by its weight that of -5, which not every loss could take."""
    files = write_split(tmp_path, 10)
    task = Task(label="seconds", kind="regression", loss=loss, mask="seen", sample_weight="trust")
    columns = {"label_watch": [3, 7, 0, 99, -5], "weight_watch": [1, 2, 1, 1, 0], "mask_watch": [1, 1, 1, 0, 1]}
    for path in files:
        table = pq.read_table(path)
        for name, values in columns.items():
            table = table.append_column(name, pa.array(values, pa.float32()))
        pq.write_table(table, path)
    rate = train.training_rates(TrainingData(files, files, LAYOUT, {"watch": task}), CONFIG)["watch"]
    assert rate == pytest.approx(expected, rel=1e-6)

    output = tf.Variable([start_of(task, rate)] * 5)
    labels, weights, mask = (tf.constant(values, tf.float32) for values in columns.values())
    with tf.GradientTape() as tape:
        rows = row_losses(task.objective, tf.maximum(labels, 0), score_of(task, output))
        total = weighted_mean(rows, weights * mask)
    slope = float(tf.reduce_sum(tape.gradient(total, output)))
    assert slope == pytest.approx(0, abs=1e-5) or loss == "huber"


def test_a_mask_without_rows_is_named(tmp_path: pathlib.Path) -> None:
    files = write_split(tmp_path, 20)
    for path in files:
        table = pq.read_table(path)
        index = table.column_names.index("mask_buy")
        pq.write_table(table.set_column(index, "mask_buy", pa.array(np.zeros(len(table), np.float32))), path)
    with pytest.raises(DataError, match="task 'buy': its mask 'saw_price' is 0 in all 20 training rows"):
        train.training_rates(TrainingData(files, files, LAYOUT, TASKS), CONFIG)


@pytest.mark.parametrize(
    ("loss", "labels", "said"),
    [
        (
            {"kind": "huber", "transform": "log1p"},
            [0, -2.5, 3, -1],
            "has loss huber of log1p, .* 10 of 20 .* such as -2.5",
        ),
        ("weighted_logistic", [0, -2.5, 3, -1], "has loss weighted_logistic, which takes labels >= 0; 10 of 20"),
        ("weighted_logistic", [1, 2, 3, 4], ".* needs both; 20 of 20 training rows are positives"),
    ],
)
def test_labels_that_a_loss_cannot_take_are_named(
    tmp_path: pathlib.Path, loss: Any, labels: list[float], said: str
) -> None:
    files = write_split(tmp_path, 20)
    tasks = {"watch": Task(label="seconds", kind="regression", loss=loss)}
    for path in files:
        values = (labels * 3)[:10]
        pq.write_table(pq.read_table(path).append_column("label_watch", pa.array(values, pa.float32())), path)
    with pytest.raises(DataError, match=rf"task 'watch' \(label 'seconds'\) {said}"):
        train.training_rates(TrainingData(files, files, LAYOUT, tasks), CONFIG)


def test_weights_that_are_all_0_are_named(tmp_path: pathlib.Path) -> None:
    files = write_split(tmp_path, 20)
    tasks = {"click": Task(label="is_click", sample_weight="trust")}
    for path in files:
        pq.write_table(pq.read_table(path).append_column("weight_click", pa.array(np.zeros(10, np.float32))), path)
    with pytest.raises(DataError, match="task 'click': its sample_weight 'trust' is 0 in all 20 training rows"):
        train.training_rates(TrainingData(files, files, LAYOUT, tasks), CONFIG)


def test_the_training_s_name_changes_with_model_config_and_data(data: TrainingData) -> None:
    rates = {"click": 0.5, "buy": 0.3}
    ranker = build_ranker(LAYOUT, TASKS, MODEL, rates)
    other_model = build_ranker(LAYOUT, TASKS, ModelConfig(), rates)
    other_data = TrainingData(data.validation, data.train, LAYOUT, TASKS)
    names = {
        train.training_name(ranker, data, CONFIG),
        train.training_name(build_ranker(LAYOUT, TASKS, MODEL, rates), data, CONFIG),
        train.training_name(other_model, data, CONFIG),
        train.training_name(ranker, data, CONFIG.model_copy(update={"seed": 2})),
    }
    assert len(names) == 3
    assert train.training_name(ranker, other_data, CONFIG) not in names
    started = [WarmStart(model="m", fingerprint=mark, tables={}, copied=1, fresh={}) for mark in ("a", "b")]
    assert len({train.training_name(ranker, data, CONFIG, start) for start in (None, *started)} | names) == 5


def test_witnesses_are_the_first_validation_rows_as_the_model_sees_them(data: TrainingData) -> None:
    ranker = build_ranker(LAYOUT, TASKS, MODEL, {"click": 0.5, "buy": 0.3})
    witnesses = train.witness_predictions(ranker, data, CONFIG)
    table = transformed_table(1_500, seed=2)[:WITNESS_ROWS]
    assert witnesses.num_rows == WITNESS_ROWS
    assert witnesses[ROW_ID] == table[ROW_ID]
    kinds = {"index": tf.int64, "indices": tf.int64, "number": tf.float32}
    expected = ranker({i.name: tf.constant(table[i.name].to_pylist(), kinds[i.kind]) for i in LAYOUT.inputs})
    for task in TASKS:
        np.testing.assert_allclose(witnesses[task], expected[task], atol=1e-6)


def test_mean_gates_are_shares_of_named_experts(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = build_ranker(LAYOUT, TASKS, MODEL, {"click": 0.5, "buy": 0.3})
    layers = train.mean_gates(ranker, data, CONFIG)["layers"]
    assert [layer["task"] for layer in layers] == ["click", "buy"]
    for layer in layers:
        assert len(layer["weights"]) == len(layer["experts"]) == 4  # 2 shared, 2 of the task
        assert sum(layer["weights"]) == pytest.approx(1, abs=1e-5)
    rows = data.rows("validation", CONFIG)
    (everything,) = stream_tensors(rows.batches(rows.rows), rows.schema)
    monkeypatch.setattr(train, "BATCH", 400)  # the last of 4 batches is smaller
    by_batches = train.mean_gates(ranker, data, CONFIG)["layers"]
    for layer, (gate, weights) in zip(by_batches, ranker.gate_weights(everything).items(), strict=True):
        assert gate == f"{layer['layer']}/{layer['task']}"
        np.testing.assert_allclose(layer["weights"], weights.numpy().mean(axis=0), atol=1e-6)
    plain = build_ranker(LAYOUT, TASKS, ModelConfig.model_validate("shared_bottom"), {"click": 0.5, "buy": 0.3})
    assert train.mean_gates(plain, data, CONFIG) == {}


def test_the_adapter_trains_and_exports(
    data: TrainingData, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = tmp_path / "graph" / LAYOUT_FILE
    layout.parent.mkdir(parents=True)
    layout.write_text(LAYOUT.model_dump_json())
    exported: list[Any] = []

    def export(*arguments: Any) -> None:
        assert list((tmp_path / "checkpoints").glob("*/step-*")), "checkpoints are kept until the export is written"
        exported.extend(arguments)

    monkeypatch.setattr(train, "export_ranker", export)
    split = {name: str(pathlib.Path(getattr(data, name)[0]).parent / "*") for name in ("train", "validation")}
    train.run_fn(
        tfx.components.FnArgs(
            train_files=[split["train"]],
            eval_files=[split["validation"]],
            transform_graph_path=str(tmp_path / "graph"),
            serving_model_dir=str(tmp_path / "model"),
            model_run_dir=str(tmp_path / "run"),
            custom_config={
                "dataset": DATASET.model_dump_json(),
                "model": MODEL.model_dump_json(),
                "train": CONFIG.model_dump_json(),
                "checkpoints": str(tmp_path / "checkpoints"),
            },
        )
    )
    assert list((tmp_path / "checkpoints").iterdir()) == []
    extras = exported[-1]
    assert isinstance(extras, Extras)
    assert exported[4] == str(tmp_path / "model")
    assert json.loads((tmp_path / "run" / "curves.json").read_text()) == extras.training
    assert ModelConfig.model_validate_json(extras.model_json) == MODEL


def test_the_adapter_stays_an_adapter() -> None:
    function = ast.parse(inspect.getsource(train.run_fn)).body[0]
    assert function.end_lineno is not None
    assert function.end_lineno < 40


def test_the_end_of_a_training_is_told_where_it_came_early_and_epochs_of_few_steps() -> None:
    stopped = "no better validation score in 2 epochs"
    curves = Curves.model_construct(epochs=(1, 2, 3), best_epoch=1, stopped=stopped)
    config = TrainConfig(epochs=10, batch_size=2048)
    assert list(train._told_end(curves, config, 4)) == [
        f"{stopped}: kept the weights of epoch 1",
        "an epoch has 4 steps of 2,048 rows, which may be too few to learn from: a smaller train.batch_size makes more of them",
    ]
    assert list(train._told_end(curves, TrainConfig(epochs=3), 20)) == []
