"""Trains a ranker: epochs, validation, early stopping, checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import pathlib
import time
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from features import progress
from features.errors import DataError
from features.layout import Layout
from features.outputs import ALL
from features.spec import Task
from models.arrow_stream import stream_tensors, tensor_specs
from models.config import TrainConfig
from models.input_pipeline import Order, TransformedRows, batch_schema
from models.ranker import Ranker
from models.training.checkpoint import Checkpoints, Position
from models.training.curves import Board, Curves, Epoch, Validation
from models.training.distributed import make_step
from models.training.step import compiled
from models.training.validation import validate
from models.training.warm_start import WarmStart

REPORT_EVERY_S = 0.5
EVALUATION_BATCH = 8192


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a ranker is trained on: transformed Parquet files, and what their columns mean."""

    train: Sequence[str]
    validation: Sequence[str]
    layout: Layout
    tasks: Mapping[str, Task]

    def rows(self, split: str, config: TrainConfig, row_id: bool = False) -> TransformedRows:
        """The rows of ``train`` or ``validation``."""
        schema = batch_schema(self.layout, self.tasks, row_id)
        return TransformedRows(getattr(self, split), schema, pool_rows=config.shuffle_rows)


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """A finished training. The ranker holds the best epoch's weights."""

    curves: Curves
    checkpoints: Checkpoints
    """Kept until whoever asked for the training has stored the model: call its ``remove()`` then."""
    chief: bool
    """Whether this process is the one of all workers that stores the model."""


def fit(
    ranker: Ranker,
    data: TrainingData,
    config: TrainConfig,
    checkpoint_dir: pathlib.Path,
    log_dir: pathlib.Path,
    start: WarmStart | None = None,
) -> TrainResult:
    """Trains `ranker` in place until its validation score stops rising, and leaves it with its best weights.

    Call ``tf.keras.utils.set_random_seed(config.seed)`` before the ranker is built: then the same data and configuration
    give the same weights on the same CPU, also if the process was killed in between and started again.

    A ranker built under the scope of a strategy (`models.training.build_strategy`) is trained by it. With several workers every
    one of them calls `fit`, on the same files; the chief alone validates, reports and writes.

    Args:
        ranker: from `models.ranker.build_ranker`.
        data: training and validation rows.
        config: how to train.
        checkpoint_dir: of this training alone (name it by `models.training.fingerprint`); a checkpoint found there is
            resumed.
        log_dir: gets ``curves.json`` and TensorBoard's event files.
        start: what `ranker` has from an earlier model, for the curves.

    Raises:
        DataError: if the data cannot be read, or no validation row can tell a good model from a bad one.
        ModelError: if a loss or a prediction is not a finite number, the checkpoint does not fit, or workers differ in
            `checkpoint_dir`'s name.
    """
    return _Training(ranker, data, config, checkpoint_dir).run(log_dir, start)


