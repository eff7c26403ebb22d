"""CSV of any health as columns of bytes: what cannot be parsed is set aside before it can harm its neighbours."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from features.columns import one_chunk
from features.errors import ConfigError, DataError
from features.logs.columnar import near_columns
from features.logs.decompress import CHUNK, DamagedFileError, chunks
from features.logs.escapes import open_at_end, with_nulls, without_meaning
from features.logs.lines import MARK, Block, blocks, line_limit
from features.logs.pieces import Piece, cut_lines
from features.logs.quarantine import RAW_CHARS, RawBatch, Reject, text
from features.logs.wide_delimiter import lines_of, split_fields
from features.sources import written_as
from features.spec import Column, Source

LOGGER = logging.getLogger(__name__)
_CR = 13
MOST_CHARACTERS = 8
"""Of a delimiter."""
_DELIMITERS = (",", ";", "\t", "|")
"""That a header is tried with which lacks columns."""


def check_source(source: Source) -> None:
    """Refuses separators that a CSV reader cannot work with.

    Raises:
        ConfigError: if the delimiter, the quote or the escape is not one ASCII character (the latter two may be empty: none), or the
            delimiter has several and there is a quote or an escape.
    """
    signs = {"delimiter": source.delimiter, "quote": source.quote, "escape": source.escape}
    for what, value in signs.items():
        least = int(what == "delimiter")
        most = MOST_CHARACTERS if what == "delimiter" and not source.quote + source.escape else 1
        if not value.isascii() or not least <= len(value) <= most or set(value) & set("\n\r"):
            raise ConfigError(
                f"source {what} {value!r}: allowed is one ASCII character that ends no line"
                + (f", or up to {MOST_CHARACTERS} where quote and escape are empty" if what == "delimiter" else "")
            )
    for missing in source.null_values if source.escape else ():
        is_letter = len(missing) == 2 and missing[0] == source.escape != missing[1] and missing.isascii()
        if source.escape in missing and not (is_letter and not source.strip_spaces):
            raise ConfigError(
                f"source null value {missing!r} has the escape {source.escape!r}; allowed: it and one ASCII letter, where `strip_spaces` is false"
            )
    for one, other in itertools.combinations(signs, 2):
        if signs[one] == signs[other] != "":
            raise ConfigError(
                f"source {one} and {other} are both {signs[one]!r}; they must differ"
                + (" (a quote that is written twice needs no escape)" if one == "quote" else "")
            )


def header_of(file: str, source: Source) -> list[str] | None:
    """Names in the first line of a file; None if the file is empty or its compressed data breaks off before them."""
    data = b""
    try:
        for chunk in chunks(file, 64 << 10):
            data += chunk
            if b"\n" in chunk or len(data) > line_limit(source):
                break
    except DamagedFileError:
        if b"\n" not in data:
            return None
    data = data.removeprefix(MARK) if source.encoding == "utf-8" else data
    if not data:
        return None
    line = data.split(b"\n", 1)[0].rstrip(b"\r")
    line_text = line.decode(source.encoding, errors="replace").replace("\0", "�").replace("\r", "�")
    return _header_names(file, line_text, source)


def _header_names(file: str, line: str, source: Source) -> list[str]:
    names = line.split(source.delimiter)
    if (source.quote and source.quote in line) or (source.escape and source.escape in line):
        try:
            names = next(
                csv.reader(
                    [line],
                    delimiter=source.delimiter,
                    quotechar=source.quote or None,
                    quoting=csv.QUOTE_MINIMAL if source.quote else csv.QUOTE_NONE,
                    escapechar=source.escape or None,
                )
            )
        except csv.Error:
            LOGGER.warning("%s: the header is not well quoted", file)
    return [name.strip() for name in names] if source.strip_spaces else names


def _positions(
    name: str, names: Sequence[str], columns: Mapping[str, Column], optional: Collection[str], source: Source
) -> dict[str, int]:
    """Where each wanted column stands in the file."""
    missing = [column for column in columns if column not in names and column not in optional]
    if missing:
        guessed = (
            "" if written_as(name) else "; it is read as csv, for its name says nothing: set `format` if it is none"
        )
        hint = _other_delimiter(source.delimiter.join(names), missing, source.quote)
        if not hint and not _has_personal(columns):
            hint = near_columns(missing, names, columns)
        raise DataError(
            f"{name}: the header lacks {', '.join(missing)}; columns present: {_shown(names, columns)}{guessed}{hint}"
        )
    if several := [f"'{column}' {names.count(column)} times" for column in columns if names.count(column) > 1]:
        raise DataError(
            f"{name}: the header names column {', '.join(several)}; columns present: {_shown(names, columns)}"
        )
    return {column: names.index(column) for column in columns if column in names}


def _other_delimiter(header: str, missing: Sequence[str], quote: str) -> str:
    """What to say where another delimiter finds in a header all that it lacks; it names columns of the spec alone."""
    for delimiter in _DELIMITERS:
        if set(missing) <= {field.strip().strip(quote) for field in header.split(delimiter)}:
            return f"; with `delimiter: {json.dumps(delimiter)}` of the source it has them"
    return ""


def _has_personal(columns: Mapping[str, Column]) -> bool:
    return any(column.personal is not None for column in columns.values())


def _shown(names: Sequence[str], columns: Mapping[str, Column]) -> str:
    """The header's names as a message may show them: a file that lacks its header line has a row of data in its place."""
    known = names
    if _has_personal(columns):
        known = [name for name in names if name in columns]
    shown = ", ".join(text(name, 60) for name in known[:60])
    if not (others := len(names) - len(known)):
        return shown
    return f"{shown}{' and ' if shown else ''}{others} others (not shown: the spec has personal columns)"


