"""Vocabularies of millions of tokens: ``python -m benchmarks.vocabularies --tokens 1000000 12000000``.

A log with one id column, in which each of so many tokens occurs once, and half as many rows more are of frequent ones. A process each
for integers and texts, counted exactly and in bounded memory (`counted_tokens`: a quarter of the tokens, `top_k`: a sixteenth), runs

- ``count``: `features.logs.token_counts` over the batches, and nothing else;
- ``write``: the vocabulary ranked and its file written;
- ``stage``: the whole transform stage by FnApiRunner: counting and writing once more, the graph that looks tokens up, and every row
  through it. In the end a sample of rows is looked up backwards: the line of each index must be the row's token.

Seconds, core-seconds and the process's peak memory (what imports take is told once, as ``imports``).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.stages.usage import Usage, measured
from features.columns import plain_schema, to_lists
from features.spec import SPLITS, Dataset

BATCH = 65_536
SAMPLE = 1_000
COLUMN = "item"
WIDTH = 16
"""Numbers of a vector, for what a table would take."""


def main() -> None:
    """Measures, or is one of the measured processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1_000_000, 12_000_000])
    parser.add_argument("--types", nargs="+", choices=("int64", "string"), default=["int64", "string"])
    parser.add_argument("--folder", type=Path, help="where logs and artifacts go; a temporary folder by default")
    parser.add_argument("--step", choices=("write", "exact", "bounded"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(_step(arguments)))
        return
    for tokens in arguments.tokens:
        for kind in arguments.types:
            with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
                _child(tokens, kind, place, "write")
                for step in ("exact", "bounded"):
                    _show(f"{tokens:>11,} {kind:6} {step:7}", _child(tokens, kind, place, step))


def _child(tokens: int, kind: str, folder: str, step: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.vocabularies", "--folder", folder, "--step", step]
    command += ["--tokens", str(tokens), "--types", kind]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **quiet})
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _show(what: str, found: dict[str, Any]) -> None:
    for part in ("imports", "count", "write", "stage"):
        used = Usage(**found[part])
        print(f"{what} {part:8} {used.seconds:7.1f} s {used.core_seconds:7.1f} core-s {used.peak_mb:8,.0f} MB")
    rows = found["kept"] + 2
    print(
        f"{what} {found['kept']:,} tokens kept, file {found['file_mb']:,.0f} MB, a table of {WIDTH} float32 with Adagrad's sums "
        f"{rows * WIDTH * 8 / 1e6:,.0f} MB; {found['bound']}",
        flush=True,
    )


def _step(arguments: argparse.Namespace) -> dict[str, Any]:
    tokens, kind, folder = arguments.tokens[0], arguments.types[0], arguments.folder
    if arguments.step == "write":
        for number, split in enumerate(SPLITS):
            write(folder / split / "rows.parquet", tokens if split == SPLITS[0] else 1, kind, number)
        return {}
    rule = {"min_count": 1, "oov_buckets": 1}
    rule |= {"top_k": tokens // 16, "counted_tokens": tokens // 4} if arguments.step == "bounded" else {}
    return _measure(dataset(kind, rule), folder)


def _measure(spec: Dataset, folder: Path) -> dict[str, Any]:
    import apache_beam as beam
    import tensorflow_transform as tft
    from apache_beam.options.pipeline_options import PipelineOptions

    from features.logs.token_counts import TokenCounts
    from features.spec import Id
    from pipeline.components.transform import transform
    from pipeline.components.vocabularies import MergeCounts, count_bound, vocabulary, write_lines

    feature = spec.features[COLUMN]
    assert isinstance(feature, Id)
    train, merge, used = folder / SPLITS[0] / "rows.parquet", MergeCounts(), {}
    with measured() as used["imports"]:
        pass
    with measured() as used["count"]:
        counts = merge.create_accumulator()
        for batch in _batches(train):
            counts = merge.add_input(counts, TokenCounts.of(batch, feature.vocabulary.counted_tokens))
        total = merge.extract_output(merge.compact(counts))
    with measured() as used["write"]:
        kept = vocabulary(total.table(), feature.vocabulary)
        write_lines(str(folder / "tokens"), kept["token"].combine_chunks())
    bound, size = count_bound(total, kept), kept.num_rows
    del counts, total, kept
    files = {split: [str(folder / split / "rows.parquet")] for split in SPLITS}
    made = folder / ("bounded" if feature.vocabulary.counted_tokens else "exact")
    outputs = {split: str(made / "transformed" / f"Split-{split}") for split in SPLITS}
    with measured() as used["stage"]:
        pipeline = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))
        transform(spec, files, outputs, str(made / "graph"), pipeline)
    written = Path(tft.TFTransformOutput(str(made / "graph")).vocabulary_file_by_name(COLUMN))
    _check_backwards(train, Path(outputs[SPLITS[0]]) / "rows.parquet", written)
    numbers = {part: dataclasses.asdict(usage) for part, usage in used.items()}
    return {**numbers, "kept": size, "bound": bound.told(COLUMN), "file_mb": written.stat().st_size / 1e6}


def dataset(kind: str, rule: dict[str, int]) -> Dataset:
    """The spec of a log with one id column."""
    return Dataset.model_validate(
        {
            "name": "vocabularies",
            "source": {"files": "*.csv"},
            "columns": {COLUMN: kind, "click": "int64"},
            "features": {COLUMN: {"kind": "id", "vocabulary": rule}},
            "tasks": {"click": {"label": "click"}},
            "split": {"by": "random"},
        }
    )


def write(path: Path, tokens: int, kind: str, seed: int) -> None:
    """One file of examples: every token once, and half as many rows more of frequent ones, shuffled."""
    random = np.random.default_rng(seed)
    places = np.concatenate([np.arange(tokens), (tokens * random.random(tokens // 2) ** 3).astype(np.int64)])
    random.shuffle(places)
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = plain_schema(dataset(kind, {}))
    writer: pq.ParquetWriter | None = None
    for start in range(0, len(places), BATCH):
        # Far apart, as identifiers are: consecutive numbers would be cheaper to hash than real ones.
        values = pa.array(places[start : start + BATCH] * 1_000_003 + 10**10)
        arrays = {COLUMN: values.cast(schema.field(COLUMN).type)}
        zeros = pa.array(np.zeros(len(values), np.int64))
        batch = to_lists(
            pa.RecordBatch.from_arrays(
                [arrays.get(field.name, zeros.cast(field.type)) for field in schema], schema=schema
            )
        )
        writer = writer or pq.ParquetWriter(path, batch.schema)
        writer.write_table(pa.Table.from_batches([batch]))
    assert writer is not None
    writer.close()


def _batches(path: Path) -> Iterator[pa.Array]:
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        yield file.read_row_group(group, columns=[COLUMN])[COLUMN].combine_chunks().flatten()


def _check_backwards(raw: Path, transformed: Path, vocabulary: Path) -> None:
    """Raises where a row's index is not the line of its token; those past the last line are of no token."""
    lines = vocabulary.read_bytes().split(b"\n")
    tokens = next(_batches(raw))[:SAMPLE].cast(pa.string()).cast(pa.binary()).to_pylist()
    indices = pq.ParquetFile(transformed).read_row_group(0, columns=[COLUMN])[COLUMN][:SAMPLE].to_pylist()
    known = set(lines)
    for token, index in zip(tokens, indices, strict=True):
        found = lines[index - 1] if index < len(lines) else None
        if found != (token if token in known else None):
            raise ValueError(f"the row of {token!r} has index {index}, the line of {found!r}")


if __name__ == "__main__":
    main()
