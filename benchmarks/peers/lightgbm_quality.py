"""LightGBM on a problem of `benchmarks.quality`, one model a task; runs in LightGBM's own environment.

Index features of small tables are categories; those of large ones (ids) numbers, which their order by frequency makes
sense of. Of a list: its length and first entries. The number of trees is chosen on the validation split.
"""

from __future__ import annotations

import time

import lightgbm
import numpy as np

from benchmarks.peers.competitor import Competitor, compete
from benchmarks.quality.problem import Array, Problem

CATEGORY_ROWS = 256
LIST_ENTRIES = 3
PARAMETERS = {
    "objective": "binary",
    "metric": "auc",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "verbose": -1,
}
TREES, PATIENCE = 1000, 50


def matrix(problem: Problem, split: str) -> tuple[Array, list[int]]:
    """(rows, columns), and which columns are categories."""
    columns: list[Array] = []
    categories: list[int] = []
    inputs = problem.inputs(split)
    for feature in problem.features:
        values = inputs[feature.name]
        if feature.kind == "indices":
            columns += [(values > 0).sum(axis=1), *values[:, :LIST_ENTRIES].T]
            continue
        if feature.kind == "index" and (feature.rows or 0) <= CATEGORY_ROWS:
            categories.append(len(columns))
        columns.append(values)
    return np.stack(columns, axis=1).astype(np.float32), categories


def run(problem: Problem, seed: int) -> Competitor:
    """Trains and predicts every task."""
    inputs = {split: matrix(problem, split) for split in ("train", "validation", "test")}
    labels, masks = ({s: getattr(problem, what)(s) for s in inputs} for what in ("labels", "masks"))
    predictions, trees, seconds = {}, 0, 0.0
    for task in problem.tasks:
        train, validation = (
            lightgbm.Dataset(
                inputs[split][0],
                labels[split][task],
                weight=masks[split][task],
                categorical_feature=inputs[split][1],
                params={"verbose": -1},
            )
            for split in ("train", "validation")
        )
        began = time.perf_counter()
        model = lightgbm.train(
            {**PARAMETERS, "seed": seed},
            train,
            TREES,
            valid_sets=[validation],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )
        seconds += time.perf_counter() - began
        trees += model.best_iteration
        predictions[task] = model.predict(inputs["test"][0], num_iteration=model.best_iteration)
    rows = len(inputs["train"][0]) * len(problem.tasks)
    return Competitor(predictions, {"trees": trees, "examples_per_s": rows / seconds})


if __name__ == "__main__":
    compete(run)