def read_csv(
    piece: Piece,
    name: str,
    source: Source,
    columns: Mapping[str, Column],
    optional: Collection[str] = (),
    chunk_bytes: int = CHUNK,
) -> Iterator[RawBatch]:
    """Reads one CSV file, or a piece of one, in blocks of bounded size.

    Args:
        piece: the file, or a part of it.
        name: its name in dead letters.
        source: how it is written.
        columns: columns to read. Without a header these are all columns of the file, in order.
        optional: those of `columns` that the file may lack.
        chunk_bytes: about the size of a block.

    Yields:
        batches with binary columns; values are as written, without quotes.

    Raises:
        DataError: if the header lacks a column that is not optional, or names one twice.
    """
    check_source(source)
    wanted = list(columns)
    names = header_of(piece.file, source) if source.header else wanted
    positions = {} if names is None else _positions(name, names, columns, optional, source)
    parser = _Parser(name, source, len(names or wanted), positions, piece)
    for block in blocks(piece.file, source, parser.width, chunk_bytes, piece.part):
        yield parser.parse(block)


def cut_csv(file: str, source: Source, columns: Iterable[str], size: int) -> list[Piece]:
    """A file in pieces of about `size` bytes (`features.logs.pieces.cut_lines`); arguments as of :func:`read_csv`."""
    names = header_of(file, source) if source.header else None
    return cut_lines(file, source, size, len(names or list(columns)))


def check_csv(
    file: str, name: str, source: Source, columns: Mapping[str, Column], optional: Collection[str] = ()
) -> None:
    """Looks at the header only; arguments and errors as of :func:`read_csv`."""
    check_source(source)
    if source.header and (names := header_of(file, source)) is not None:
        _positions(name, names, columns, optional, source)


