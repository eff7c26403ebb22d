"""Trains one of feedrank's models on a problem: ``python -m benchmarks.quality.ours PROBLEM CONFIG SEED OUTPUT``.

Its last line is JSON: what was measured, or ``{"refused": why}`` of a ranker that cannot be built.
"""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile

import numpy as np
import tensorflow as tf

from benchmarks.quality.problem import Problem
from features.errors import ModelError
from features.layout import Layout
from models.arrow_stream import stream_tensors
from models.input_pipeline import TransformedRows, batch_schema
from models.ranker import build_ranker
from models.training import TrainingData, compiled, fit, predict_all
from pipeline import loading
from pipeline.components.train import training_rates

BATCH = 8192


def main() -> None:
    folder, config_file, seed, output = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    problem, config = Problem(folder), loading.load(config_file, [f"train.seed={sys.argv[3]}"])
    layout = Layout.model_validate(json.loads((folder / "problem.json").read_text())["layout"])
    tasks, train = config.dataset.tasks, config.train
    data = TrainingData(problem.files["train"], problem.files["validation"], layout, tasks)
    tf.keras.utils.set_random_seed(seed)
    rates = training_rates(data, train)
    try:
        ranker = build_ranker(layout, tasks, config.model, rates, train.precision)
    except ModelError as error:  # the preset does not fit the dataset: so it will be the next time
        print(json.dumps({"refused": str(error)}))
        return
    with tempfile.TemporaryDirectory() as scratch:
        result = fit(ranker, data, train, pathlib.Path(scratch) / "checkpoints", pathlib.Path(scratch) / "logs")
    rows = TransformedRows(problem.files["test"], batch_schema(layout, tasks))
    predict = compiled(lambda batch: ranker(batch, training=False))
    predictions = predict_all(predict, stream_tensors(rows.batches(BATCH), rows.schema))
    np.savez(output, **{task: predictions[task] for task in problem.tasks})
    epochs = result.curves.epochs
    answer = {
        "parameters": result.curves.parameters,
        "examples_per_s": float(np.median([epoch.examples_per_s for epoch in epochs])),
        "epochs": len(epochs),
        "best_epoch": result.curves.best_epoch,
        "validation": epochs[result.curves.best_epoch - 1].validation.mean_auc,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
