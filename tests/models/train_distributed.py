"""One process of a training under a strategy: ``python -m tests.models.train_distributed FOLDER SETTINGS``, SETTINGS as JSON.

Trains on ``FOLDER/train`` and writes ``FOLDER/OUT/weights-N.npz`` and ``devices-N.json``, N the task's index of TF_CONFIG. SETTINGS are
those of TrainConfig, and ``out``, ``cpus`` (logical devices), ``model`` (changes of it) and ``die_at`` (step before which it is killed).
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from unittest import mock

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf

from models.config import ModelConfig, TrainConfig
from models.ranker import build_ranker
from models.training import TrainingData, build_strategy, fit
from models.training.distributed import ParameterServerStep, ReplicatedStep
from tests.models.train_once import RATES, dying, save_weights
from tests.models.transformed import LAYOUT, TASKS

MODEL = {"embedding_l2": 0.01, "trunk": {"kind": "mmoe", "units": [16, 8], "experts": 2}}
TRAIN = {
    "batch_size": 128,
    "epochs": 2,
    "patience": 9,
    "shuffle_rows": 300,
    "clip_norm": 0.5,
    "embedding_optimizer": "lazy_adam",
    "checkpoint_every_steps": 3,
}


def main(folder: str, settings: str) -> None:
    directory, change = pathlib.Path(folder), json.loads(settings)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * change.pop("cpus", 1))
    out, model = directory / change.pop("out"), ModelConfig.model_validate(MODEL | change.pop("model", {}))
    die_at = change.pop("die_at", 0)
    config = TrainConfig.model_validate(TRAIN | change)
    strategy = build_strategy(config.strategy)
    tf.keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        ranker = build_ranker(LAYOUT, TASKS, model, RATES, config.precision)
    parts = [sorted(map(str, (directory / part).glob("*.parquet"))) for part in ("train", "validation")]
    number = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"]
    kind = ParameterServerStep if config.strategy.kind == "parameter_server" else ReplicatedStep
    with mock.patch.object(kind, "__call__", dying(kind.__call__, die_at)):
        fit(ranker, TrainingData(parts[0], parts[1], LAYOUT, TASKS), config, out / "checkpoints", out / f"log-{number}")
    save_weights(ranker, out / f"weights-{number}.npz")
    (out / f"devices-{number}.json").write_text(
        json.dumps([variable.device for variable in ranker.trainable_variables])
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
