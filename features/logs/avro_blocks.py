"""An Avro file as its blocks, and the stretches between them that cannot be read.

A file is a header (schema, codec, a marker of 16 bytes of its own) and blocks: the number of rows and of bytes, the
rows, compressed together, and the marker. After damage, reading goes on behind the next marker.
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


def read_blocks(stream: BinaryIO, header: AvroHeader) -> Iterator[AvroBlock | DamagedFileError]:
    """Reads block after block; one is as large as its writer made it.

    Yields:
        the blocks, and an error for each stretch that is none: ``truncated_file`` if the file ends in it,
        ``corrupt_file`` else. A file cut exactly between two blocks shows no damage: Avro has no end mark.
    """
    size = stream.seek(0, os.SEEK_END)
    at = header.end
    while at < size:
        try:
            block, end = _block_at(stream, at, size, header.marker)
        except DamagedFileError as error:
            found = _find(stream, header.marker, at)
            reason = error.reason if found is None else "corrupt_file"
            yield DamagedFileError(reason, f"the block at byte {at}: {error}")
            end = size if found is None else found + _MARKER_BYTES
        else:
            yield block
        at = end


def _block_at(stream: BinaryIO, at: int, size: int, marker: bytes) -> tuple[AvroBlock, int]:
    """The block that begins at byte `at` of `size`, and where it ends.

    Raises:
        DamagedFileError: if the marker does not stand where the block says that it ends. Nothing is loaded before that is known.
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
    stream.seek(at + used)
    return AvroBlock(rows, stream.read(length)), end


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