class _Parser:
    """Turns blocks into batches and counts the rows of the file."""

    def __init__(self, name: str, source: Source, width: int, positions: dict[str, int], piece: Piece) -> None:
        self.width = width
        self._name = name
        self._source = source
        self._positions = positions
        self._row = piece.first_row - 1
        self._header_waits = source.header and piece.begin == 0
        self._is_wide = len(source.delimiter) > 1
        self._field = _field(source)

    def parse(self, block: Block) -> RawBatch:
        """One block; rows that are no CSV of the right width become rejects."""
        block = block.in_utf8(self._source.encoding)
        if block.damage is not None:
            return self._damaged(block)
        if self._header_waits:
            self._header_waits = False
            block = _without_first(block)
        if self._source.escape:
            block = dataclasses.replace(block, plain=without_meaning(block.data, self._source))
        first_row = self._row + 1
        self._row += len(block.starts)
        reasons = self._early_faults(block)
        table, good = self._table(block, reasons)
        rejects = [
            Reject(
                self._name,
                first_row + i,
                int(block.lines[i]),
                self._longest_column(block, i) if reason == "oversized_field" and i not in block.flagged else "",
                reason,
                "",
                text(block.raw(i), RAW_CHARS),
            )
            for i, reason in sorted(reasons.items())
        ]
        return RawBatch(
            self._name,
            table,
            good + first_row,
            block.lines[good],
            lambda i: text(block.raw(int(good[i])), RAW_CHARS),
            rejects,
        )

    def _damaged(self, block: Block) -> RawBatch:
        assert block.damage is not None
        nothing = np.zeros(0, dtype=np.int64)
        self._row += 1
        reject = Reject(
            self._name,
            self._row,
            int(block.lines[0]),
            "",
            block.damage.reason,
            text(block.damage),
            text(block.data, RAW_CHARS),
        )
        empty = {column: pa.array([], type=pa.binary()) for column in self._positions}
        return RawBatch(self._name, empty, nothing, nothing, lambda _: "", [reject])

    def _early_faults(self, block: Block) -> dict[int, str]:
        """Rows that must not reach the parser, since they would take others with them."""
        reasons = dict(block.flagged)
        data = block.structure
        codes = np.frombuffer(data, dtype=np.uint8)

        def mark(rows: NDArray[Any], reason: str) -> None:
            for row in rows.tolist():
                reasons.setdefault(row, reason)

        lengths = block.ends - block.starts
        if self.width > 1:
            blank = (lengths == 0) | ((lengths == 1) & (codes[block.starts] == _CR))
            mark(np.flatnonzero(blank), "blank_line")
        for row in np.flatnonzero(lengths > self._source.max_field_bytes).tolist():
            if self._longest_field(data[block.starts[row] : block.ends[row]]) > self._source.max_field_bytes:
                reasons.setdefault(row, "oversized_field")
        mark(open_at_end(block.data, block.ends, self._source), "open_escape")
        quote = self._source.quote.encode()
        if quote and quote in data:
            if self._source.newlines_in_values:  # such a row would take apart the next one that goes over several lines
                unclosed = [row for row in self._stray_quotes(block).tolist() if not self._fields(block, row)]
                mark(np.array(unclosed, dtype=np.int64), "unbalanced_quote")
            else:
                odd = np.bitwise_xor.reduceat((codes == quote[0]).view(np.uint8), block.starts)
                mark(np.flatnonzero(odd), "unbalanced_quote")
        if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
            breaks = np.flatnonzero((codes[:-1] == _CR) & (codes[1:] != 10))
            rows = np.unique(np.searchsorted(block.ends, breaks))
            quoted = quote and self._source.newlines_in_values
            inside = [r for r in rows.tolist() if not (quoted and self._has_quoted_breaks(block, r))]
            mark(np.array(inside, dtype=np.int64), "stray_carriage_return")
        return reasons

    def _has_quoted_breaks(self, block: Block, row: int) -> bool:
        """Whether a row's carriage returns, but for one at its end, are all inside quotes."""
        line = block.structure[block.starts[row] : block.ends[row]].removesuffix(b"\r")
        at = 0
        while at <= len(line) and (field := self._field.match(line, at)):
            if b"\r" in field["plain"]:
                return False
            at = field.end() + 1
        return True

    def _longest_field(self, line: bytes) -> int:
        """Bytes of the longest field of one line."""
        return int(self._field_lengths(line).max())

    def _longest_column(self, block: Block, row: int) -> str:
        """Name of the column that the longest field of a row is in; nothing where the spec does not read it."""
        start = int(block.starts[row])
        longest = int(self._field_lengths(block.structure[start : start + len(block.raw(row))]).argmax())
        return next((name for name, position in self._positions.items() if position == longest), "")

    def _field_lengths(self, line: bytes) -> NDArray[Any]:
        """Bytes of each field of one line; a delimiter inside quotes ends no field."""
        if self._is_wide:
            return np.array([len(field) for field in line.split(self._source.delimiter.encode())])
        codes = np.frombuffer(line, dtype=np.uint8)
        ends = codes == ord(self._source.delimiter)
        if self._source.quote:
            ends &= np.cumsum(codes == ord(self._source.quote)) & 1 == 0
        edges = np.concatenate([[-1], np.flatnonzero(ends), [len(line)]])
        return np.diff(edges) - 1

    def _table(self, block: Block, reasons: dict[int, str]) -> tuple[dict[str, pa.Array], NDArray[Any]]:
        """Parses the rows without a fault; adds those that fail to `reasons`. Returns the columns and the rows' positions."""
        sound = np.ones(len(block.starts), dtype=bool)
        sound[list(reasons)] = False
        rows = np.flatnonzero(sound)
        table = self._try(block, rows)
        if table is None:
            widths = self._widths(block)[rows]
            reasons.update(dict.fromkeys(rows[widths == 0].tolist(), "unbalanced_quote"))
            reasons.update(dict.fromkeys(rows[(widths != 0) & (widths != self.width)].tolist(), "wrong_width"))
            rows = rows[widths == self.width]
            pieces, kept = self._bisect(block, rows, reasons)
            table, rows = pa.concat_tables([_empty(self._positions), *pieces]).combine_chunks(), kept
        arrays = {name: one_chunk(table.column(name)) for name in self._positions}
        return arrays, rows

    def _bisect(self, block: Block, rows: NDArray[Any], reasons: dict[int, str]) -> tuple[list[pa.Table], NDArray[Any]]:
        """Halves a stretch that does not parse until the guilty rows stand alone."""
        pieces: list[pa.Table] = []
        kept: list[NDArray[Any]] = []
        waiting = [rows]
        while waiting:
            part = waiting.pop()
            if (table := self._try(block, part)) is not None:
                pieces.append(table)
                kept.append(part)
            elif len(part) == 1:
                reasons[int(part[0])] = "unbalanced_quote"
            else:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
        return pieces, np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64)

    def _widths(self, block: Block) -> NDArray[Any]:
        """Fields of each row as the parser counts them; a delimiter inside quotes separates nothing. 0: a quote stays open."""
        if self._is_wide:
            lines = lines_of(block.data[block.starts[0] :])
            return np.asarray(pc.count_substring(lines, self._source.delimiter)) + 1
        codes = np.frombuffer(block.structure, dtype=np.uint8)
        places = np.flatnonzero(codes == ord(self._source.delimiter))
        places = places[places >= block.starts[0]]
        found = np.searchsorted(block.ends, places)
        if not (self._source.quote and self._source.quote.encode() in block.structure):
            return np.bincount(found, minlength=len(block.ends)) + 1
        quotes = np.concatenate([[0], np.cumsum(codes == ord(self._source.quote), dtype=np.int64)])
        found = found[(quotes[places] - quotes[block.starts][found]) & 1 == 0]
        widths = np.bincount(found, minlength=len(block.ends)) + 1
        for row in self._stray_quotes(block).tolist():
            widths[row] = self._fields(block, row)
        return widths

    def _stray_quotes(self, block: Block) -> NDArray[Any]:
        """Rows in which the first, third, .. quote is not where a field begins: an inch mark, perhaps, which quotes nothing."""
        codes = np.frombuffer(block.structure, dtype=np.uint8)
        quote = ord(self._source.quote)
        places = np.flatnonzero(codes == quote)
        places = places[places >= block.starts[0]]
        rows = np.searchsorted(block.ends, places)
        opens = (np.arange(len(places)) - np.searchsorted(places, block.starts)[rows]) & 1 == 0
        before = codes[places - 1]  # of the very first byte it is not looked at: there a row begins
        begins = (places == block.starts[rows]) | (before == ord(self._source.delimiter)) | (before == quote)
        return np.unique(rows[opens & ~begins])

    def _fields(self, block: Block, row: int) -> int:
        """Fields of one row as the parser counts them, for which only a quote at a field's beginning quotes; 0: one stays open."""
        data, at, end = block.structure, int(block.starts[row]), int(block.ends[row])
        count = 0
        while True:
            count += 1
            field = self._field.match(data, at, end)
            if field is None:
                return 0
            at = field.end() + 1
            if at > end:
                return count

    def _try(self, block: Block, rows: NDArray[Any]) -> pa.Table | None:
        """Parses rows of a block; None unless every row becomes exactly one row."""
        if not len(rows):
            return _empty(self._positions)
        data = _bytes_of(block, rows)
        if self._is_wide:
            return split_fields(lines_of(data.to_pybytes()), self._source.delimiter, self.width, self._positions)
        if data.size >= len(MARK) and data.slice(0, len(MARK)).to_pybytes() == MARK:
            data = pa.py_buffer(
                MARK + data.to_pybytes()
            )  # the parser drops one, and only the file's own is none of the row
        if self._source.escape:
            data = pa.py_buffer(with_nulls(data.to_pybytes(), self._source))
        names = [str(i) for i in range(self.width)]
        wanted = [str(i) for i in self._positions.values()] or names[:1]
        try:
            # pyarrow.csv.read_csv asks the garbage collector for all objects of the process at each call, for the sake of Ctrl-C.
            table = pa.csv.open_csv(
                pa.BufferReader(data),
                read_options=pa.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
                parse_options=pa.csv.ParseOptions(
                    delimiter=self._source.delimiter,
                    quote_char=self._source.quote or False,
                    escape_char=self._source.escape or False,
                    newlines_in_values=self._source.newlines_in_values,
                    ignore_empty_lines=False,
                ),
                convert_options=pa.csv.ConvertOptions(
                    check_utf8=False,
                    column_types=dict.fromkeys(names, pa.binary()),
                    include_columns=wanted,
                    strings_can_be_null=False,
                ),
            ).read_all()
        except pa.ArrowInvalid:
            return None
        # The parser takes a quote that is open where its bytes end for closed there.
        if table.num_rows != len(rows) or not self._fields(block, int(rows[-1])):
            return None
        return pa.table({name: table.column(str(at)) for name, at in self._positions.items()})


