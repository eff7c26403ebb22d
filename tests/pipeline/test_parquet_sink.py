"""Tables to files of a size."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.components.parquet_sink import WriteTables

RUNNER = ["--runner=FnApiRunner"]
SCHEMA = pa.schema({"number": pa.int64(), "text": pa.string()})
ROWS = 20_000


def tables(count: int) -> list[pa.Table]:
    """Random numbers, which do not compress: some 160 kB a table."""
    numbers = np.random.default_rng(0).integers(0, 2**62, (count, ROWS))
    return [pa.table({"number": row, "text": pa.array(["a", None] * (ROWS // 2))}, SCHEMA) for row in numbers]


def write(folder: Path, given: list[pa.Table], **settings: int) -> list[Path]:
    with beam.Pipeline(argv=RUNNER) as pipeline:
        _ = pipeline | beam.Create([given]) | beam.FlatMap(list) | WriteTables(f"{folder}/data", SCHEMA, **settings)
    return sorted(folder.iterdir())


def test_a_file_ends_with_the_table_that_reaches_the_size(tmp_path: Path) -> None:
    given = tables(10)
    files = write(tmp_path, given, shard_bytes=400_000)
    assert [path.name for path in files] == [f"data-{shard:05d}-of-00004.parquet" for shard in range(4)]
    assert [pq.ParquetFile(path).num_row_groups for path in files] == [3, 3, 3, 1]
    sizes = [path.stat().st_size for path in files]
    assert all(400_000 <= size < 400_000 + 200_000 for size in sizes[:3])
    # The rows keep their order over the files, so that a training on them is the same every time.
    assert pa.concat_tables(map(pq.read_table, files)).equals(pa.concat_tables(given))


def test_few_tables_are_one_file(tmp_path: Path) -> None:
    given = tables(3)
    (file,) = write(tmp_path, given)
    assert pq.read_table(file).equals(pa.concat_tables(given))
