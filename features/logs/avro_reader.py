"""Avro, block by block; what cannot be read is set aside, and reading goes on with the next block."""

from __future__ import annotations

import io
import lzma
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
from fastavro import schemaless_reader
from fastavro.schema import SchemaParseException

from features.errors import DataError
from features.logs.avro_blocks import (
    CODECS,
    AvroBlock,
    AvroHeader,
    find_spans,
    is_credible,
    read_blocks,
    read_header,
)
from features.logs.avro_schema import AvroSchema, column_types, parsed_schema
from features.logs.avro_types import AvroType
from features.logs.columnar import BATCH_ROWS, pass_on, raw_batch, rejected
from features.logs.decompress import DamagedFileError
from features.logs.files import open_bytes, size_of
from features.logs.pieces import Piece
from features.logs.quarantine import WHOLE_FILE, RawBatch, text
from features.spec import Source

_BATCH_BYTES = 16 << 20
"""Small blocks are joined to batches until they have this many bytes of Arrow arrays, or `BATCH_ROWS` rows."""
UNREADABLE = (
    pa.ArrowException,
    SchemaParseException,
    DamagedFileError,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    zlib.error,
)
"""What fastavro, the codecs and pyarrow raise for damaged bytes. An OSError with a number is none of these: see
:func:`~features.logs.columnar.pass_on`."""


class _Layout(NamedTuple):
    """What a file holds: its header, and the rows' schema."""

    header: AvroHeader
    schema: AvroSchema


