"""Bytes of a plain or compressed file, in chunks of bounded size, as far as they can be had."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

from features.logs.files import open_bytes
from features.paths import without_options

CHUNK = 8 << 20
"""Bytes of text handed on at once."""
_READ = 64 << 10
_NOTHING = "a compressed file of 0 bytes: even one of no rows has a head"


class DamagedFileError(Exception):
    """A part of a file cannot be read; all that could be had before was handed on.

    `reason` is ``truncated_file`` or ``corrupt_file``; of a part whose rows are known, ``unreadable_file``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def chunks(file: str, size: int = CHUNK, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Reads a file, decompressed by its suffix (.gz, .bz2, .xz, .zst; anything else is plain).

    Args:
        file: path of the file.
        size: bytes of a chunk, about.
        begin: first byte that is read of a plain file.
        end: behind the last byte that is read of a plain file; None: to its end.

    Raises:
        DamagedFileError: after everything before the damage was yielded.
        DataError: if the file cannot be opened, or the store that it lies in stops answering.
    """
    name = without_options(file)
    with open_bytes(file) as stream:
        if name.endswith(".zst"):
            yield from _collect(_zstd_pieces(stream), size)
        elif name.endswith((".gz", ".bz2", ".xz")):
            yield from _collect(_pieces(stream, name, size), size)
        else:
            stream.seek(begin)
            while chunk := stream.read(size if end is None else min(size, end - begin)):
                begin += len(chunk)
                yield chunk


def _collect(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Joins small pieces into chunks of about `size`; what is there is yielded before an error goes on."""
    waiting: list[bytes] = []
    length = 0
    damage: DamagedFileError | None = None
    while True:
        try:
            piece = next(pieces)
        except StopIteration:
            break
        except DamagedFileError as error:
            damage = error
            break
        waiting.append(piece)
        length += len(piece)
        if length >= size:
            yield b"".join(waiting)
            waiting, length = [], 0
    if waiting:
        yield b"".join(waiting)
    if damage is not None:
        raise damage


class _Decoder(Protocol):
    """One compressed member; output of each call is bounded."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def feed(self, data: bytes, limit: int) -> Iterator[bytes]: ...


class _Gzip:
    def __init__(self) -> None:
        self._zlib: Any = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return bool(self._zlib.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._zlib.unused_data)

    def feed(self, data: bytes, limit: int) -> Iterator[bytes]:
        while data and not self.eof:
            before = self._zlib.copy()
            try:
                piece = self._zlib.decompress(data, limit)
            except zlib.error:
                # zlib drops what it had decoded in a failing call: ask again, byte by byte, up to the damage.
                self._zlib = before
                yield from self._byte_by_byte(data)
                raise
            data = self._zlib.unconsumed_tail
            yield piece

    def _byte_by_byte(self, data: bytes) -> Iterator[bytes]:
        for value in data:
            try:
                yield self._zlib.decompress(bytes([value]))
            except zlib.error:
                return


class _Standard:
    """bz2 and lzma share an interface."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._decoder.unused_data)

    def feed(self, data: bytes, limit: int) -> Iterator[bytes]:
        yield self._decoder.decompress(data, limit)
        while not self.eof and not self._decoder.needs_input:
            yield self._decoder.decompress(b"", limit)


def _decoder(file: str) -> _Decoder:
    if file.endswith(".gz"):
        return _Gzip()
    return _Standard(bz2.BZ2Decompressor() if file.endswith(".bz2") else lzma.LZMADecompressor())


def _pieces(stream: BinaryIO, file: str, limit: int) -> Iterator[bytes]:
    """Decodes member after member; padding of zeros after the last one is no damage, a file without any member is."""
    decoder = _decoder(file)
    fresh, members = True, 0
    while data := stream.read(_READ):
        while data:
            if fresh and members and not (data := data.lstrip(b"\0")):
                break
            try:
                yield from decoder.feed(data, limit)
            except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError) as error:
                raise DamagedFileError("corrupt_file", f"damaged after member {members}: {error}") from error
            fresh, data = False, b""
            if decoder.eof:
                data, members = decoder.unused_data, members + 1
                decoder, fresh = _decoder(file), True
    if not fresh:
        raise DamagedFileError("truncated_file", "the compressed data ends before its end mark")
    if not members:
        raise DamagedFileError("truncated_file", _NOTHING)


def _zstd_pieces(stream: BinaryIO) -> Iterator[bytes]:
    is_empty = not stream.read(1)
    stream.seek(0)
    if is_empty:
        raise DamagedFileError("truncated_file", _NOTHING)
    try:
        with pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd") as source:
            while piece := source.read(_READ):
                yield piece
    except OSError as error:
        if error.errno is not None:  # the disk's, not the decoder's
            raise
        reason = "truncated_file" if "Truncated" in str(error) else "corrupt_file"
        raise DamagedFileError(reason, str(error)) from error