def _field(source: Source) -> re.Pattern[bytes]:
    """One field as the parser reads it: quoted from its first byte on, or as it stands up to the next delimiter."""
    delimiter, quote = re.escape(source.delimiter[:1].encode()), re.escape(source.quote.encode())
    quoted = b"(?:Q[^Q]*(?:QQ[^Q]*)*Q(?!Q)|(?!Q))" if source.quote else b""
    return re.compile((quoted + b"(?P<plain>[^D]*)").replace(b"Q", quote).replace(b"D", delimiter))


def _empty(names: Collection[str]) -> pa.Table:
    return pa.table({name: pa.array([], type=pa.binary()) for name in names})


def _bytes_of(block: Block, rows: NDArray[Any]) -> pa.Buffer:
    """The bytes of some rows, runs of neighbours at once; not copied where all are neighbours."""
    breaks = np.flatnonzero(np.diff(rows) > 1)
    if not len(breaks):
        start = int(block.starts[rows[0]])
        return pa.py_buffer(block.data).slice(start, int(block.ends[rows[-1]]) + 1 - start)
    firsts = rows[np.concatenate([[0], breaks + 1])]
    lasts = rows[np.concatenate([breaks, [len(rows) - 1]])]
    runs = (block.data[block.starts[a] : block.ends[b] + 1] for a, b in zip(firsts, lasts, strict=True))
    return pa.py_buffer(b"".join(runs))


def _without_first(block: Block) -> Block:
    flagged = {i - 1: reason for i, reason in block.flagged.items() if i}
    return dataclasses.replace(
        block, starts=block.starts[1:], ends=block.ends[1:], lines=block.lines[1:], flagged=flagged
    )
