"""Parts of a file that can be read apart from each other, with the numbers that their rows have in the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from features.logs.escapes import over_lines
from features.logs.files import open_bytes, size_of
from features.logs.lines import MARK, Part, blocks
from features.paths import without_options
from features.sources import COMPRESSED
from features.spec import Source

_READ = 1 << 20


class Piece(NamedTuple):
    """Whole rows of a file that follow each other.

    Attributes:
        file: path of the file.
        begin: where it begins: a byte, or in a Parquet file a row group, in an ORC file a stripe.
        end: behind its last one; None: the file's end.
        first_row: number of its first row among the file's data rows, from 1.
        first_line: physical line on which that row begins, from 1.
    """

    file: str
    begin: int = 0
    end: int | None = None
    first_row: int = 1
    first_line: int = 1

    @property
    def part(self) -> Part:
        """Of a text file, for `features.logs.lines.blocks`."""
        return self.begin, self.end, self.first_line


def cut_groups(file: str, groups: Iterable[tuple[int, int]], size: int) -> list[Piece]:
    """A file in pieces of whole groups of rows, by their positions: row groups of Parquet, stripes of ORC.

    Args:
        file: path of the file.
        groups: rows and bytes of each, as the file's footer says.
        size: bytes of a piece, at least; the last one may have fewer.
    """
    pieces, begin, first_row = [], 0, 1
    rows = held = 0
    for group, (more_rows, more_bytes) in enumerate(groups):
        if held >= size and group > begin:
            pieces.append(Piece(file, begin, group, first_row))
            begin, first_row, rows, held = group, first_row + rows, 0, 0
        rows, held = rows + more_rows, held + more_bytes
    return [*pieces, Piece(file, begin, None, first_row)]


def cut_lines(file: str, source: Source, size: int, width: int = 1) -> list[Piece]:
    """A plain text file in pieces of about `size` bytes; a compressed or small one as a whole.

    Read one after the other, the pieces give the rows, numbers and rejects of the whole file. Where a value may go over
    several lines, the file is gone through row by row for that; else line ends are counted.

    Args:
        file: path of the file.
        source: how it is written.
        size: bytes of a piece, at least.
        width: fields of a row, as of `features.logs.lines.blocks`.
    """
    if without_options(file).endswith(COMPRESSED) or size_of(file) <= size:
        return [Piece(file)]
    ends = _ends_of_rows(file, source, size, width) if over_lines(source) else _ends_of_lines(file, size)
    header = int(source.format == "csv" and source.header)
    pieces, begin, rows, lines = [], 0, 0, 0
    for end, more_rows, more_lines in ends:
        pieces.append(Piece(file, begin, end, *_first(rows, lines, header)))
        begin, rows, lines = end, rows + more_rows, lines + more_lines
    return [*pieces, Piece(file, begin, None, *_first(rows, lines, header))]


def _first(rows: int, lines: int, header: int) -> tuple[int, int]:
    """Numbers of the row behind so many rows and lines of a file, its header among them."""
    return max(1, rows + 1 - header), lines + 1


def _ends_of_lines(file: str, size: int) -> Iterator[tuple[int, int, int]]:
    """Where pieces end, and the rows and lines of each: behind a line that is not blank, for blank ones at the end are no rows."""
    total, begin = size_of(file), 0
    with open_bytes(file) as stream:
        while total - begin > size:
            end = _end_of_line(stream, begin + size)
            if end is None or end >= total:
                return
            lines = _count_lines(stream, begin, end)
            yield end, lines, lines
            begin = end


def _end_of_line(stream: BinaryIO, place: int) -> int | None:
    """Behind the first line that ends at `place` or later and is not blank; None if there is none."""
    at = max(0, place - len(MARK + b"\r\n"))
    stream.seek(at)
    data = b""
    while more := stream.read(_READ):
        data += more
        found = data.find(b"\n", place - 1 - at)
        while found >= 0:
            if not _is_blank(data, found, at == 0):
                return at + found + 1
            found = data.find(b"\n", found + 1)
        keep = max(0, len(data) - 2)
        place = max(place, at + len(data) + 1)
        at, data = at + keep, data[keep:]
    return None


def _is_blank(data: bytes, end: int, from_start: bool) -> bool:
    """Whether the line that ends at `end` is blank; `from_start`: `data` begins where the file does, perhaps with a mark."""
    before = data[max(0, end - 2) : end + 1].endswith((b"\n\n", b"\n\r\n"))
    return before or (from_start and not data[: end + 1].removeprefix(MARK).strip(b"\r\n"))


def _count_lines(stream: BinaryIO, begin: int, end: int) -> int:
    stream.seek(begin)
    count = 0
    while begin < end:
        data = stream.read(min(_READ, end - begin))
        count += data.count(b"\n")
        begin += len(data)
    return count


def _ends_of_rows(file: str, source: Source, size: int, width: int) -> Iterator[tuple[int, int, int]]:
    """As `_ends_of_lines`, for rows over several lines: where a block of them ends."""
    total, begin, rows, line = size_of(file), 0, 0, 1
    for block in blocks(file, source, width):
        rows += len(block.starts)
        blank = not len(block.starts) or not block.raw(-1)
        if block.stop - begin >= size and block.stop < total and not blank:
            yield block.stop, rows, block.next_line - line
            begin, rows, line = block.stop, 0, block.next_line
