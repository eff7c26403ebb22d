"""JSON Lines, one object a line, as columns: a line that is no JSON object is set aside alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from features.logs.decompress import CHUNK
from features.logs.lines import Block, blocks
from features.logs.pieces import Piece, cut_lines
from features.logs.quarantine import RAW_CHARS, RawBatch, Reject, text
from features.logs.values import Fault, batch_of, by_column, column_of
from features.spec import Column, Source


def read_jsonl(
    piece: Piece,
    name: str,
    source: Source,
    columns: Mapping[str, Column],
    optional: Collection[str] = (),
    chunk_bytes: int = CHUNK,
) -> Iterator[RawBatch]:
    """Reads one file of JSON objects, or a piece of one, decompressed by its suffix, in blocks of bounded size.

    A key that a row lacks is a missing value, as null is. true and false are 1 and 0. Of a key that a row has twice the last
    counts. Keys that `columns` does not name are not read.

    Args:
        piece: the file, or a part of it.
        name: its name in dead letters.
        source: how it is written; ``max_field_bytes`` counts here, too.
        columns: columns to read.
        optional: makes no difference: every row may lack any key.
        chunk_bytes: about the size of a block.

    Yields:
        batches with numbers, texts, or lists of them.

    Raises:
        DataError: if the system cannot read the file.
    """
    del optional
    row = piece.first_row
    by_line = source.model_copy(update={"newlines_in_values": False})
    for block in blocks(piece.file, by_line, chunk_bytes=chunk_bytes, part=piece.part):
        batch = _batch(name, block, row, columns)
        row += batch.rows_read
        yield batch


def cut_jsonl(file: str, source: Source, columns: Iterable[str], size: int) -> list[Piece]:
    """A file in pieces of about `size` bytes (`features.logs.pieces.cut_lines`)."""
    del columns
    return cut_lines(file, source, size)


def _batch(name: str, block: Block, first_row: int, columns: Mapping[str, Column]) -> RawBatch:
    if block.damage is not None:
        line, damage = int(block.lines[0]), block.damage
        lost = Reject(name, first_row, line, "", damage.reason, text(damage), text(block.data, RAW_CHARS))
        return RawBatch(name, {}, block.starts, block.starts, lambda _: "", [lost])
    faults = {row: Fault(reason) for row, reason in block.flagged.items()}
    objects = (
        parsed(line, row, faults) if row not in faults else None
        for row, line in enumerate(block.data[:-1].split(b"\n"))
    )
    arrays = columns_of(objects, columns, faults)
    return batch_of(name, arrays, faults, (first_row, block.lines), lambda row: text(block.raw(row), RAW_CHARS))


def columns_of(
    objects: Iterable[dict[str, Any] | None], columns: Mapping[str, Column], faults: dict[int, Fault]
) -> dict[str, pa.Array]:
    """The columns of JSON objects, one a row, None without values; adds rows with a value of another shape to `faults`."""
    arrays, found = {}, by_column(objects, columns)
    for column, spec in columns.items():
        values = found.pop(column)
        arrays[column], misfits = column_of(values, spec)
        for row in np.flatnonzero(misfits).tolist():
            faults.setdefault(row, Fault("wrong_shape", column, text(values[row])))
    return arrays


def parsed(line: bytes, row: int, faults: dict[int, Fault]) -> dict[str, Any] | None:
    """The object of one line; None, and a fault of `row`, if it is none."""
    if not line.strip():
        faults[row] = Fault("blank_line")
        return None
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        faults[row] = Fault("bad_json", value=text(error))
        return None
    if not isinstance(found, dict):
        faults[row] = Fault("bad_json", value="not an object")
        return None
    return found
