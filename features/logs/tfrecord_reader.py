"""TFRecord of tf.Example as columns, so that what feeds a TFX pipeline today feeds this one: without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.logs.columnar import BATCH_ROWS, rejected
from features.logs.decompress import DamagedFileError, chunks
from features.logs.pieces import Piece
from features.logs.quarantine import RAW_CHARS, RawBatch, text, value_text
from features.logs.values import Fault, batch_of, column_of
from features.spec import Column, Source

BATCH_BYTES = 8 << 20
_HEAD = struct.Struct("<QI")
_FOOT = struct.Struct("<I")
_UNREADABLE = RuntimeError
"""What tfx-bsl raises for bytes that are no tf.Example, and for a feature of two kinds."""


def read_tfrecord(
    piece: Piece, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads one file of tf.Examples, decompressed by its suffix (``.gz`` as TensorFlow's GZIP).

    It is never cut into pieces: nothing in the file says where a record begins, and how many there are before it, but all records before
    it. (Beam's own ``ReadFromTFRecord`` does not split files, either.)

    A feature that an example lacks, or has without a value, is missing. A record whose checksum does not fit is a dead letter
    of its own; where the length of a record is damaged, the rest of the file is one.

    Args:
        piece: the file, always all of it.
        name: its name in dead letters.
        source: asks nothing of this format.
        columns: columns to read.
        optional: makes no difference: every example may lack any feature.

    Yields:
        batches of at most :data:`~features.logs.columnar.BATCH_ROWS` rows.

    Raises:
        DataError: if the system cannot read the file.
    """
    del source, optional
    file = piece.file
    row = 1
    for records, lost in _batches(file):
        yield _decoded(name, records, row, columns)
        row += len(records)
        if lost is not None:
            yield rejected(name, row, 1, lost, lost.reason)
            row += 1


class _LostRecord(DamagedFileError):
    """One record alone."""


def _batches(file: str) -> Iterator[tuple[list[bytes], DamagedFileError | None]]:
    """Records in groups of bounded size, each with what was lost behind it."""
    waiting: list[bytes] = []
    size = 0
    for record in _records(file):
        if isinstance(record, DamagedFileError):
            yield waiting, record
        else:
            waiting.append(record)
            size += len(record)
            if len(waiting) < BATCH_ROWS and size < BATCH_BYTES:
                continue
            yield waiting, None
        waiting, size = [], 0
    if waiting:
        yield waiting, None


def _records(file: str) -> Iterator[bytes | DamagedFileError]:
    """Each record, or what is wrong there; nothing comes after the damage of a file."""
    stream = _Stream(file)
    try:
        while head := stream.take(_HEAD.size):
            length, checksum = _HEAD.unpack(head)
            if _masked(head[:8]) != checksum:
                raise DamagedFileError("corrupt_file", "the checksum of a record's length does not fit")
            body = stream.take(length + _FOOT.size)
            record = body[:length]
            if len(body) < length + _FOOT.size:
                raise DamagedFileError("truncated_file", "the file ends within a record")
            fits = _FOOT.unpack(body[length:])[0] == _masked(record)
            yield record if fits else _LostRecord("bad_checksum", f"a record of {length:,} bytes")
    except DamagedFileError as error:
        yield error


class _Stream:
    """Bytes of a file, as many as are asked for."""

    def __init__(self, file: str) -> None:
        self._chunks = chunks(file)
        self._data, self._at = b"", 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes; nothing at the end of the file.

        Raises:
            DamagedFileError: if the file ends before, or its compressed data are damaged.
        """
        while len(self._data) - self._at < size:
            more = next(self._chunks, b"")
            if not more:
                break
            self._data, self._at = self._data[self._at :] + more, 0
        found = self._data[self._at : self._at + size]
        self._at += len(found)
        if 0 < len(found) < size:
            raise DamagedFileError("truncated_file", "the file ends within a record")
        return found


def _masked(data: bytes) -> int:
    """TFRecord's checksum: CRC-32C, rotated and moved, so that records within records do not deceive."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# -- examples ----------------------------------------------------------------------------------------------------------


def _decoded(name: str, records: Sequence[bytes], first_row: int, columns: Mapping[str, Column]) -> RawBatch:
    arrays: dict[str, pa.Array] = {}
    faults: dict[int, Fault] = {}
    together = _table(records)
    alone = None if together is not None else [_row(record) for record in records]
    for row in [] if alone is None else [row for row, found in enumerate(alone) if found is None]:
        faults[row] = Fault("bad_example")
    for column, spec in columns.items():
        if together is not None:
            features = together.get(column, pa.nulls(len(records), pa.large_list(pa.large_binary())))
            arrays[column], misfits = (features, np.zeros(0, bool)) if spec.is_list else _single(features)
        else:
            assert alone is not None
            features = [None if found is None else found.get(column) for found in alone]
            values = features if spec.is_list else [_value(feature) for feature in features]
            arrays[column], misfits = column_of(values, spec)
        for row in np.flatnonzero(misfits).tolist():
            shown = value_text(features, row) if isinstance(features, pa.Array) else text(features[row])
            faults.setdefault(row, Fault("wrong_shape", column, shown))
    lines = np.full(len(records), -1, dtype=np.int64)
    return batch_of(name, arrays, faults, (first_row, lines), lambda row: text(records[row], RAW_CHARS))


def _table(records: Sequence[bytes]) -> dict[str, pa.Array] | None:
    """Lists of each feature's values; None if a record is no example, or a feature is of one kind here and of another there."""
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    try:
        found = ExamplesToRecordBatchDecoder().DecodeBatch(list(records))
    except _UNREADABLE:
        return None
    nothing = pa.nulls(len(records), pa.large_list(pa.large_binary()))
    return {
        name: nothing if pa.types.is_null(array.type) else array
        for name, array in zip(found.schema.names, found.columns, strict=True)
    }


def _row(record: bytes) -> dict[str, list[Any] | None] | None:
    """The features of one example by itself; None if it is none."""
    found = _table([record])
    return None if found is None else {name: array[0].as_py() for name, array in found.items()}


def _single(lists: pa.Array) -> tuple[pa.Array, NDArray[Any]]:
    """The value of each list of one, null for an empty one, and which have more."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0))
    places = np.cumsum(lengths) - 1
    return lists.flatten().take(pa.array(places, mask=lengths != 1)), lengths > 1


def _value(feature: list[Any] | None) -> Any:
    return feature[0] if feature is not None and len(feature) == 1 else feature or None