def read_avro(
    piece: Piece, name: str, source: Source, columns: Iterable[str], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads one Avro file, or some of its blocks; :func:`~features.logs.avro_types.arrow_type` says what becomes of which type.

    A file without a readable header is one dead letter of 1 row. A block that cannot be read is one dead letter of as many
    rows as it says it has, if a marker stands where it ends and its number of rows can be true; else, as any stretch between
    two markers that is no block, it is a dead letter ``corrupt_file`` or ``truncated_file`` of 1 row. Rows behind it are
    numbered as if it had been the rows that it says, where its size allows so many (`features.logs.avro_blocks.is_credible`), or else 1.

    A file cut exactly between two blocks cannot be told from a whole one. A block of more rows than bytes counts as damaged:
    rows without any bytes (nothing but nulls) are not read. fastavro bounds neither how deep a type that holds itself may be
    (some ten thousand levels end the process) nor how long an array of nulls: a damaged file with such a field may do harm.

    Args:
        piece: the file, or a part of it.
        name: its name in dead letters.
        source: asks nothing of this format.
        columns: columns to read.
        optional: those of `columns` that the file may lack.

    Yields:
        batches of at most :data:`~features.logs.columnar.BATCH_ROWS` rows; besides them, one block is in memory.

    Raises:
        DataError: if the file lacks a column that is not optional, no column can hold a field's type, the codec is unknown, or
            the system cannot read the file.
    """
    del source
    file = piece.file
    with open_bytes(file) as stream:
        try:
            layout = _layout(stream)
        except UNREADABLE as error:
            pass_on(file, error)
            yield rejected(name, WHOLE_FILE, 1, error)
            return
        reading = _Reading(name, layout, _types(name, layout, columns, optional), piece.first_row)
        try:
            for block in read_blocks(stream, layout.header, piece.begin, piece.end):
                yield from reading.add(block)
            yield from reading.flush()
        except OSError as error:
            pass_on(file, error)
            raise


def check_avro(file: str, name: str, source: Source, columns: Iterable[str], optional: Collection[str] = ()) -> None:
    """Looks at the header only; arguments and errors as of :func:`read_avro`. A damaged file is no error here."""
    del source
    with open_bytes(file) as stream:
        try:
            layout = _layout(stream)
        except UNREADABLE as error:
            pass_on(file, error)
            return
    _types(name, layout, columns, optional)


def cut_avro(file: str, source: Source, columns: Iterable[str], size: int) -> list[Piece]:
    """A file in pieces of whole blocks of about `size` bytes; a small one, or one without a readable header, as a whole.

    Which number a row has, only the blocks before it say: this goes through them from the first on, reads of each its number of rows and
    its size, and looks for the marker behind it. Of a store that asks for most of the file's bytes. No block is decompressed, so there
    is no cut any more behind one that says that it has more rows than its size allows.
    """
    del source, columns
    if size_of(file) <= size:
        return [Piece(file)]
    with open_bytes(file) as stream:
        try:
            header = _layout(stream).header
        except UNREADABLE as error:
            pass_on(file, error)
            return [Piece(file)]
        try:
            return _cut(file, stream, header, size)
        except OSError as error:
            pass_on(file, error)
            raise


def _cut(file: str, stream: BinaryIO, header: AvroHeader, size: int) -> list[Piece]:
    pieces, begin, first_row = [], 0, 1
    rows, end = 0, 0
    for span in find_spans(stream, header):
        if end - begin >= size:
            pieces.append(Piece(file, begin, end, first_row))
            begin, first_row, rows = end, first_row + rows, 0
        if span.damage is None and not is_credible(header.codec, span.rows, span.length):
            break
        rows, end = rows + span.rows, span.end
    return [*pieces, Piece(file, begin, None, first_row)]


def _layout(stream: BinaryIO) -> _Layout:
    header = read_header(stream)
    return _Layout(header, parsed_schema(header.schema))


def _types(name: str, layout: _Layout, columns: Iterable[str], optional: Collection[str]) -> dict[str, AvroType]:
    """How the wanted columns are read."""
    if layout.header.codec not in CODECS:
        raise DataError(f"{name}: compressed by '{text(layout.header.codec)}'; allowed: {', '.join(CODECS)}")
    return column_types(name, layout.schema, columns, optional)


class _Reading:
    """One file: joins small blocks to batches, cuts large ones, counts rows."""

    def __init__(self, name: str, layout: _Layout, types: Mapping[str, AvroType], first_row: int) -> None:
        self._name = name
        self._layout = layout
        self._types = types
        self._row = first_row
        self._rows = 0
        self._bytes = 0
        self._pieces: dict[str, list[pa.Array]] = {column: [] for column in types}

    def add(self, block: AvroBlock | DamagedFileError) -> Iterator[RawBatch]:
        """Takes the next block or damaged stretch; yields batches that are full, and what is refused."""
        if isinstance(block, DamagedFileError):
            yield from self._refuse(1, block, block.reason)
            return
        first, seen = self._row + self._rows, 0
        is_known = is_credible(self._layout.header.codec, block.rows, len(block.data))
        try:
            for rows, arrays in self._decoded(block):
                if self._rows + rows > BATCH_ROWS or self._bytes > _BATCH_BYTES:
                    yield from self.flush()
                self._rows += rows
                self._bytes += sum(array.nbytes for array in arrays.values())
                for column, array in arrays.items():
                    self._pieces[column].append(array)
                seen += rows
        except DamagedFileError as error:
            yield from self._refuse(1, error, error.reason)
        except UNREADABLE as error:
            rows, reason = (block.rows - seen, "unreadable_file") if is_known else (1, "corrupt_file")
            yield from self._refuse(rows, error, reason)
        else:
            return
        if is_known:
            self._row = first + block.rows

    def flush(self) -> Iterator[RawBatch]:
        """Yields the rows that wait, if there are any."""
        if self._rows:
            columns = {column: pa.concat_arrays(arrays) for column, arrays in self._pieces.items()}
            yield raw_batch(self._name, columns, self._row, self._rows)
        self._row += self._rows
        self._rows = self._bytes = 0
        self._pieces = {column: [] for column in self._types}

    def _refuse(self, rows: int, error: Exception, reason: str) -> Iterator[RawBatch]:
        yield from self.flush()
        yield rejected(self._name, self._row, rows, error, reason)
        self._row += rows

    def _decoded(self, block: AvroBlock) -> Iterator[tuple[int, dict[str, pa.Array]]]:
        """At most `BATCH_ROWS` rows at a time; the last only if the block holds nothing more.

        Raises:
            DamagedFileError: if its number of rows cannot be true.
        """
        data = CODECS[self._layout.header.codec](block.data)
        if block.rows > len(data):
            raise DamagedFileError("corrupt_file", f"a block says that it has {block.rows} rows in {len(data)} bytes")
        stream = io.BytesIO(data)
        for start in range(0, block.rows, BATCH_ROWS):
            rows = min(BATCH_ROWS, block.rows - start)
            records: list[Any] = [schemaless_reader(stream, self._layout.schema.row, None) for _ in range(rows)]
            if start + rows == block.rows and (left := len(data) - stream.tell()):
                raise DamagedFileError("corrupt_file", f"{left} bytes are left after the {block.rows} rows of a block")
            yield (
                rows,
                {column: kind.array([record[column] for record in records]) for column, kind in self._types.items()},
            )
