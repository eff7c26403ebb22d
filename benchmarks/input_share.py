"""Share of the pure step rate that a whole training reaches: what reading, shuffling and progress reports cost.

    python -m benchmarks.input_share [--rows 10000000] [--model mmoe] [--precision float32] [--batch 2048]
    python -m benchmarks.input_share --files 'RUN/artifacts/transform/transformed_examples/*/Split-train/*' \
        --layout RUN/artifacts/transform/transform_graph/NUMBER/feedrank/layout.json --epochs 6

Trains by `models.training.fit` on transformed Parquet rows: synthetic ones (ten ids, three numbers, five tasks, tables of
50,000 rows), or those of a run. Before and after, the same step takes batches of the same rows that are held in memory; their
mean is the pure rate. Validation and checkpoints at the epoch's end do not count; those on the way do. Of several epochs the
median counts, without the first, in which TensorFlow optimises its graphs: short epochs want several.
"""

from __future__ import annotations

import argparse
import glob
import itertools
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import models  # noqa: F401  Keras 2 is chosen before TensorFlow is imported

# isort: split
import tensorflow as tf

from features.layout import Input, Layout, Table
from features.spec import Task, label_column, mask_column
from models.arrow_stream import stream_tensors, tensor_specs
from models.config import ModelConfig, TrainConfig
from models.input_pipeline import Order, TransformedRows, batch_schema
from models.ranker import Ranker, build_ranker
from models.training import TrainingData, fit
from models.training.step import TrainStep

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


def tasks_of(path: str) -> dict[str, Task]:
    """Those whose labels a transformed file has; 0 and 1 alone make a binary one, judged by its first rows."""
    first = pq.ParquetFile(path).read_row_group(0)
    prefix = label_column("")
    tasks = {}
    for name in (column.removeprefix(prefix) for column in first.column_names if column.startswith(prefix)):
        kind = "binary" if set(first[prefix + name].unique().to_pylist()) <= {0, 1} else "regression"
        mask = mask_column(name) if mask_column(name) in first.column_names else None
        tasks[name] = Task(label=name, kind=kind, mask=mask)
    return tasks


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


def measure(data: TrainingData, model: str, config: TrainConfig, seconds: float) -> None:
    """Prints the pure rate, the training's, and the share."""
    ranker = build_ranker(
        data.layout, data.tasks, ModelConfig.model_validate(model), dict.fromkeys(data.tasks, 0.1), config.precision
    )
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
    parser.add_argument("--files", help="transformed Parquet files of a run, a pattern")
    parser.add_argument("--layout", type=pathlib.Path, help="the run's feedrank/layout.json")
    parser.add_argument("--model", default="mmoe")
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--seconds", type=float, default=20, help="of the pure step, before and after")
    options = parser.parse_args()
    if (options.files is None) != (options.layout is None):
        parser.error("--files and --layout go together")
    config = TrainConfig.model_validate(
        {
            "batch_size": options.batch,
            "epochs": options.epochs,
            "precision": options.precision,
            "patience": options.epochs,
        }
    )
    with tempfile.TemporaryDirectory(prefix="feedrank-") as folder:
        if options.files:
            layout, files = Layout.model_validate_json(options.layout.read_text()), sorted(glob.glob(options.files))
            if not files:
                parser.error(f"no file matches {options.files}")
            tasks = tasks_of(files[0])
        else:
            layout, tasks = synthetic_layout(), {f"task_{i}": Task(label=f"y_{i}") for i in range(TASKS)}
            files = [synthetic_rows(pathlib.Path(folder) / "rows.parquet", options.rows, layout, tasks)]
        validation = pathlib.Path(folder) / "validation.parquet"
        pq.write_table(pq.ParquetFile(files[0]).read_row_group(0), validation)
        measure(TrainingData(files, [str(validation)], layout, tasks), options.model, config, options.seconds)


if __name__ == "__main__":
    main()