class _Training:
    def __init__(self, ranker: Ranker, data: TrainingData, config: TrainConfig, checkpoint_dir: pathlib.Path) -> None:
        self._ranker, self._tasks, self._config = ranker, data.tasks, config
        self._train, self._validation = data.rows("train", config), data.rows("validation", config)
        self._steps = self._train.steps(config.batch_size)
        self._step = make_step(ranker, config, tensor_specs(self._train.schema), self._steps)
        self._replicas = self._step.replicas
        self._predict = compiled(
            lambda batch: ranker(batch, training=False), input_signature=[tensor_specs(self._validation.schema)]
        )
        self._checkpoints = Checkpoints(
            checkpoint_dir,
            weights=tf.train.Checkpoint(ranker=ranker),
            state=tf.train.Checkpoint(ranker=ranker, step=self._step),
            keep=config.keep_checkpoints,
        )

    def run(self, log_dir: pathlib.Path, start: WarmStart | None) -> TrainResult:
        parameters = sum(int(np.prod(variable.shape)) for variable in self._ranker.trainable_variables)
        beginning = Position(epoch=0, batch=0, curves=Curves(parameters=parameters, warm_start=start))
        self._replicas.check_same(self._checkpoints.directory.name)
        position = self._checkpoints.restore() or beginning
        with contextlib.closing(Board(log_dir if self._replicas.chief else None, position.curves)) as board:
            while position.curves.stopped is None:
                position = self._end_epoch(self._run_epoch(position))
                board.write(position.curves)
        self._replicas.wait()  # for the chief's last checkpoint
        self._checkpoints.restore_best(position.curves.best_epoch)
        self._replicas.wait()  # before the chief may remove it
        return TrainResult(position.curves, self._checkpoints, self._replicas.chief)

    def _run_epoch(self, position: Position) -> Position:
        """Trains on the rest of the position's epoch, with a checkpoint every now and then."""
        config, began = self._config, time.perf_counter() - position.seconds
        if position.batch == 0:
            self._step.begin_epoch()
            if config.decay_task_weights == "epoch":
                self._ranker.decays.assign(position.epoch)
        order = Order(config.seed, position.epoch) if config.shuffle_rows else None
        batches = self._train.batches(config.batch_size, order, position.batch)
        reported = 0.0
        for batch in self._step.feed(batches, self._train.schema):
            self._step(batch)
            position = position.model_copy(update={"batch": position.batch + 1, "seconds": time.perf_counter() - began})
            if time.perf_counter() - reported > REPORT_EVERY_S or position.batch == self._steps:
                number = position.epoch + 1
                self._report(number, position.batch, self._step.losses(number)[ALL], position.curves)
                reported = time.perf_counter()
            if position.batch % config.checkpoint_every_steps == 0 and position.batch < self._steps:
                self._save(position)
        self._step.wait()
        return position

    def _end_epoch(self, position: Position) -> Position:
        with self._step.averaged():
            position = self._judged(position)
        self._save(position)
        return position

    def _judged(self, position: Position) -> Position:
        """Validates, remembers the best weights, decides whether to go on."""
        losses, number = self._step.losses(position.epoch + 1), position.epoch + 1
        epoch = Epoch(
            epoch=number,
            loss=losses.pop(ALL),
            losses=losses,
            validation=self._validate(number),
            seconds=position.seconds,
            examples_per_s=self._train.rows / position.seconds,
        )
        if epoch.validation.score == -math.inf:
            raise DataError(
                f"none of the {self._validation.rows:,} validation rows tells a good model from a bad one: "
                f"no task ({', '.join(self._tasks)}) has both classes there"
            )
        curves = position.curves.followed_by(epoch)
        self._report(number, self._steps, epoch.loss, curves)
        stopped = curves.reason_to_stop(self._config.epochs, self._config.patience)
        if curves.best_epoch == number and self._replicas.chief:
            self._checkpoints.save_best(number)
        return Position(epoch=number, batch=0, curves=curves.model_copy(update={"stopped": stopped}))

    def _validate(self, epoch: int) -> Validation:
        """The chief's, so that all workers decide alike."""

        def measured() -> str:
            batches = stream_tensors(self._validation.batches(EVALUATION_BATCH), self._validation.schema)
            return validate(self._predict, batches, self._tasks, epoch).model_dump_json()

        return Validation.model_validate_json(self._replicas.from_chief(measured))

    def _save(self, position: Position) -> None:
        self._step.wait()
        self._step.losses(position.epoch + 1)  # a spoilt model is never saved
        if self._replicas.chief:
            self._checkpoints.save(position.epoch * self._steps + position.batch, position)

    def _report(self, epoch: int, batch: int, loss: float, curves: Curves) -> None:
        if not self._replicas.chief:
            return
        validation = curves.epochs[-1].validation if curves.epochs else None
        known = {"auc": validation.auc, "mse": validation.mse} if validation else {}
        progress.report(
            "train",
            epoch=epoch,
            epochs=self._config.epochs,
            step=batch,
            steps=self._steps,
            rows=min(batch * self._config.batch_size, self._train.rows) + (epoch - 1) * self._train.rows,
            loss=loss,
            **{f"{metric}_{task}": x for metric, of in known.items() for task, x in of.items() if x is not None},
        )
