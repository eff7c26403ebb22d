"""DeepCTR's models on a problem of `benchmarks.quality`; runs in DeepCTR's own environment. Its defaults, feedrank's sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from deepctr.feature_column import DenseFeat, SparseFeat, VarLenSparseFeat
from deepctr.models import MMOE, PLE, SharedBottom

from benchmarks.peers.competitor import Competitor, best_epoch, compete
from benchmarks.quality.problem import Array, Problem

EVALUATION_BATCH = 8192
MODELS = {"shared_bottom": SharedBottom, "mmoe": MMOE, "ple": PLE}


def columns(problem: Problem) -> list[Any]:
    """DeepCTR's description of the features; features of one table share it."""
    found: list[Any] = []
    for feature in problem.features:
        if feature.kind == "number":
            found.append(DenseFeat(feature.name, 1))
            continue
        dim = problem.settings["embedding_dim"]
        sparse = SparseFeat(feature.name, feature.rows, dim, embedding_name=feature.table)
        found.append(sparse if feature.kind == "index" else VarLenSparseFeat(sparse, feature.length, "mean"))
    return found


def make_model(problem: Problem, name: str, seed: int) -> tf.keras.Model:
    """Compiled, with the problem's sizes."""
    settings, tasks = problem.settings, tuple(problem.tasks)
    layers = "bottom_dnn_hidden_units" if name == "shared_bottom" else "expert_dnn_hidden_units"
    model = MODELS[name](
        columns(problem),
        task_types=("binary",) * len(tasks),
        task_names=tasks,
        tower_dnn_hidden_units=settings["tower_units"],
        dnn_dropout=settings["dropout"],
        seed=seed,
        **{layers: settings["units"]},
    )
    losses = {"loss": ["binary_crossentropy"] * len(tasks), "loss_weights": problem.loss_weights()}
    model.compile(tf.keras.optimizers.Adam(settings["learning_rate"]), **losses)
    return model


def run(problem: Problem, seed: int, name: str) -> Competitor:
    """Trains and predicts."""
    tf.keras.utils.set_random_seed(seed)
    model = make_model(problem, name, seed)
    inputs = {split: problem.inputs(split) for split in ("train", "validation", "test")}
    labels, masks = (list(getattr(problem, what)("train").values()) for what in ("labels", "masks"))

    def train_epoch() -> None:
        batch = problem.settings["batch_size"]
        model.fit(inputs["train"], labels, sample_weight=masks, batch_size=batch, epochs=1, verbose=0)

    def predict(split: str) -> dict[str, Array]:
        outputs = model.predict(inputs[split], batch_size=EVALUATION_BATCH, verbose=0)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return {task: np.reshape(values, -1) for task, values in zip(problem.tasks, outputs, strict=True)}

    predictions, numbers = best_epoch(problem, train_epoch, predict)
    return Competitor(predictions, {**numbers, "parameters": model.count_params()})


if __name__ == "__main__":
    compete(run)
