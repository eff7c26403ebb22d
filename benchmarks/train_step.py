"""Examples per second of the input pipeline, of the training step, and of both together.

``python -m benchmarks.train_step --rows 400000 --vocabulary 50000 --batch 2048 --model mmoe``
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable

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
from models.ranker import build_ranker
from models.training.step import TrainStep

IDS, NUMBERS, TASKS = 10, 3, 5


def make_layout(vocabulary: int, history: int) -> Layout:
    inputs = [Input(name=f"id_{i}", kind="index", table=f"id_{i}") for i in range(IDS)]
    inputs += [Input(name=f"number_{i}", kind="number") for i in range(NUMBERS)]
    if history:
        inputs.append(Input(name="history", kind="indices", table="id_0", length=history, pooling="mean"))
    return Layout(inputs=tuple(inputs), tables=tuple(Table(name=f"id_{i}", rows=vocabulary) for i in range(IDS)))


def write_rows(path: pathlib.Path, rows: int, layout: Layout, tasks: dict[str, Task]) -> None:
    generator = np.random.default_rng(0)
    with pq.ParquetWriter(path, batch_schema(layout, tasks)) as writer:
        for start in range(0, rows, 65_536):
            writer.write_table(_rows(generator, min(65_536, rows - start), layout, tasks))


def _rows(generator: np.random.Generator, rows: int, layout: Layout, tasks: dict[str, Task]) -> pa.Table:
    arrays = []
    for spec in layout.inputs:
        if spec.kind == "number":
            arrays.append(pa.array(generator.normal(size=rows).astype(np.float32)))
            continue
        length = spec.length or 1
        values = pa.array(generator.integers(0, layout.table(str(spec.table)).rows, rows * length))
        offsets = pa.array(np.arange(rows + 1) * length, pa.int32())
        arrays.append(values if spec.kind == "index" else pa.ListArray.from_arrays(offsets, values))
    arrays += [pa.array((generator.random(rows) < 0.1).astype(np.float32)) for _ in tasks]
    return pa.Table.from_arrays(arrays, schema=batch_schema(layout, tasks))


def rate(rows: int, run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return rows / (time.perf_counter() - began)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 400_000), ("vocabulary", 50_000), ("batch", 2048), ("history", 0)):
        arguments.add_argument(f"--{name}", type=int, default=default)
    arguments.add_argument("--model", default="mmoe")
    arguments.add_argument("--precision", default="float32")
    arguments.add_argument("--xla", default="auto")
    options = arguments.parse_args()

    layout = make_layout(options.vocabulary, options.history)
    tasks = {f"task_{i}": Task(label=f"y_{i}") for i in range(TASKS)}
    config = TrainConfig.model_validate({"batch_size": options.batch, "xla": options.xla})
    ranker = build_ranker(
        layout, tasks, ModelConfig.model_validate(options.model), dict.fromkeys(tasks, 0.1), options.precision
    )
    step = TrainStep(ranker, config, tensor_specs(batch_schema(layout, tasks)))
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "rows.parquet"
        write_rows(path, options.rows, layout, tasks)
        rows = TransformedRows([str(path)], batch_schema(layout, tasks), config.shuffle_rows)

        def stream() -> list[dict[str, tf.Tensor]]:
            return list(itertools.islice(stream_tensors(rows.batches(options.batch, Order(1, 0)), rows.schema), 40))

        def read() -> None:
            for _ in stream_tensors(rows.batches(options.batch, Order(1, 1)), rows.schema):
                pass

        def train(batches: object = None) -> float:
            for batch in batches or stream_tensors(rows.batches(options.batch, Order(1, 2)), rows.schema):  # type: ignore[attr-defined]
                step(batch)
            return step.losses(1)["all"]

        held = stream()
        train(held[:3])
        print(f"input pipeline   {rate(rows.rows, read):>12,.0f} rows/s")
        print(f"step alone       {rate(options.batch * len(held), lambda: train(held)):>12,.0f} examples/s")
        print(f"both together    {rate(rows.rows, train):>12,.0f} examples/s")


if __name__ == "__main__":
    main()
