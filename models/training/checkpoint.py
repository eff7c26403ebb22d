"""Checkpoints that appear whole or not at all, and never serve another training than their own."""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import shutil
from collections.abc import Sequence

import tensorflow as tf

from features.errors import ModelError
from features.frozen import Frozen
from models.training.curves import Curves

STATE = "state.json"
FOOTER_BYTES = 65_536
"""Read of each data file: Parquet keeps the row groups' sizes and statistics at the end."""


class Position(Frozen):
    """Where a training stands. `epoch` counts from 0, `batch` is the next one of it."""

    epoch: int
    batch: int
    curves: Curves
    seconds: float = 0.0
    """Spent on this epoch so far."""


def fingerprint(files: Sequence[str], *parts: str) -> str:
    """A name for one training: equal only if the data files and all `parts` are equal, wherever the files lie.

    Args:
        files: Parquet files; their sizes and footers count, their folders do not.
        *parts: configurations as JSON, and whatever else a change of which must not resume.
    """
    digest = hashlib.sha256(json.dumps(parts).encode())
    for path in sorted(files, key=lambda p: pathlib.Path(p).name):
        with tf.io.gfile.GFile(path, "rb") as file:
            size = file.size()
            file.seek(max(0, size - FOOTER_BYTES))
            digest.update(f"{pathlib.Path(path).name} {size} ".encode() + file.read())
    return digest.hexdigest()[:16]


class Checkpoints:
    """The checkpoints of one training, in a folder of its own.

    A checkpoint is a folder ``step-<n>`` that is renamed from a temporary name once everything is in it. ``best-<epoch>``
    holds the weights of the best epoch; it is written before the checkpoint that refers to it.

    Args:
        directory: of this training alone.
        weights: the model.
        state: the model, the optimizer and whatever else a resumed training needs.
        keep: checkpoints that are kept, at least 1.
    """

    def __init__(
        self, directory: pathlib.Path, weights: tf.train.Checkpoint, state: tf.train.Checkpoint, keep: int
    ) -> None:
        self.directory = directory
        self._weights = weights
        self._state = state
        self._keep = keep

    def save(self, step: int, position: Position) -> None:
        """Writes a checkpoint and removes the oldest beyond `keep`."""
        partial = self.directory / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self._state.write(str(partial / "variables"))
        (partial / STATE).write_text(position.model_dump_json())
        _replace(partial, self.directory / f"step-{step:012d}")
        for old in self._steps()[: -self._keep]:
            self._discard(old)
        referred = {_position(path).curves.best_epoch for path in self._steps()}
        for best in self.directory.glob("best-*"):
            if int(best.name.removeprefix("best-")) not in referred:
                self._discard(best)

    def save_best(self, epoch: int) -> None:
        """Keeps the model's weights as those of `epoch`."""
        partial = self.directory / "partial-best"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self._weights.write(str(partial / "variables"))
        _replace(partial, self.directory / f"best-{epoch}")

    def restore_best(self, epoch: int) -> None:
        """Puts the weights of `epoch` into the model."""
        self._weights.read(str(self.directory / f"best-{epoch}" / "variables")).assert_consumed()

    def restore(self) -> Position | None:
        """Puts the latest checkpoint into the training; None where there is none.

        Raises:
            ModelError: if the checkpoint does not fit or cannot be read.
        """
        steps = self._steps()
        if not steps:
            return None
        latest = steps[-1]
        try:
            self._state.read(str(latest / "variables")).assert_consumed()
            return _position(latest)
        except (AssertionError, ValueError, OSError, tf.errors.OpError) as error:
            raise ModelError(
                f"checkpoint {latest} cannot be resumed: {error}; remove {self.directory} to train from the start"
            ) from error

    def remove(self) -> None:
        """Removes all of them, once nobody needs them any more."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _discard(self, path: pathlib.Path) -> None:
        """Under its own name a folder is always whole, even if the process dies while it is removed."""
        discarded = self.directory / "discarded"
        shutil.rmtree(discarded, ignore_errors=True)
        path.rename(discarded)
        shutil.rmtree(discarded)

    def _steps(self) -> list[pathlib.Path]:
        return sorted(p for p in self.directory.glob("step-*") if re.fullmatch(r"step-\d+", p.name))


def _replace(source: pathlib.Path, target: pathlib.Path) -> None:
    """Renames a folder; where `target` exists (the same step written again), it goes first."""
    shutil.rmtree(target, ignore_errors=True)
    source.rename(target)


def _position(path: pathlib.Path) -> Position:
    return Position.model_validate_json((path / STATE).read_text())
