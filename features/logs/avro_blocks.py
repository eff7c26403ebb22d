"""An Avro file as its blocks, and the stretches between them that cannot be read.

A file is a header (schema, codec, a marker of 16 bytes of its own) and blocks: the number of rows and of bytes, the
rows, compressed together, and the marker. After damage, reading goes on behind the next marker.

Blocks are found from the header on, each where the one before says that it ends and the marker stands; the bytes inside a block are
never searched. A row that holds the marker is therefore a row like any other, in a whole file and in pieces. Only behind damage the
marker is searched for, and one inside the rows of a damaged block, which are not told from what lies between blocks, would be taken for
a block's end: by chance never (2**-128 a byte), and a row can hold it by intent only if it was written after the file was begun, for
the writer draws the marker then. What follows it is noticed, and refused as ``corrupt_file``, unless it is made like a block, ended by
the marker again; the damage before it is refused in any case, so that such a file counts as damaged.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
from fastavro import schemaless_reader

from features.logs.decompress import DamagedFileError

_MARKER_BYTES = 16
_HEADER = {
    "type": "record",
    "name": "Header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": _MARKER_BYTES}},
    ],
}
_MAGIC = b"Obj\x01"
_MOST_HEADER_BYTES = 4 << 20
_LONG_BYTES = 10
_SEARCHED_BYTES = 1 << 20
_MOST_SNAPPY_EXPANSION = 64
_MOST_ROWS_A_BYTE = 1100
"""Of compressed data: deflate packs no better."""


class AvroHeader(NamedTuple):
    """What an Avro file says of itself.

    Attributes:
        schema: of a row, as JSON gives it.
        codec: how blocks are compressed; ``null``: they are not.
        marker: 16 bytes, after every block.
        end: offset of the first block.
    """

    schema: Any
    codec: str
    marker: bytes
    end: int


class AvroSpan(NamedTuple):
    """A stretch of a file that ends with a marker, or with the file.

    Attributes:
        end: where it ends.
        rows: how many, as the file says; 1 where nobody knows.
        begin: offset of the rows' bytes.
        length: of these, compressed.
        damage: why it is no block; None: it is one.
    """

    end: int
    rows: int
    begin: int = 0
    length: int = 0
    damage: DamagedFileError | None = None


class AvroBlock(NamedTuple):
    """Rows that are compressed together.

    Attributes:
        rows: how many, as the file says.
        data: their bytes, compressed.
    """

    rows: int
    data: bytes


def read_header(stream: BinaryIO) -> AvroHeader:
    """Reads what stands before the first block.

    Raises:
        Exception: whatever fastavro or json make of bytes that are no header, see `features.logs.avro_reader`.
    """
    beginning = io.BytesIO(stream.read(_MOST_HEADER_BYTES))  # bounded, whatever lengths a damaged header names
    header: Any = schemaless_reader(beginning, _HEADER, None)
    if header["magic"] != _MAGIC:
        raise ValueError(f"the file begins with {header['magic']!r}; an Avro file begins with {_MAGIC!r}")
    meta = header["meta"]
    codec = meta.get("avro.codec", b"null").decode()
    return AvroHeader(json.loads(meta["avro.schema"]), codec, header["sync"], beginning.tell())


def read_blocks(
    stream: BinaryIO, header: AvroHeader, begin: int = 0, end: int | None = None
) -> Iterator[AvroBlock | DamagedFileError]:
    """Reads block after block; one is as large as its writer made it. Arguments as of :func:`find_spans`.

    Yields:
        the blocks, and an error for each stretch that is none: ``truncated_file`` if the file ends in it,
        ``corrupt_file`` else. A file cut exactly between two blocks shows no damage: Avro has no end mark.
    """
    for span in find_spans(stream, header, begin, end):
        if span.damage is not None:
            yield span.damage
        else:
            stream.seek(span.begin)
            yield AvroBlock(span.rows, stream.read(span.length))


def find_spans(stream: BinaryIO, header: AvroHeader, begin: int = 0, end: int | None = None) -> Iterator[AvroSpan]:
    """Goes from block to block, and loads none; each begins where the one before ended.

    Args:
        stream: the whole file.
        header: of it.
        begin: 0, or where a span ends.
        end: where a later one ends; None: the file's end.
    """
    size = stream.seek(0, os.SEEK_END)
    at, end = max(begin, header.end), size if end is None else end
    while at < end:
        try:
            span = _span_at(stream, at, size, header.marker)
        except DamagedFileError as error:
            found = _find(stream, header.marker, at)
            reason = error.reason if found is None else "corrupt_file"
            damage = DamagedFileError(reason, f"the block at byte {at}: {error}")
            span = AvroSpan(size if found is None else found + _MARKER_BYTES, 1, damage=damage)
        yield span
        at = span.end


def is_credible(codec: str, rows: int, length: int) -> bool:
    """Whether so many bytes of a block, compressed, can hold so many rows: then rows behind it are numbered as if it did."""
    return rows <= length * (1 if codec == "null" else _MOST_ROWS_A_BYTE)


def _span_at(stream: BinaryIO, at: int, size: int, marker: bytes) -> AvroSpan:
    """The block that begins at byte `at` of `size`.

    Raises:
        DamagedFileError: if the marker does not stand where the block says that it ends.
    """
    stream.seek(at)
    numbers = stream.read(2 * _LONG_BYTES)
    rows, used = _long(numbers, 0)
    length, used = _long(numbers, used)
    end = at + used + length + _MARKER_BYTES
    if rows < 0 or length < 0:
        raise DamagedFileError("corrupt_file", f"it says that it has {rows} rows in {length} bytes")
    if end > size:
        raise DamagedFileError("truncated_file", f"it ends at byte {end} of a file of {size}")
    stream.seek(end - _MARKER_BYTES)
    if stream.read(_MARKER_BYTES) != marker:
        raise DamagedFileError("corrupt_file", f"no marker before byte {end}, where it ends")
    return AvroSpan(end, rows, at + used, length)


def _long(data: bytes, at: int) -> tuple[int, int]:
    """Avro's integer (zigzag, 7 bits a byte, lowest first) at `at`, and where it ends.

    Raises:
        DamagedFileError: if it has no end.
    """
    value = 0
    for index, byte in enumerate(data[at : at + _LONG_BYTES]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return (value >> 1) ^ -(value & 1), at + index + 1
    reason = "truncated_file" if len(data) < at + _LONG_BYTES else "corrupt_file"
    raise DamagedFileError(reason, "its number of rows or bytes has no end")


def _find(stream: BinaryIO, marker: bytes, at: int) -> int | None:
    """Offset of the first marker from byte `at` on; None if there is none. Holds :data:`_SEARCHED_BYTES` at a time."""
    stream.seek(at)
    kept = b""
    while data := stream.read(_SEARCHED_BYTES):
        window = kept + data
        if (found := window.find(marker)) >= 0:
            return at - len(kept) + found
        at += len(data)
        kept = window[-(_MARKER_BYTES - 1) :]
    return None


# -- codecs -----------------------------------------------------------------------------------------------------


def _deflate(data: bytes) -> bytes:
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    rows = decoder.decompress(data) + decoder.flush()
    if not decoder.eof:
        raise ValueError("the block's compressed data has no end")
    return rows  # fastavro leaves a part of zlib's checksum behind the end


def _snappy(data: bytes) -> bytes:
    packed, checksum = data[:-4], data[-4:]
    length = 0
    for index, byte in enumerate(packed[:5]):
        length |= (byte & 127) << (7 * index)
        if byte < 128:
            break
    if length > _MOST_SNAPPY_EXPANSION * len(packed):
        raise ValueError(f"{len(packed)} compressed bytes are said to be {length} bytes")
    rows = bytes(pa.decompress(packed, decompressed_size=length, codec="snappy", asbytes=True))
    if zlib.crc32(rows) != int.from_bytes(checksum, "big"):
        raise ValueError("the block's checksum is another")
    return rows


def _zstandard(data: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        return bytes(stream.read())


CODECS: Mapping[str, Callable[[bytes], bytes]] = {
    "null": lambda data: data,
    "deflate": _deflate,
    "snappy": _snappy,
    "bzip2": bz2.decompress,
    "xz": lzma.decompress,
    "zstandard": _zstandard,
}
"""A block's bytes, decompressed. Only ``snappy``, ``bzip2`` and ``xz`` have checksums: with the others, a changed byte may
be a changed value that nobody can tell from a good one."""
