"""A text file as blocks of whole rows: bounded memory, whatever the file holds."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.logs.decompress import CHUNK, DamagedFileError, chunks
from features.logs.escapes import open_at_end, over_lines, without_meaning
from features.logs.quarantine import RAW_CHARS
from features.spec import Source

_BLANKS_CARRIED = 64 << 10
_WINDOW = 64 << 10
_LF = 10
_BLANKS = re.compile(rb"(?:\r?\n)*")
_ASCII = 127
Part = tuple[int, int | None, int]
LOGGER = logging.getLogger(__name__)
MARK = b"\xef\xbb\xbf"
"""The byte order mark, which some put before UTF-8."""


@dataclass
class Block:
    """Whole rows of a file, as bytes.

    Attributes:
        data: the bytes; every row ends with a line feed.
        starts: int64 (rows,), offset of each row's first byte.
        ends: int64 (rows,), offset of its line feed.
        lines: int64 (rows,), 1-based physical line on which it begins.
        flagged: rows already known to be bad, by position, with the reason.
        stop: byte of the (decompressed) file behind the last row.
        next_line: physical line that begins there.
        damage: the file ends here before its time; there are no rows, `data` is the unfinished one on line ``lines[0]``.
        plain: `data` without the meaning of what is escaped; None where nothing is.
    """

    data: bytes
    starts: NDArray[Any]
    ends: NDArray[Any]
    lines: NDArray[Any]
    stop: int
    next_line: int
    flagged: dict[int, str] = field(default_factory=dict)
    damage: DamagedFileError | None = None
    plain: bytes | None = None

    @property
    def structure(self) -> bytes:
        """Where delimiters, quotes and line breaks are looked for."""
        return self.data if self.plain is None else self.plain

    def raw(self, index: int) -> bytes:
        """At most ``RAW_CHARS * 4`` bytes of a row, without its line break."""
        start, end = int(self.starts[index]), int(self.ends[index])
        return self.data[start : min(end, start + RAW_CHARS * 4)].rstrip(b"\r")

    def in_utf8(self, encoding: str) -> Block:
        """The same rows, of another encoding in which ASCII is one byte a character; `stop` stays a byte of the file."""
        if encoding == "utf-8" or self.data.isascii():
            return self
        # Latin-1, whose upper half becomes two bytes a character.
        more = np.concatenate([[0], np.cumsum(np.frombuffer(self.data, dtype=np.uint8) > _ASCII, dtype=np.int64)])
        data = self.data.decode(encoding).encode("utf-8")
        return replace(self, data=data, starts=self.starts + more[self.starts], ends=self.ends + more[self.ends])


def line_limit(source: Source) -> int:
    """A row of more bytes than this is refused without being loaded."""
    return max(64 * source.max_field_bytes, 1 << 20)


def blocks(
    file: str, source: Source, width: int = 1, chunk_bytes: int = CHUNK, part: Part = (0, None, 1)
) -> Iterator[Block]:
    """Splits a file into blocks of whole rows, the header among them.

    Blank lines at the end of the file are no rows. A byte order mark of UTF-8 is dropped. A row that is longer than
    :func:`line_limit` is cut to a stub and flagged ``oversized_field``; the rest of it is skipped as it streams by. With
    `source.newlines_in_values`, a line feed inside quotes, or behind an escape, belongs to its row, and a quote that is never
    closed (``unbalanced_quote``), or an escape that ends a line by mistake (``open_escape``), flags its own line only: reading goes
    on with the next line.

    Args:
        file: the file.
        source: how it is written.
        width: fields of a row; only asked for with `source.newlines_in_values`, to tell a row over several lines from
            a stray quote.
        chunk_bytes: about the size of a block.
        part: bytes of a plain file, from and to, between which whole rows lie, and the first one's line; by default all of it.

    Raises:
        DataError: if the file cannot be opened.
    """
    begin, end, line = part
    splitter = _Splitter(source, width, begin, line)
    damage: DamagedFileError | None = None
    try:
        for chunk in chunks(file, chunk_bytes, begin, end):
            yield from splitter.feed(chunk)
    except DamagedFileError as error:
        damage = error
    yield from splitter.finish(damage)


class _Splitter:
    """Carries an unfinished row from chunk to chunk."""

    def __init__(self, source: Source, width: int, begin: int, line: int) -> None:
        self._limit = line_limit(source)
        self._source = source
        self._over_lines = over_lines(source)
        self._quote = source.quote.encode()
        self._strict = _strict_row(source, width) if self._over_lines else None
        self._window = sys.maxsize
        self._carry = b""
        self._base = begin  # where in the file the carry begins
        self._line = line
        self._skipped = 0
        self._begun = begin > 0 or source.encoding != "utf-8"

    def feed(self, chunk: bytes) -> Iterator[Block]:
        """Whole rows of what was carried and `chunk`."""
        if self._skipped:
            end = chunk.find(b"\n")
            if end < 0:
                self._skipped += len(chunk)
                return
            yield self._stub(self._skipped + end)
            chunk = chunk[end + 1 :]
        # Where every line feed ends a row, what follows the last one is not copied to and fro.
        end = chunk.rfind(b"\n") + 1 if self._begun and not self._over_lines else len(chunk)
        data = self._carry + chunk if end == len(chunk) else b"".join([self._carry, memoryview(chunk)[:end]])
        if not self._begun and len(data) >= len(MARK):
            data = self._without_mark(data)
        used = yield from self._rows(data, last=False)
        self._base += used
        data = data[used:] + chunk[end:]
        if len(data) > self._limit:
            self._skipped, data = len(data), data[: RAW_CHARS * 4]
        self._carry = data

    def _without_mark(self, data: bytes) -> bytes:
        if data.startswith(MARK):
            self._base += len(MARK)
        self._begun = True
        return data.removeprefix(MARK)

    def finish(self, damage: DamagedFileError | None) -> Iterator[Block]:
        """The last row, which may lack its line feed, or the damage that ended the file."""
        if self._skipped:
            yield self._stub(self._skipped)
        data = self._carry if self._begun else self._without_mark(self._carry)
        if damage is not None:
            nothing = np.zeros(0, dtype=np.int64)
            yield Block(data, nothing, nothing, np.array([self._line]), self._base, self._line, damage=damage)
            return
        data = data if data.endswith(b"\n") else data + b"\n"
        yield from self._rows(data[: _without_trailing_blanks(self._plain(data), len(data))], last=True)

    def _plain(self, data: bytes) -> bytes:
        """Where line feeds and quotes are looked for, of bytes that begin with a row."""
        return without_meaning(data, self._source) if self._over_lines else data

    def _rows(self, data: bytes, last: bool) -> Generator[Block, None, int]:
        """Yields the whole rows at the beginning of `data`; returns how many bytes they took."""
        at = 0
        while at < len(data) and not (last and at and _BLANKS.fullmatch(data, at)):
            piece = data if not at and self._window >= len(data) else data[at : at + self._window]
            block, used = self._cut(piece, last, self._base + at)
            if not used and len(piece) < len(data) - at:
                self._window *= 2
                continue
            if (
                not used
                and self._over_lines
                and (last or len(piece) > self._limit)
                and 0 <= piece.find(b"\n") < self._limit
            ):
                block, used = self._first_line(piece, self._base + at)
            if block is not None:
                yield block
            at += used
            if not used:
                break
        return at

    def _cut(self, data: bytes, last: bool, base: int) -> tuple[Block | None, int]:
        """The whole rows at the beginning of `data`, which begins at byte `base` of the file, and how many bytes they take."""
        newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == _LF)
        if not len(newlines):
            return None, 0
        closing, plain = np.arange(len(newlines)), self._plain(data)
        if self._over_lines and (plain is not data or (self._quote and self._quote in data)):
            codes = np.frombuffer(plain, dtype=np.uint8)
            ends = codes[newlines] == _LF
            if self._quote:
                ends &= np.cumsum(codes == self._quote[0], dtype=np.int64)[newlines] & 1 == 0
            closing = np.flatnonzero(ends)
            if (fault := self._first_fault(plain, newlines, closing)) is not None:
                self._window = _WINDOW
                if fault == 0:
                    return self._first_line(data, base)
                closing = closing[:fault]
            else:
                self._window = min(2 * self._window, sys.maxsize)
            if not len(closing):
                return None, 0
        end = int(newlines[closing[-1]]) + 1
        if not last:
            end = _without_trailing_blanks(plain, end)
            closing = closing[newlines[closing] < end]
        if not len(closing):
            return None, 0
        ends = newlines[closing]
        lines = np.concatenate([[0], closing[:-1] + 1]) + self._line
        self._line += int(closing[-1]) + 1
        return Block(data[:end], np.concatenate([[0], ends[:-1] + 1]), ends, lines, base + end, self._line), end

    def _first_fault(self, plain: bytes, newlines: NDArray[Any], closing: NDArray[Any]) -> int | None:
        """Position of the first row over several lines that is no well-formed row: a stray quote, or escape, opened it."""
        assert self._strict is not None
        for row in np.flatnonzero(np.diff(closing, prepend=-1) > 1).tolist():
            start = int(newlines[closing[row - 1]]) + 1 if row else 0
            if self._strict.fullmatch(plain, start, int(newlines[closing[row]])) is None:
                return int(row)
        return None

    def _first_line(self, data: bytes, base: int) -> tuple[Block, int]:
        """The first physical line alone, refused: its quote is never closed, or an escape ends it."""
        end = data.find(b"\n")
        is_escape = len(open_at_end(data[: end + 1], np.array([end]), self._source)) > 0
        line, self._line = np.array([self._line]), self._line + 1
        flagged = {0: "open_escape" if is_escape else "unbalanced_quote"}
        return Block(
            data[: end + 1], np.array([0]), np.array([end]), line, base + end + 1, self._line, flagged
        ), end + 1

    def _stub(self, length: int) -> Block:
        """What was kept of a row that was too long to load."""
        data = self._carry + b"\n"
        LOGGER.warning("line %d has %d bytes; it was skipped", self._line, length)
        line, self._line = np.array([self._line]), self._line + 1
        self._base += length + 1
        flagged = {0: "oversized_field"}
        block = Block(data, np.array([0]), np.array([len(data) - 1]), line, self._base, self._line, flagged)
        self._carry, self._skipped = b"", 0
        return block


def _strict_row(source: Source, width: int) -> re.Pattern[bytes]:
    """A row of `width` fields, without what is escaped, in which every quote opens, closes or is doubled inside a quoted field."""
    quote, delimiter = re.escape(source.quote.encode()), re.escape(source.delimiter.encode())
    one = (b"(?:Q[^Q]*(?:QQ[^Q]*)*Q|[^QD\n]*)" if quote else b"[^D\n]*").replace(b"Q", quote).replace(b"D", delimiter)
    return re.compile(one + b"(?:" + delimiter + one + b"){" + str(width - 1).encode() + b"}\r?")


def _without_trailing_blanks(data: bytes, end: int) -> int:
    """Leaves blank lines at the end of `data` to the next block: at the end of the file they are no rows."""
    at = end
    while at and end - at < _BLANKS_CARRIED:
        if data[at - 1] == _LF and (at == 1 or data[at - 2] == _LF):
            at -= 1
        elif data[at - 2 : at] == b"\r\n" and (at == 2 or data[at - 3] == _LF):
            at -= 2
        else:
            return at
    return end if at else 0
