from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import math
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf

from features.errors import DataError, ModelError
from models.arrow_stream import tensor_specs
from models.config import ModelConfig, TrainConfig
from models.input_pipeline import TransformedRows, batch_schema
from models.ranker import Ranker, build_ranker
from models.training import Curves, TrainingData, TrainResult, fingerprint, fit
from models.training.checkpoint import Checkpoints, Position
from models.training.curves import Epoch, Validation
from models.training.step import TrainStep
from tests.models.train_once import MODEL, RATES, TRAIN, save_weights, small_data, train_once
from tests.models.transformed import LAYOUT, TASKS, transformed_table, write_split

SPECS = tensor_specs(batch_schema(LAYOUT, TASKS))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(
    data: TrainingData, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ranker, TrainResult, pathlib.Path]:
    directory = tmp_path_factory.mktemp("undisturbed")
    return *train_once(data, directory), directory


def without_times(curves: Curves) -> dict[str, Any]:
    found = curves.model_dump()
    for epoch in found["epochs"]:
        del epoch["seconds"], epoch["examples_per_s"]
    return found


def assert_same_weights(first: Ranker, second: Ranker) -> None:
    for a, b in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.name)


def tensors(table: pa.Table) -> dict[str, tf.Tensor]:
    return {n: tf.constant(table.column(n).to_pylist(), spec.dtype) for n, spec in SPECS.items()}


def small_ranker() -> Ranker:
    tf.keras.utils.set_random_seed(1)
    return build_ranker(LAYOUT, TASKS, MODEL, RATES)


# -- a whole training ------------------------------------------------------------------------------------------------


def test_training_learns_and_its_curves_say_so(undisturbed: tuple[Ranker, TrainResult, pathlib.Path]) -> None:
    ranker, result, directory = undisturbed
    first, last = result.curves.epochs[0], result.curves.epochs[-1]
    assert last.loss < first.loss
    assert last.losses["click"] < math.log(2)
    assert result.curves.stopped == "3 epochs done"
    assert result.curves.parameters == sum(math.prod(v.shape) for v in ranker.trainable_variables)
    assert json.loads((directory / "log" / "curves.json").read_text()) == result.curves.model_dump(mode="json")
    assert list((directory / "log").glob("events.out.tfevents.*"))
    assert int(ranker.decays) == result.curves.best_epoch * math.ceil(3_000 / TRAIN.batch_size)


def test_validation_is_the_auc_of_the_weights_that_are_left(
    undisturbed: tuple[Ranker, TrainResult, pathlib.Path],
) -> None:
    ranker, result, _ = undisturbed
    table = transformed_table(1_500, seed=2)
    predictions = ranker(tensors(table))
    click = roc_auc_score(table["label_click"], predictions["click"])
    buy = roc_auc_score(table["label_buy"], predictions["buy"], sample_weight=table["mask_buy"])
    best = result.curves.epochs[result.curves.best_epoch - 1].validation
    assert best.auc == pytest.approx({"click": click, "buy": buy}, abs=1e-6)
    kept = table["mask_buy"].to_numpy() > 0
    sure = []
    for labels in (table["label_click"].to_numpy(), table["label_buy"].to_numpy()[kept]):
        positives, rows = labels.sum(), len(labels)
        sure.append(math.sqrt(positives * (rows - positives) / (rows + 1)))
    assert best.mean_auc == pytest.approx((sure[0] * click + sure[1] * buy) / sum(sure), abs=1e-6)


