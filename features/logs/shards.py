"""Rows of a whole log brought together on disk: in shards by their key's hash, of which one after the other fits into memory."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features import folders
from features.actions import MOST_SHARDS
from features.errors import DataError

BUFFER_BYTES = 64 << 20
"""Rows that wait for being written, of all shards together."""
SHARD_BYTES = 128 << 20
"""Of input files: there is a shard for about so many."""


def shards_for(size: int) -> int:
    """How many shards files of so many bytes together are cut into."""
    return min(MOST_SHARDS, 1 + size // SHARD_BYTES)


class Part(NamedTuple):
    """Batches of a file that a :class:`ShardWriter` wrote: its rows of one shard."""

    file: str
    batches: tuple[int, ...]


class ShardWriter:
    """Writes rows of all shards to one file, those of one shard in batches of their own; memory does not grow with the rows.

    Args:
        folder: where the file goes; it may hold others.
        shards: how many there are.
    """

    def __init__(self, folder: str, shards: int) -> None:
        # Of an unused name: the worker before may have died in the middle of its own.
        self._file = os.path.join(folder, f"{uuid.uuid4().hex}.arrow")
        self._shards = shards
        self._waiting: dict[int, list[pa.RecordBatch]] = {}
        self._bytes = 0
        self._written: list[int] = []  # the shard of each batch
        self._stream: Any = None
        self._writer: Any = None

    def add(self, rows: pa.RecordBatch, hashed: NDArray[Any]) -> None:
        """Takes rows, each for the shard that its hash says; uint64 (n,)."""
        if not rows.num_rows:
            return
        shard = (hashed % np.uint64(self._shards)).astype(np.int64)
        order = np.argsort(shard, kind="stable")
        found, starts = np.unique(shard[order], return_index=True)
        ordered = rows.take(pa.array(order))
        for number, begin, end in zip(found.tolist(), starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
            self._waiting.setdefault(number, []).append(ordered.slice(begin, end - begin))
        self._bytes += ordered.nbytes
        if self._bytes >= BUFFER_BYTES:
            self._flush()

    def close(self) -> dict[int, Part]:
        """Writes what waits; what each shard has. Shards without rows have nothing, and no rows no file."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._stream.close()
        batches: dict[int, list[int]] = {}
        for batch, shard in enumerate(self._written):
            batches.setdefault(shard, []).append(batch)
        return {shard: Part(self._file, tuple(numbers)) for shard, numbers in batches.items()}

    def _flush(self) -> None:
        for shard, batches in self._waiting.items():
            (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
            if self._writer is None:
                self._stream = folders.open_output(self._file)
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                self._writer = pa.ipc.new_file(self._stream, batch.schema, options=options)
            self._writer.write_batch(batch)
            self._written.append(shard)
        self._waiting, self._bytes = {}, 0


def read_shard(parts: Iterable[Part], schema: pa.Schema) -> pa.Table:
    """All rows of a shard; an empty table of `schema` where there are none.

    Raises:
        DataError: if a file cannot be read.
    """
    batches = []
    for part in sorted(parts):
        try:
            with folders.open_input(part.file) as stream:
                reader = pa.ipc.open_file(stream)
                batches += [reader.get_batch(number) for number in part.batches]
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"cannot read {part.file}, which ingest wrote: {error}") from error
    return pa.Table.from_batches(batches, schema).combine_chunks()
