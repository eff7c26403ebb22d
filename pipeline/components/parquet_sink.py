"""Arrow tables to Parquet files, faster than Beam's own sink writes them."""

import dataclasses
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io import filebasedsink
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

SHARD_BYTES = 128 << 20
"""Of a file: enough to be read fast, few enough that the work on a log is shared among workers by its files."""


class WriteTables(beam.PTransform):
    """Tables in, a row group each; out: names of the files, as many as their size asks for and at least one a bundle.

    `apache_beam.io.WriteToParquetBatched` makes a dictionary of every column, which takes half of the time of writing and, for
    numbers, little off their size. Here texts alone have one.

    Args:
        prefix: of the files' paths.
        schema: of every table.
        shard_bytes: a file ends with the table that reaches so many.
    """

    def __init__(self, prefix: str, schema: pa.Schema, shard_bytes: int = SHARD_BYTES) -> None:
        super().__init__()
        self._sink = _Sink(prefix, schema, shard_bytes)

    def expand(self, tables: beam.PCollection[pa.Table]) -> Any:
        """Composes."""
        return tables | beam.io.Write(self._sink)


class _Sink(filebasedsink.FileBasedSink):
    def __init__(self, prefix: str, schema: pa.Schema, shard_bytes: int) -> None:
        super().__init__(
            prefix,
            coder=None,
            file_name_suffix=".parquet",
            mime_type="application/x-parquet",
            compression_type=CompressionTypes.UNCOMPRESSED,  # of the file: its pages are compressed
            max_bytes_per_shard=shard_bytes,
        )
        self._schema = schema
        self._name = ""
        self._opened = 0

    def open_writer(self, init_result: str, uid: str) -> filebasedsink.FileBasedSinkWriter:
        """Names of one writer's files rise, and so do those that Beam gives them in the end: their rows keep their order."""
        self._name = self._name or uid
        self._opened += 1
        return super().open_writer(init_result, f"{self._name}-{self._opened:06d}")

    def open(self, temp_path: str) -> tuple[Any, pq.ParquetWriter]:
        stream = FileSystems.create(temp_path, self.mime_type, self.compression_type)
        self.byte_counter = _Written()
        writer = pq.ParquetWriter(
            stream, self._schema, compression="snappy", use_dictionary=_texts(self._schema), write_statistics=False
        )
        return stream, writer

    def write_record(self, file_handle: tuple[Any, pq.ParquetWriter], value: pa.Table) -> None:
        stream, writer = file_handle
        writer.write_table(value)
        self.byte_counter.bytes_written = stream.tell()

    def close(self, file_handle: tuple[Any, pq.ParquetWriter] | None) -> None:
        if file_handle is not None:
            stream, writer = file_handle
            writer.close()
            stream.close()


@dataclasses.dataclass
class _Written:
    """What Beam asks after each table whether the file is full; Beam's own counter is no file to pyarrow."""

    bytes_written: int = 0


def _texts(schema: pa.Schema) -> list[str]:
    """Paths in a Parquet file of the columns of texts and of lists of them."""
    paths = []
    for field in schema:
        kind = field.type.value_type if pa.types.is_list(field.type) else field.type
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            paths.append(field.name if kind == field.type else f"{field.name}.list.item")
    return paths
