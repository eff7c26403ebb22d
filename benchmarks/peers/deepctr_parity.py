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

from benchmarks.parity.problem import (
    BATCH,
    CHAIN,
    DIM,
    EXPERTS,
    IDS,
    LAYERS,
    NUMBERS,
    ROWS,
    SHARED_EXPERTS,
    TASK_EXPERTS,
    TASKS,
    TOWER_UNITS,
    UNITS,
    Array,
    inputs,
    save,
    spread,
    varied,
)

MODELS = ("shared_bottom", "mmoe", "ple", "esmm")


def make_model(name: str) -> tf.keras.Model:
    """With the problem's sizes."""
    columns = [*(SparseFeat(i, ROWS, DIM) for i in IDS), *(DenseFeat(n, 1) for n in NUMBERS)]
    if name == "esmm":
        return ESMM(columns, tower_dnn_hidden_units=UNITS, task_names=CHAIN)
    shared = {"tower_dnn_hidden_units": TOWER_UNITS, "task_types": ("binary",) * len(TASKS), "task_names": TASKS}
    if name == "shared_bottom":
        return SharedBottom(columns, bottom_dnn_hidden_units=UNITS, **shared)
    if name == "mmoe":
        return MMOE(columns, EXPERTS, expert_dnn_hidden_units=UNITS, **shared)
    return PLE(columns, SHARED_EXPERTS, TASK_EXPERTS, LAYERS, expert_dnn_hidden_units=UNITS, **shared)


def answer(model: tf.keras.Model, name: str, seed: int) -> dict[str, Array]:
    """{task: (batch,)} with random weights, the biases too."""
    draw = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(draw.normal(scale=spread(variable.shape), size=variable.shape))
    outputs = model.predict(inputs(), batch_size=BATCH, verbose=0)
    return {task: values[:, 0] for task, values in zip(CHAIN if name == "esmm" else TASKS, outputs, strict=True)}


def main() -> None:
    for name in MODELS:
        tf.keras.backend.clear_session()  # names of layers count from 0 again
        model = make_model(name)
        outputs = varied(functools.partial(answer, model, name))
        save(sys.argv[1], name, {variable.name: variable.numpy() for variable in model.weights}, outputs)
    print(json.dumps({"models": MODELS}))


if __name__ == "__main__":
    main()
