"""A small log as TFX artifacts: what ingest hands to the stages behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tfx import types
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts

from features.columns import plain_schema, to_lists
from features.spec import SPLITS, Dataset
from pipeline.artifacts import IngestManifest, SideTables

ROWS = 400
DATASET = Dataset.model_validate(
    {
        "name": "toy",
        "source": {"files": "log.csv"},
        "columns": {
            "user": {"type": "int64", "required": True},
            "tab": "int64",
            "city": "string",
            "price": {"type": "float32", "minimum": 0},
            "seen": "list<int64>",
            "ts": "int64",
            "click": "int64",
            "asked": "int64",
        },
        "time": {"column": "ts", "unit": "yyyymmdd"},
        "features": {
            "user": "id",
            "tab": {"kind": "categorical", "values": [0, 1, 2]},
            "city": {"kind": "categorical", "values": ["Bonn", "Ulm"]},
            "price": {"kind": "numeric", "missing_indicator": True},
            "seen": {"kind": "sequence", "max_length": 3, "vocabulary_of": "user"},
        },
        "tasks": {"click": {"label": "click", "mask": "asked"}},
        "split": {
            "by": "time",
            "train": ["2024-01-01", "2024-01-01"],
            "validation": ["2024-01-02", "2024-01-02"],
            "test": ["2024-01-03", "2024-01-03"],
        },
    }
)
A = TypeVar("A", bound=types.Artifact)


def plain_rows(split: str, seed: int = 0, rows: int = ROWS) -> dict[str, list[Any]]:
    """Rows of one split, column by column; about one in ten values that may be missing is."""
    day = SPLITS.index(split)
    random = np.random.default_rng((seed, day))
    return {
        "user": random.integers(1, 40, rows).tolist(),
        "tab": random.integers(0, 3, rows).tolist(),
        "city": [None if random.random() < 0.1 else str(city) for city in random.choice(["Bonn", "Ulm"], rows)],
        "price": [None if random.random() < 0.1 else float(p) for p in random.lognormal(size=rows).astype(np.float32)],
        "seen": [random.integers(1, 60, random.integers(0, 6)).tolist() for _ in range(rows)],
        "ts": [20240101 + day] * rows,
        "label_click": random.integers(0, 2, rows).astype(float).tolist(),
        "mask_click": random.integers(0, 2, rows).astype(float).tolist(),
        "feedrank_row_id": random.integers(0, 2**40, rows).tolist(),
        "feedrank_day": [20240101 + day] * rows,
    }


def make(kind: type[A], directory: Path) -> A:
    """An artifact of `kind` at a new folder."""
    directory.mkdir(parents=True, exist_ok=True)
    artifact = kind()
    artifact.uri = str(directory)
    return artifact


def make_examples(directory: Path, rows: dict[str, dict[str, list[Any]]]) -> standard_artifacts.Examples:
    """Examples of two files a split with several row groups each."""
    examples = make(standard_artifacts.Examples, directory)
    examples.split_names = artifact_utils.encode_split_names(list(rows))
    examples.span = 0
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_PARQUET)
    schema = plain_schema(DATASET)
    for split, columns in rows.items():
        fields = pa.schema([schema.field(name) for name in columns])
        batch = to_lists(pa.RecordBatch.from_pydict(columns, schema=fields))
        folder = directory / f"Split-{split}"
        folder.mkdir()
        half = batch.num_rows // 2
        for number, part in enumerate((batch.slice(0, half), batch.slice(half))):
            pq.write_table(pa.Table.from_batches([part]), folder / f"part-{number}.parquet", row_group_size=90)
    return examples


def make_manifest(directory: Path, rows: dict[str, dict[str, list[Any]]]) -> IngestManifest:
    """The manifest that ingest would write of `rows`."""
    manifest = make(IngestManifest, directory)
    counts = {split: len(columns["ts"]) for split, columns in rows.items()}
    positives = {split: int(sum(columns["label_click"])) for split, columns in rows.items()}
    content = {
        "rows_out": counts,
        "days": {str(columns["ts"][0]): counts[split] for split, columns in rows.items()},
        "tasks": {
            "click": {s: {"rows": counts[s], "positives": positives[s], "sum": float(positives[s])} for s in rows}
        },
    }
    (directory / "manifest.json").write_text(json.dumps(content))
    return manifest


def make_tables(directory: Path) -> SideTables:
    """One side table."""
    tables = make(SideTables, directory)
    pq.write_table(pa.table({"user": [1, 2], "age": [30, 40]}), directory / "users.parquet")
    return tables
