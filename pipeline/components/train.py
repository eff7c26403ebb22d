"""Train: the adapter between TFX's Trainer and feedrank's own functions, and what the export says about a training."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import itertools
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf
from tensorflow_transform.output_wrapper import TFTransformOutput
from tfx import v1 as tfx

from features import progress
from features.errors import DataError
from features.layout import Layout
from features.logs.vectors import table_rows, vectors_file
from features.losses import WeightedLogistic, needs_nonnegative
from features.sampling import correction_of
from features.spec import ROW_ID, ROW_WEIGHT, Dataset, Task, label_column, mask_column, weight_column
from models.arrow_stream import stream_tensors
from models.config import ModelConfig, TrainConfig
from models.objectives import best_constant
from models.ranker import Ranker, build_ranker
from models.training import (
    Curves,
    TrainingData,
    TrainResult,
    WarmStart,
    build_strategy,
    compiled,
    fingerprint,
    fit,
    for_serving,
    predict_all,
)
from pipeline.beginnings import told_beginning
from pipeline.components import warm_start
from pipeline.components.train_workers import train_as_chief
from pipeline.components.transform import LAYOUT_FILE, VECTORS_DIRECTORY, read_coverage
from pipeline.config import CLUSTERED, WITNESS_ROWS
from serving.export import Extras, export_ranker

BATCH = 4096
_FEW_STEPS = 20
"""Of an epoch: of fewer is told, for ten epochs of them move weights little from where they began."""


def run_fn(fn_args: tfx.components.FnArgs) -> None:
    """Trains and exports a ranker; called by TFX's Trainer."""
    if TrainConfig.model_validate_json(fn_args.custom_config["train"]).strategy.kind in CLUSTERED:
        train_as_chief(fn_args)
    else:
        train(fn_args)


def train(fn_args: tfx.components.FnArgs) -> None:
    """Trains in this process, and exports if it is the chief."""
    custom = fn_args.custom_config
    dataset = Dataset.model_validate_json(custom["dataset"])
    model = ModelConfig.model_validate_json(custom["model"])
    config = TrainConfig.model_validate_json(custom["train"])
    warm_start.check(model, fn_args)
    layout = Layout.model_validate_json((pathlib.Path(fn_args.transform_graph_path) / LAYOUT_FILE).read_text())
    files = (_files(fn_args.train_files), _files(fn_args.eval_files))
    data = TrainingData(*files, layout, dataset.tasks)

    strategy = build_strategy(config.strategy)
    tf.keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        correction = correction_of(dataset.downsample, dataset.tasks)
        rates = training_rates(data, config)
        ranker = build_ranker(layout, dataset.tasks, model, rates, config.precision, correction)
    ranker.lookups.set_vectors(_vectors(dataset, fn_args.transform_graph_path))
    started = warm_start.begin(ranker, fn_args)
    if told := told_beginning(config.warm_start, started.model_dump() if started else None):
        progress.report("train", said=told)
    checkpoints = pathlib.Path(custom["checkpoints"]) / training_name(ranker, data, config, started)
    result = fit(ranker, data, config, checkpoints, pathlib.Path(fn_args.model_run_dir), started)
    if not result.chief:
        return
    for told in _told_end(result.curves, config, data.rows("train", config).steps(config.batch_size)):
        progress.report("train", said=told)
    ranker = for_serving(ranker)
    export_ranker(
        ranker,
        TFTransformOutput(fn_args.transform_graph_path),
        dataset,
        layout,
        fn_args.serving_model_dir,
        _with_coverage(describe(ranker, data, config, model, result), fn_args.transform_graph_path),
    )
    result.checkpoints.remove()


def _told_end(curves: Curves, config: TrainConfig, steps: int) -> Iterator[str]:
    """What of a training's end its line does not tell."""
    if len(curves.epochs) < config.epochs:
        yield f"{curves.stopped}: kept the weights of epoch {curves.best_epoch}"
    if steps < _FEW_STEPS:
        yield (
            f"an epoch has {steps} step{'s' if steps > 1 else ''} of {config.batch_size:,} rows, which may be too few to learn from: a smaller "
            "train.batch_size makes more of them"
        )


def _vectors(dataset: Dataset, transform_graph: str) -> dict[str, npt.NDArray[np.float32]]:
    """{table: its rows} of pretrained features."""
    folder = str(pathlib.Path(transform_graph) / VECTORS_DIRECTORY)
    return {name: table_rows(vectors_file(folder, name), f.missing) for name, f in dataset.pretrained().items()}


