"""What a training went through, epoch by epoch, and when it should stop."""

from __future__ import annotations

import math
import pathlib

import pydantic
import tensorflow as tf

from features.frozen import Frozen
from features.outputs import ALL, MEAN
from models.training.warm_start import WarmStart


class Validation(Frozen):
    """Exact metrics of a model on the whole validation split. A metric that the rows cannot define is None."""

    auc: dict[str, float | None]
    """Of each binary task."""
    log_loss: dict[str, float | None]
    """Of each binary task."""
    mse: dict[str, float | None] = {}
    """Of each regression task."""
    mean_auc: float | None
    """Of the binary tasks, each weighed by how sure it is: see `models.metrics.mean_auc`."""

    @property
    def score(self) -> float:
        """What early stopping maximises: the mean AUC; without a binary task, minus the mean squared error.

        Without either (no validation row with both classes) it is minus infinity.
        """
        if self.mean_auc is not None:
            return self.mean_auc
        errors = [error for error in self.mse.values() if error is not None]
        return -sum(errors) / len(errors) if errors else -math.inf


class Epoch(Frozen):
    """One pass over the training rows. `epoch` counts from 1."""

    epoch: int
    loss: float
    """Mean over batches, regularisation included."""
    losses: dict[str, float]
    """Mean over batches of each task's own loss, unweighted."""
    validation: Validation
    seconds: float
    examples_per_s: float


class Curves(Frozen):
    """A whole training. `best_epoch` is 0 until the first epoch ends."""

    epochs: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    stopped: str | None = None
    """Why training ended; None while it runs."""
    parameters: int = pydantic.Field(ge=0)
    warm_start: WarmStart | None = None
    """What was taken from an earlier model; None: training began with weights drawn at random."""

    def followed_by(self, epoch: Epoch) -> Curves:
        """These curves with one more epoch."""
        best = max((*self.epochs, epoch), key=lambda e: (e.validation.score, -e.epoch))
        return self.model_copy(update={"epochs": (*self.epochs, epoch), "best_epoch": best.epoch})

    def reason_to_stop(self, epochs: int, patience: int) -> str | None:
        """Why no further epoch should follow, or None.

        Args:
            epochs: how many there may be.
            patience: epochs in a row without a better validation score after which to stop; 0 as 1.
        """
        waited = len(self.epochs) - self.best_epoch
        if waited >= max(patience, 1):
            return f"no better validation score in {waited} epoch{'s' if waited > 1 else ''}"
        return f"{epochs} epoch{'s' if epochs > 1 else ''} done" if len(self.epochs) >= epochs else None


class Board:
    """``curves.json`` and TensorBoard's view of it. A resumed training writes its earlier epochs again, as its folder is new.

    Args:
        directory: gets both; None: nothing is written.
        curves: what has been so far.
    """

    def __init__(self, directory: pathlib.Path | None, curves: Curves) -> None:
        self._directory = directory
        self._writer = tf.summary.create_file_writer(str(directory)) if directory else tf.summary.create_noop_writer()
        for epoch in curves.epochs:
            self._draw(epoch)
        self._store(curves)

    def write(self, curves: Curves) -> None:
        """Adds the last epoch."""
        self._draw(curves.epochs[-1])
        self._store(curves)

    def _store(self, curves: Curves) -> None:
        if self._directory and curves.epochs:
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / "curves.json").write_text(curves.model_dump_json(indent=2))

    def _draw(self, epoch: Epoch) -> None:
        validation = epoch.validation
        scalars = {f"loss/{ALL}": epoch.loss, "speed/examples_per_s": epoch.examples_per_s}
        scalars |= {f"loss/{task}": loss for task, loss in epoch.losses.items()}
        for name in ("auc", "log_loss", "mse"):
            values = getattr(validation, name)
            scalars |= {f"validation_{name}/{task}": value for task, value in values.items() if value is not None}
        if validation.mean_auc is not None:
            scalars[f"validation_auc/{MEAN}"] = validation.mean_auc
        with self._writer.as_default(step=epoch.epoch):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def close(self) -> None:
        """Ends the event file."""
        self._writer.close()