def test_a_regressions_error_is_told_as_training_goes_on(
    data: TrainingData, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = {"click": TASKS["click"].model_copy(update={"kind": "regression"}), "buy": TASKS["buy"]}
    config = TRAIN.model_copy(update={"epochs": 1})
    ranker = build_ranker(LAYOUT, tasks, MODEL, RATES)
    with caplog.at_level(logging.INFO, "feedrank.progress"):
        fit(ranker, dataclasses.replace(data, tasks=tasks), config, tmp_path / "checkpoints", tmp_path / "log")
    table = transformed_table(1_500, seed=2)
    errors = ranker(tensors(table))["click"].numpy() - table["label_click"].to_numpy()
    numbers = caplog.records[-1].__dict__["numbers"]
    assert numbers["mse_click"] == pytest.approx(np.mean(errors**2), rel=1e-5)
    assert {name for name in numbers if name.startswith(("auc_", "mse_"))} == {"mse_click", "auc_buy"}


def test_the_same_seed_gives_the_same_weights(
    data: TrainingData, undisturbed: tuple[Ranker, TrainResult, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    ranker, result = train_once(data, tmp_path)
    assert_same_weights(ranker, undisturbed[0])
    assert without_times(result.curves) == without_times(undisturbed[1].curves)


def test_a_finished_training_is_taken_from_its_checkpoint(
    data: TrainingData, undisturbed: tuple[Ranker, TrainResult, pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainStep, "__call__", lambda *_: pytest.fail("trained again"))
    ranker, result = train_once(data, undisturbed[2], seed=99)
    assert_same_weights(ranker, undisturbed[0])
    assert result.curves == undisturbed[1].curves


def test_early_stopping_keeps_the_best_weights(data: TrainingData, tmp_path: pathlib.Path) -> None:
    config = TRAIN.model_copy(
        update={
            "epochs": 30,
            "patience": 1,
            "decay_task_weights": "epoch",
            "dense_optimizer": TRAIN.dense_optimizer.model_copy(update={"learning_rate": 0.05}),
        }
    )
    ranker = small_ranker()
    curves = fit(ranker, data, config, tmp_path / "checkpoints", tmp_path / "log").curves
    scores = [epoch.validation.mean_auc or 0 for epoch in curves.epochs]
    assert len(scores) < 30
    assert curves.best_epoch == 1 + int(np.argmax(scores)) == len(scores) - 1
    assert curves.stopped == "no better validation score in 1 epoch"
    assert int(ranker.decays) == curves.best_epoch - 1
    again = small_ranker()
    assert fit(again, data, config, tmp_path / "checkpoints", tmp_path / "log2").curves == curves
    assert_same_weights(again, ranker)


def test_one_step_is_gradient_descent_on_the_ranker_s_own_loss(data: TrainingData) -> None:
    config = TrainConfig.model_validate(
        {
            "dense_optimizer": {"kind": "adagrad", "learning_rate": 0.1},
            "embedding_optimizer": {"kind": "adagrad", "learning_rate": 0.1},
        }
    )
    plain = ModelConfig.model_validate({"trunk": {"kind": "mmoe", "units": (8,), "experts": 2}})
    ranker = build_ranker(LAYOUT, TASKS, plain, RATES)
    batch = tensors(transformed_table(64))
    with tf.GradientTape() as tape:
        loss = ranker.compute_loss(batch, training=True)
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, ranker.trainable_variables)]
    # Adagrad: x -= lr g / sqrt(0.1 + g^2), rows without a gradient stay.
    expected = [v - 0.1 * g / tf.sqrt(0.1 + g * g) for v, g in zip(ranker.trainable_variables, gradients, strict=True)]
    step = TrainStep(ranker, config, SPECS)
    step(batch)
    for variable, value in zip(ranker.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value.numpy(), rtol=1e-4, atol=1e-6, err_msg=variable.name)
    assert step.losses(1)["all"] == pytest.approx(float(loss), rel=1e-6)


@pytest.mark.parametrize("change", [{"xla": "on"}, {"shuffle_rows": 0}, {"clip_norm": 1.0}])
def test_options_of_training_run_and_learn(data: TrainingData, tmp_path: pathlib.Path, change: dict[str, Any]) -> None:
    config = TRAIN.model_copy(update={**change, "epochs": 1})
    curves = fit(small_ranker(), data, config, tmp_path / "checkpoints", tmp_path / "log").curves
    assert curves.epochs[0].loss < 1.3
    assert (curves.epochs[0].validation.mean_auc or 0) > 0.55


def test_xla_gives_the_losses_of_the_plain_graph(data: TrainingData) -> None:
    plain = ModelConfig.model_validate({"trunk": {"kind": "ple", "units": (8,)}, "head": "dlen"})
    losses = {}
    for xla in ("on", "off"):
        tf.keras.utils.set_random_seed(5)
        ranker = build_ranker(LAYOUT, TASKS, plain, RATES)
        curves = []
        step = TrainStep(ranker, TRAIN.model_copy(update={"xla": xla, "batch_size": 64}), SPECS, 24)
        batch = tensors(transformed_table(64))
        for _ in range(5):
            step(batch)
            curves.append(step.losses(1)["all"])
        losses[xla] = curves
    np.testing.assert_allclose(losses["on"], losses["off"], rtol=1e-4)


def test_mixed_bfloat16_learns_with_float32_weights(data: TrainingData, tmp_path: pathlib.Path) -> None:
    tf.keras.utils.set_random_seed(1)
    ranker = build_ranker(LAYOUT, TASKS, MODEL, RATES, "mixed_bfloat16")
    curves = fit(ranker, data, TRAIN, tmp_path / "checkpoints", tmp_path / "log").curves
    assert {v.dtype for v in ranker.trainable_variables} == {tf.float32}
    assert (curves.epochs[-1].validation.mean_auc or 0) > 0.55


# -- interruptions ---------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("at_step", [3, 29, 48])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    data: TrainingData,
    undisturbed: tuple[Ranker, TrainResult, pathlib.Path],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    at_step: int,
) -> None:
    """24 steps an epoch, a checkpoint every 5: before the first one, in the 2nd epoch, right at the 3rd."""
    original, done = TrainStep.__call__, iter(range(at_step))

    def interrupted(self: TrainStep, batch: Any) -> None:
        if next(done, None) is None:
            raise Interrupted
        original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(TrainStep, "__call__", interrupted)
        with pytest.raises(Interrupted):
            train_once(data, tmp_path)
    ranker, result = train_once(data, tmp_path, seed=TRAIN.seed if at_step == 3 else 12_345)
    assert_same_weights(ranker, undisturbed[0])
    assert without_times(result.curves) == without_times(undisturbed[1].curves)


@pytest.mark.slow
def test_a_killed_process_started_again_gives_the_same_weights(
    undisturbed: tuple[Ranker, TrainResult, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    small_data(tmp_path)
    command = [sys.executable, "-m", "tests.models.train_once", str(tmp_path)]
    root = pathlib.Path(__file__).parents[2]
    # The 33rd step is in the 2nd epoch; the 3rd checkpoint after that is written in the same epoch, at its 20th batch.
    for death, batch in (("step:33", 5), ("save:3", 15)):
        process = subprocess.run([*command, death], cwd=root, capture_output=True, text=True, check=False)
        assert process.returncode == -signal.SIGKILL, process.stderr
        left = Position.model_validate_json((last_checkpoint(tmp_path) / "state.json").read_text())
        assert (left.epoch, left.batch) == (1, batch)
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    save_weights(undisturbed[0], tmp_path / "expected.npz")
    found, expected = np.load(tmp_path / "weights.npz"), np.load(tmp_path / "expected.npz")
    assert found.files == expected.files
    for name in expected.files:
        np.testing.assert_array_equal(found[name], expected[name])
    assert_same_state(last_checkpoint(tmp_path), last_checkpoint(undisturbed[2]))


def last_checkpoint(directory: pathlib.Path) -> pathlib.Path:
    return max((directory / "checkpoints").glob("step-*"))


def assert_same_state(first: pathlib.Path, second: pathlib.Path) -> None:
    """Weights, optimizers' slots and steps, averages, the dropouts' random states and the epoch's sums."""
    assert first.name == second.name
    one, other = (tf.train.load_checkpoint(str(path / "variables")) for path in (first, second))
    names = [name for name in one.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert {"/m/", "/v/", "/iter/", "/average/", "/state/"} == {
        part for part in ("/m/", "/v/", "/iter/", "/average/", "/state/") if any(part in name for name in names)
    }
    assert other.get_variable_to_shape_map() == one.get_variable_to_shape_map()
    for name in names:
        np.testing.assert_array_equal(one.get_tensor(name), other.get_tensor(name), err_msg=name)


def test_old_checkpoints_go_and_the_best_weights_stay(tmp_path: pathlib.Path) -> None:
    variable = tf.Variable(0.0)
    part = tf.train.Checkpoint(v=variable)
    checkpoints = Checkpoints(tmp_path, part, part, keep=2)
    validation = Validation(auc={}, log_loss={}, mean_auc=0.5)
    epoch = Epoch(epoch=1, loss=1, losses={}, validation=validation, seconds=1, examples_per_s=1)
    curves = Curves(parameters=1)
    assert checkpoints.restore() is None
    for step in range(1, 5):
        variable.assign(step)
        if step == 2:
            curves = curves.followed_by(epoch)
            checkpoints.save_best(1)
        checkpoints.save(step, Position(epoch=0, batch=step, curves=curves))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-1", "step-000000000003", "step-000000000004"]
    variable.assign(0)
    position = checkpoints.restore()
    assert position is not None
    assert (position.batch, float(variable)) == (4, 4.0)
    checkpoints.restore_best(1)
    assert float(variable) == 2.0
    checkpoints.remove()
    assert not tmp_path.exists()


def test_a_checkpoint_that_does_not_fit_is_refused(data: TrainingData, tmp_path: pathlib.Path) -> None:
    config = TRAIN.model_copy(update={"epochs": 1})
    fit(small_ranker(), data, config, tmp_path / "checkpoints", tmp_path / "log")
    other = build_ranker(LAYOUT, TASKS, ModelConfig.model_validate({"embedding_dim": 4}), RATES)
    with pytest.raises(ModelError, match=r"checkpoint .* cannot be resumed"):
        fit(other, data, config, tmp_path / "checkpoints", tmp_path / "log")


def test_the_fingerprint_is_of_contents_not_of_places(tmp_path: pathlib.Path) -> None:
    first, copy, other = (write_split(tmp_path / n, 200, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert fingerprint(first, "{}") == fingerprint(copy, "{}")
    assert len({fingerprint(first, "{}"), fingerprint(other, "{}"), fingerprint(first, "{1}"), fingerprint(first)}) == 4


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_names_step_and_task(tmp_path: pathlib.Path) -> None:
    data = small_data(tmp_path, rows=1_000)
    table = pq.read_table(data.train[0])
    labels = table["label_buy"].to_numpy().copy()
    labels[300] = np.nan
    mask = np.ones(len(table), np.float32)
    table = table.set_column(table.column_names.index("label_buy"), "label_buy", pa.array(labels))
    pq.write_table(table.set_column(table.column_names.index("mask_buy"), "mask_buy", pa.array(mask)), data.train[0])
    config = TRAIN.model_copy(update={"shuffle_rows": 0})
    with pytest.raises(ModelError, match=r"epoch 1, step 3: the loss of buy is not a finite number"):
        fit(small_ranker(), data, config, tmp_path / "checkpoints", tmp_path / "log")
    assert not (tmp_path / "checkpoints").exists()


def test_each_epoch_has_an_order_of_its_own(
    data: TrainingData, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, epochs = TransformedRows.batches, []

    def noted(self: TransformedRows, *args: Any) -> Iterator[pa.RecordBatch]:
        rows: list[dict[str, Any]] = []
        if len(args) > 1:  # of training, which names an order
            epochs.append(rows)
        for batch in original(self, *args):
            rows += batch.to_pylist()
            yield batch

    monkeypatch.setattr(TransformedRows, "batches", noted)
    fit(small_ranker(), data, TRAIN, tmp_path / "checkpoints", tmp_path / "log")
    assert len(epochs) == TRAIN.epochs > 1
    for one, other in itertools.pairwise(epochs):
        assert one != other
        assert sorted(map(str, one)) == sorted(map(str, other))


def test_a_reader_that_fails_in_the_middle_fails_the_training(
    data: TrainingData, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TransformedRows.batches

    def failing(self: TransformedRows, *args: Any) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(original(self, *args)):
            if number == 7:
                raise OSError("the disk is gone")
            yield batch

    monkeypatch.setattr(TransformedRows, "batches", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        fit(small_ranker(), data, TRAIN, tmp_path / "checkpoints", tmp_path / "log")


def test_a_validation_split_that_decides_nothing_is_refused(tmp_path: pathlib.Path) -> None:
    data = small_data(tmp_path, rows=400)
    for path in data.validation:
        table = pq.read_table(path)
        for name in ("label_click", "label_buy"):
            zeros = pa.array(np.zeros(len(table), np.float32))
            table = table.set_column(table.column_names.index(name), name, zeros)
        pq.write_table(table, path)
    with pytest.raises(DataError, match=r"none of the 1,500 validation rows .* \(click, buy\)"):
        fit(small_ranker(), data, TRAIN, tmp_path / "checkpoints", tmp_path / "log")


# -- stopping --------------------------------------------------------------------------------------------------------


def curves_of(*scores: float) -> Curves:
    curves = Curves(parameters=1)
    for number, score in enumerate(scores, 1):
        validation = Validation(auc={"t": score}, log_loss={}, mean_auc=score)
        curves = curves.followed_by(
            Epoch(epoch=number, loss=1, losses={}, validation=validation, seconds=1, examples_per_s=1)
        )
    return curves


@pytest.mark.parametrize(
    ("scores", "patience", "best", "stops"),
    [
        ((0.6,), 0, 1, False),
        ((0.6, 0.5), 0, 1, True),
        ((0.6, 0.5), 1, 1, True),
        ((0.6, 0.5), 2, 1, False),
        ((0.6, 0.5, 0.6), 2, 1, True),
        ((0.6, 0.5, 0.7), 2, 3, False),
        ((0.5, 0.6, 0.7, 0.8, 0.9), 9, 5, True),
    ],
)
def test_patience_counts_epochs_without_a_better_score(
    scores: tuple[float, ...], patience: int, best: int, stops: bool
) -> None:
    curves = curves_of(*scores)
    assert curves.best_epoch == best
    assert (curves.reason_to_stop(epochs=5, patience=patience) is not None) == stops


def test_without_a_binary_task_the_squared_error_decides() -> None:
    validation = Validation(auc={}, log_loss={}, mse={"a": 1.0, "b": 2.0, "c": None}, mean_auc=None)
    assert validation.score == -1.5