def training_rates(data: TrainingData, config: TrainConfig) -> dict[str, float]:
    """What each task's towers start from, over the training rows that its mask lets in.

    Of a binary task the share of positives, each row counted once (with down-sampling corrected by weights, by its row weight): heads
    compare the shares of several tasks, and validate did so before. Of a regression the `best_constant` of its loss, rows weighted as in the loss.

    Raises:
        DataError: if a mask lets no row in, all sample weights are 0, or a loss cannot take the labels.
    """
    rows = data.rows("train", config)
    of_rows = rows.column(ROW_WEIGHT) if data.layout.row_weights else np.ones(rows.rows)
    rates = {}
    for name, task in data.tasks.items():
        labels = rows.column(label_column(name))
        kept = np.ones(len(labels), np.bool_) if task.mask is None else rows.column(mask_column(name)) > 0
        if not kept.any():
            raise DataError(f"task '{name}': its mask '{task.mask}' is 0 in all {rows.rows:,} training rows")
        weights = np.ones(len(labels)) if task.sample_weight is None else rows.column(weight_column(name))
        if not weights[kept].any():
            raise DataError(
                f"task '{name}': its sample_weight '{task.sample_weight}' is 0 in all {kept.sum():,} training rows"
                f"{' that its mask lets in' if task.mask else ''}"
            )
        if task.kind == "binary":
            rates[name] = float(np.average(labels[kept].astype(np.float64), weights=of_rows[kept]))
            continue
        kept &= weights > 0
        _check_labels(name, task, labels[kept])
        rates[name] = best_constant(task.objective, labels[kept], (weights * of_rows)[kept])
    return rates


def _check_labels(name: str, task: Task, labels: npt.NDArray[np.float32]) -> None:
    """What its loss cannot take: see `features.losses`."""
    what = f"task '{name}' (label '{task.label}') has loss {task.objective.kind}"
    if needs_nonnegative(task.objective) and (wrong := labels[labels < 0]).size:
        raise DataError(
            f"{what}{' of log1p' if task.objective.kind != 'weighted_logistic' else ''}, which takes labels >= 0; "
            f"{wrong.size:,} of {labels.size:,} training rows have one below, such as {wrong[0]:g}"
        )
    if isinstance(task.objective, WeightedLogistic) and (labels > 0).mean() in (0, 1):
        raise DataError(
            f"{what}, which takes rows with a label above 0 for positives and rows with 0 for negatives and needs both; "
            f"{(labels > 0).sum():,} of {labels.size:,} training rows are positives"
        )


def training_name(ranker: Ranker, data: TrainingData, config: TrainConfig, started: WarmStart | None = None) -> str:
    """Names the folder of this training's checkpoints: another model, configuration, data, beginning or release has another
    name."""
    shapes = [(variable.name, tuple(variable.shape)) for variable in ranker.variables]
    parts = [ranker.get_config(), config.model_dump(mode="json"), shapes, importlib.metadata.version("feedrank")]
    parts += [started.fingerprint] if started else []
    return fingerprint([*data.train, *data.validation], json.dumps(parts, sort_keys=True))


def describe(
    ranker: Ranker, data: TrainingData, config: TrainConfig, model: ModelConfig, result: TrainResult
) -> Extras:
    """What only the trainer knows, to be kept beside the export."""
    return Extras(
        model_json=model.model_dump_json(),
        predictions=witness_predictions(ranker, data, config),
        gates=mean_gates(ranker, data, config),
        training=result.curves.model_dump(mode="json"),
    )


def _with_coverage(extras: Extras, transform_graph: str) -> Extras:
    """Beside the curves: how many rows have an id without a pretrained vector."""
    coverage = read_coverage(transform_graph)
    return dataclasses.replace(extras, training={**extras.training, "coverage": coverage}) if coverage else extras


def witness_predictions(ranker: Ranker, data: TrainingData, config: TrainConfig) -> pa.Table:
    """Ids and predictions of the first validation rows, from the model in memory: `ROW_ID` and a float32 column an output."""
    rows = data.rows("validation", config, row_id=True)
    batches = itertools.islice(stream_tensors(rows.batches(WITNESS_ROWS), rows.schema), 1)
    columns = predict_all(compiled(lambda batch: ranker(batch, training=False)), batches, keep=[ROW_ID])
    return pa.table(
        {ROW_ID: columns.pop(ROW_ID), **{name: values.astype(np.float32) for name, values in columns.items()}}
    )


def mean_gates(ranker: Ranker, data: TrainingData, config: TrainConfig) -> Mapping[str, Any]:
    """Mean weight that each gate gives to each expert over the validation rows.

    Returns:
        ``{"layers": [{"layer", "task", "experts": [names], "weights": [mean, ...]}]}``, or ``{}`` without gates.
    """
    experts = ranker.expert_names()
    if not experts:
        return {}
    rows = data.rows("validation", config)
    gate_weights = compiled(ranker.gate_weights)
    totals = {gate: np.zeros(len(names)) for gate, names in experts.items()}
    for batch in stream_tensors(rows.batches(BATCH), rows.schema):
        for gate, weights in gate_weights(batch).items():
            totals[gate] += weights.numpy().sum(axis=0, dtype=np.float64)
    layers = []
    for gate, names in experts.items():
        layer, task = gate.split("/", 1)
        mean = totals[gate] / rows.rows
        layers.append({"layer": layer, "task": task, "experts": list(names), "weights": mean.tolist()})
    return {"layers": layers}


def _files(patterns: list[str]) -> tuple[str, ...]:
    return tuple(sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern)))
