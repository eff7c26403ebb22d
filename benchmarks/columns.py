"""What the transform stage costs by the number of columns: ``python -m benchmarks.columns --columns 20 100 300``.

A log of that many features: of ten, three ids, two categories, two numbers (z-score, logarithm), one by quantiles, one cut into
buckets and one bag of tags. For each number of columns a process of its own runs the whole stage (analysis, graph, every row
transformed) by FnApiRunner on two numbers of rows; the difference says what a row costs, the smaller run what the columns cost before the
first row.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.stages.usage import measured
from features.columns import plain_schema, to_lists
from features.spec import SPLITS, Dataset

KINDS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("int64", {"kind": "id"}),
    ("string", {"kind": "categorical"}),
    ("float32", {"kind": "numeric"}),
    ("list<string>", {"kind": "bag"}),
    ("float32", {"kind": "bucketized"}),
    ("int64", {"kind": "id", "frequency_rank": True}),
    ("float32", {"kind": "numeric", "scaling": "log_zscore", "missing_indicator": True}),
    ("string", {"kind": "id"}),
    ("float32", {"kind": "numeric", "scaling": "quantile"}),
    ("int64", {"kind": "categorical"}),
)
"""Type of a column and its feature; columns go through them in turn."""
DISTINCT = 5_000
"""Tokens of a column."""
OTHER_ROWS = 1_000
"""Of validation and test, each."""
ROWS_A_GROUP = 50_000


def main() -> None:
    """Measures, or is one of the measured processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, nargs="+", default=[20, 100, 300])
    parser.add_argument("--rows", type=int, nargs=2, default=[20_000, 420_000], help="a small and a large run")
    parser.add_argument("--folder", type=Path, help="where logs and artifacts go; a temporary folder by default")
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(_step(arguments.columns[0], arguments.rows[0], arguments.folder)))
        return
    for columns in arguments.columns:
        small, large = (_child(columns, rows, arguments.folder) for rows in arguments.rows)
        rows = arguments.rows[1] - arguments.rows[0]
        cost = 1e6 * (large["core_seconds"] - small["core_seconds"]) / rows
        print(
            f"{columns:>4} columns  {small['stages']:>4} Beam transforms  {small['nodes']:>7,} graph nodes  {small['bytes'] / 1e6:6.2f} MB graph  "
            f"{small['seconds']:6.1f} s, {small['core_seconds']:6.1f} core-s for {arguments.rows[0]:,} rows  "
            f"{cost:7.1f} core-us a row, {cost / columns:5.2f} a row and column  {large['peak_mb']:7,.0f} MB",
            flush=True,
        )


def _child(columns: int, rows: int, folder: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.columns", "--step", "--folder", place]
        command += ["--columns", str(columns), "--rows", str(rows), "0"]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **quiet})
        return dict(json.loads(done.stdout.splitlines()[-1]))


def _step(columns: int, rows: int, folder: Path) -> dict[str, Any]:
    """The stage on a log of its own; what it took, and the sizes of Beam's and TensorFlow's graphs."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    from pipeline.components.transform import transform

    spec = dataset(columns)
    files = {split: [str(folder / split / "rows.parquet")] for split in SPLITS}
    for number, split in enumerate(SPLITS):
        write(spec, Path(files[split][0]), rows if split == SPLITS[0] else OTHER_ROWS, number)
    outputs = {split: str(folder / "transformed" / f"Split-{split}") for split in SPLITS}
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))
    with measured() as usage:
        transform(spec, files, outputs, str(folder / "graph"), pipeline)
    return {**dataclasses.asdict(usage), "stages": count_transforms(pipeline), **graph_size(folder / "graph")}


def dataset(columns: int) -> Dataset:
    """The spec of a log of so many columns."""
    kinds = [(f"c{number:03}", *KINDS[number % len(KINDS)]) for number in range(columns)]
    return Dataset.model_validate(
        {
            "name": "columns",
            "source": {"files": "*.csv"},
            "columns": {name: kind for name, kind, _ in kinds} | {"click": "int64"},
            "features": {name: feature for name, _, feature in kinds},
            "tasks": {"click": {"label": "click"}},
            "split": {"by": "random"},
        }
    )


def write(spec: Dataset, path: Path, rows: int, seed: int) -> None:
    """One file of examples, as ingest writes them; one in twenty values is missing.

    Args:
        spec: of :func:`dataset`.
        path: gets them.
        rows: of the file.
        seed: of the values.
    """
    random = np.random.default_rng(seed)
    words = pa.array([f"token_{place:x}" for place in range(DISTINCT)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, to_lists(_batch(spec, words, random, 0)).schema) as writer:
        for start in range(0, rows, ROWS_A_GROUP):
            batch = to_lists(_batch(spec, words, random, min(ROWS_A_GROUP, rows - start)))
            writer.write_table(pa.Table.from_batches([batch]))


def _batch(spec: Dataset, words: pa.Array, random: np.random.Generator, rows: int) -> pa.RecordBatch:
    arrays = []
    for field in (schema := plain_schema(spec)):
        if field.name.startswith(("label", "mask", "feedrank")):
            arrays.append(pa.array(random.integers(0, 2, rows), pa.int64()).cast(field.type))
            continue
        places = (DISTINCT * random.random(rows) ** 3.3).astype(np.int64)
        missing = random.random(rows) < 0.05
        if pa.types.is_list(field.type):
            offsets = np.append(np.arange(0, 2 * rows, 2), 2 * rows).astype(np.int32)
            arrays.append(pa.ListArray.from_arrays(pa.array(offsets), words.take(pa.array(np.repeat(places, 2)))))
        elif pa.types.is_string(field.type):
            arrays.append(words.take(pa.array(places, mask=missing)))
        elif pa.types.is_integer(field.type):
            arrays.append(pa.array(places, mask=missing))
        else:
            arrays.append(pa.array(random.gamma(2.0, 20.0, rows).astype(np.float32), mask=missing))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def count_transforms(pipeline: Any) -> int:
    """Beam's leaf transforms of a pipeline, before any runner fuses them."""
    components = pipeline.to_runner_api().components.transforms
    return sum(not transform.subtransforms and bool(transform.spec.urn) for transform in components.values())


def graph_size(graph: Path) -> dict[str, int]:
    """Nodes of the transform graph, those of its functions among them, and bytes of its file.

    Args:
        graph: a ``tft.TFTransformOutput``.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    content = (graph / "transform_fn" / "saved_model.pb").read_bytes()
    (meta,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    functions = sum(len(function.node_def) for function in meta.graph_def.library.function)
    return {"nodes": len(meta.graph_def.node) + functions, "bytes": len(content)}


if __name__ == "__main__":
    main()
