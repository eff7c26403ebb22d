"""DeepCTR's models with random weights, for `benchmarks.peer_parity`; runs in DeepCTR's own environment.

Its defaults make the paper's models: gates without hidden layers (``gate_dnn_hidden_units=()``) and without bias, no batch norm.
"""

from __future__ import annotations

import functools
import json
import sys

import numpy as np
import tensorflow as tf
from deepctr.feature_column import DenseFeat, SparseFeat
from deepctr.models import ESMM, MMOE, PLE, SharedBottom

from benchmarks.parity import problem

MODELS = ("shared_bottom", "mmoe", "ple", "esmm")


def make_model(name: str) -> tf.keras.Model:
    """With the problem's sizes."""
    ids = [SparseFeat(i, problem.ROWS, problem.DIM) for i in problem.IDS]
    columns = [*ids, *(DenseFeat(n, 1) for n in problem.NUMBERS)]
    if name == "esmm":
        return ESMM(columns, tower_dnn_hidden_units=problem.UNITS, task_names=problem.CHAIN)
    shared = {
        "tower_dnn_hidden_units": problem.TOWER_UNITS,
        "task_types": ("binary",) * len(problem.TASKS),
        "task_names": problem.TASKS,
    }
    if name == "shared_bottom":
        return SharedBottom(columns, bottom_dnn_hidden_units=problem.UNITS, **shared)
    if name == "mmoe":
        return MMOE(columns, problem.EXPERTS, expert_dnn_hidden_units=problem.UNITS, **shared)
    sizes = problem.SHARED_EXPERTS, problem.TASK_EXPERTS, problem.LAYERS
    return PLE(columns, *sizes, expert_dnn_hidden_units=problem.UNITS, **shared)


def answer(model: tf.keras.Model, name: str, seed: int) -> dict[str, problem.Array]:
    """{task: (batch,)} with random weights, the biases too."""
    draw = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(draw.normal(scale=problem.spread(variable.shape), size=variable.shape))
    outputs = model.predict(problem.inputs(), batch_size=problem.BATCH, verbose=0)
    tasks = problem.CHAIN if name == "esmm" else problem.TASKS
    return {task: values[:, 0] for task, values in zip(tasks, outputs, strict=True)}


def main() -> None:
    for name in MODELS:
        tf.keras.backend.clear_session()  # names of layers count from 0 again
        model = make_model(name)
        outputs = problem.varied(functools.partial(answer, model, name))
        problem.save(sys.argv[1], name, {variable.name: variable.numpy() for variable in model.weights}, outputs)
    print(json.dumps({"models": MODELS}))


if __name__ == "__main__":
    main()
