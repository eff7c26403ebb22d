"""One training in a process of its own, which may be told to die: ``python -m tests.models.train_once FOLDER [DEATH]``.

DEATH is ``step:N`` (SIGKILL before the N-th step of this process) or ``save:N`` (in the middle of writing the N-th checkpoint).
Prints nothing: weights go to ``FOLDER/weights.npz``, the curves to ``FOLDER/log/curves.json``.
"""

from __future__ import annotations

import itertools
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf

from models.config import ModelConfig, TrainConfig
from models.ranker import Ranker, build_ranker
from models.training import TrainingData, TrainResult, checkpoint, fit
from models.training.step import TrainStep
from tests.models.transformed import LAYOUT, TASKS, write_split

MODEL = ModelConfig.model_validate(
    {
        "embedding_l2": 1e-4,
        "input_dropout": 0.1,
        "trunk": {"kind": "mmoe", "units": (16, 8), "experts": 3, "dropout": 0.2},
        "gate": {"kind": "top_k", "k": 2},
    }
)
TRAIN = TrainConfig.model_validate(
    {
        "batch_size": 128,
        "epochs": 3,
        "checkpoint_every_steps": 5,
        "embedding_optimizer": "lazy_adam",
        "schedule": {"kind": "cosine", "warmup": {"epochs": 0.5}, "floor": 0.1},
        "ema_decay": 0.8,
        "decay_task_weights": "step",
        "shuffle_rows": 500,
    }
)
RATES = {"click": 0.5, "buy": 0.3}


def small_data(directory: pathlib.Path, rows: int = 3_000) -> TrainingData:
    train = write_split(directory / "train", rows, seed=1)
    return TrainingData(train, write_split(directory / "validation", 1_500, seed=2), LAYOUT, TASKS)


def train_once(data: TrainingData, directory: pathlib.Path, seed: int = TRAIN.seed) -> tuple[Ranker, TrainResult]:
    """`seed` other than the configuration's: what was drawn before a resumed training must not matter."""
    tf.keras.utils.set_random_seed(seed)
    ranker = build_ranker(LAYOUT, TASKS, MODEL, RATES)
    return ranker, fit(ranker, data, TRAIN, directory / "checkpoints", directory / "log")


def save_weights(ranker: Ranker, path: pathlib.Path) -> None:
    np.savez(path, *[variable.numpy() for variable in ranker.variables])


def dying(original: Callable[..., Any], number: int) -> Callable[..., Any]:
    calls = itertools.count(1)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    return wrapped


def main(folder: str, death: str = "never:0") -> None:
    kind, number = death.split(":")
    targets = {"step": (TrainStep, "__call__"), "save": (checkpoint, "_replace"), "never": (TrainStep, "losses")}
    owner, name = targets[kind]
    with mock.patch.object(owner, name, dying(getattr(owner, name), int(number))):
        parts = [sorted(map(str, (pathlib.Path(folder) / part).glob("*.parquet"))) for part in ("train", "validation")]
        data = TrainingData(parts[0], parts[1], LAYOUT, TASKS)
        ranker, _ = train_once(data, pathlib.Path(folder))
    save_weights(ranker, pathlib.Path(folder) / "weights.npz")


if __name__ == "__main__":
    main(*sys.argv[1:])
