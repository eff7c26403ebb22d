"""Share of the pure step rate that a whole training reaches: what reading, shuffling and progress reports cost.

    python -m benchmarks.input_share [--rows 10000000] [--precision float32]
    python -m benchmarks.input_share --run runs/kuairand/history/TIME --epochs 6

Trains by `models.training.fit`, all that the train stage does between reading its files and exporting, on transformed Parquet
rows: synthetic ones (ten ids, three numbers, five tasks, tables of 50,000 rows), or those of a run with its own model, tasks and
settings. Before and after, the same step takes batches of the same rows that are held in memory; their
mean is the pure rate. Validation and checkpoints at the epoch's end do not count; those on the way do. Of several epochs the
median counts, without the first, in which TensorFlow optimises its graphs: short epochs want several.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf

from features.layout import Input, Layout, Table
from features.spec import Task
from models.arrow_stream import stream_tensors, tensor_specs
from models.config import ModelConfig, TrainConfig
from models.input_pipeline import Order, TransformedRows, batch_schema
from models.ranker import Ranker, build_ranker
from models.training import TrainingData, fit
from models.training.step import TrainStep
from pipeline import loading
from pipeline.components.transform import LAYOUT_FILE
from pipeline.runs import RunRecord

IDS, NUMBERS, TASKS, TABLE_ROWS = 10, 3, 5, 50_000
ROW_GROUP = 65_536
HELD = 64
"""Batches in memory for the pure rate."""


def synthetic_layout() -> Layout:
    """Ids and numbers, the ids in tables of their own."""
    ids = [Input(name=f"id_{i}", kind="index", table=f"id_{i}") for i in range(IDS)]
    numbers = [Input(name=f"number_{i}", kind="number") for i in range(NUMBERS)]
    return Layout(inputs=(*ids, *numbers), tables=tuple(Table(name=i.name, rows=TABLE_ROWS) for i in ids))


def synthetic_rows(path: pathlib.Path, rows: int, layout: Layout, tasks: dict[str, Task]) -> str:
    """Writes `rows` random rows to `path`; its name."""
    draw, schema = np.random.default_rng(0), batch_schema(layout, tasks)
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, ROW_GROUP):
            count = min(ROW_GROUP, rows - start)
            ids = [pa.array(draw.integers(0, TABLE_ROWS, count)) for _ in range(IDS)]
            numbers = [pa.array(draw.normal(size=count).astype(np.float32)) for _ in range(NUMBERS)]
            labels = [pa.array((draw.random(count) < 0.1).astype(np.float32)) for _ in tasks]
            writer.write_table(pa.Table.from_arrays([*ids, *numbers, *labels], schema=schema), ROW_GROUP)
    return str(path)


def pure_rate(step: TrainStep, batches: Sequence[dict[str, tf.Tensor]], seconds: float) -> float:
    """Examples per second on batches in memory."""
    rows, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for batch in batches:
            step(batch)
        step.losses(1)
        rows += sum(int(next(iter(batch.values())).shape[0]) for batch in batches)
    return rows / (time.perf_counter() - began)


def training_rate(ranker: Ranker, data: TrainingData, config: TrainConfig) -> float:
    """Examples per second of `fit`, as its curves say: of one epoch, or the median of those after the first."""
    with tempfile.TemporaryDirectory(prefix="feedrank-") as folder:
        paths = [pathlib.Path(folder) / name for name in ("checkpoints", "log")]
        rates = [epoch.examples_per_s for epoch in fit(ranker, data, config, *paths).curves.epochs]
    return statistics.median(rates[1:] or rates)


class Problem(NamedTuple):
    """What is trained on what."""

    data: TrainingData
    model: ModelConfig
    train: TrainConfig


def of_run(folder: pathlib.Path, overrides: list[str]) -> Problem:
    """A run's own, or with other settings; `folder` is its ``history/<run>``."""
    record = RunRecord.model_validate_json((folder / "run.json").read_text())
    config = loading.load(str(folder / "config.yaml"), overrides)
    graph, examples = (record.output("transform", name) for name in ("transform_graph", "transformed_examples"))
    if graph is None or examples is None:
        raise SystemExit(f"--run {folder}: the run has no transformed rows; it ended '{record.status}'")
    layout = Layout.model_validate_json((graph / LAYOUT_FILE).read_text())
    train, validation = (sorted(map(str, (examples / f"Split-{name}").glob("*"))) for name in ("train", "validation"))
    return Problem(TrainingData(train, validation, layout, config.dataset.tasks), config.model, config.train)


def synthetic(folder: pathlib.Path, rows: int) -> Problem:
    """MMoE on random rows."""
    layout, tasks = synthetic_layout(), {f"task_{i}": Task(label=f"y_{i}") for i in range(TASKS)}
    train = [synthetic_rows(folder / "rows.parquet", rows, layout, tasks)]
    validation = [synthetic_rows(folder / "validation.parquet", ROW_GROUP, layout, tasks)]
    return Problem(TrainingData(train, validation, layout, tasks), ModelConfig.model_validate("mmoe"), TrainConfig())


def measure(problem: Problem, seconds: float) -> None:
    """Prints the pure rate, the training's, and the share."""
    data, model, config = problem
    rates = {name: 0.1 if task.kind == "binary" else 1.0 for name, task in data.tasks.items()}
    ranker = build_ranker(data.layout, data.tasks, model, rates, config.precision)
    rows: TransformedRows = data.rows("train", config)
    step = TrainStep(ranker, config, tensor_specs(rows.schema))
    stream = stream_tensors(rows.batches(config.batch_size, Order(1, 0)), rows.schema)
    held = list(itertools.islice(stream, HELD))
    stream.close()
    pure_rate(step, held, 1)
    pure = [pure_rate(step, held, seconds)]
    trained = training_rate(ranker, data, config)
    pure.append(pure_rate(step, held, seconds))
    mean = sum(pure) / len(pure)
    print(f"rows                      {rows.rows:>12,}")
    print(f"pure step, before, after  {pure[0]:>12,.0f} {pure[1]:>12,.0f} examples/s")
    print(f"training                  {trained:>12,.0f} examples/s")
    print(f"share                     {trained / mean:>12.1%}   (load {os.getloadavg()[0]:.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the synthetic log")
    parser.add_argument("--run", type=pathlib.Path, help="a run's folder below its pipeline's history")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="as of feedrank run, with --run")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], default="float32")
    parser.add_argument("--seconds", type=float, default=20, help="of the pure step, before and after")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="feedrank-") as folder:
        problem = (
            of_run(options.run, options.overrides) if options.run else synthetic(pathlib.Path(folder), options.rows)
        )
        changed = {"epochs": options.epochs, "patience": options.epochs, "precision": options.precision}
        measure(problem._replace(train=problem.train.model_copy(update=changed)), options.seconds)


if __name__ == "__main__":
    main()
