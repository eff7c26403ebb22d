"""ORC, one stripe at a time, read by another process; what cannot be read is set aside with its number of rows."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from features.errors import DataError
from features.logs import orc_program
from features.logs.columnar import BATCH_ROWS, raw_batch, rejected, wanted_columns
from features.logs.decompress import DamagedFileError
from features.logs.files import open_bytes, size_of
from features.logs.pieces import Piece, cut_groups
from features.logs.quarantine import WHOLE_FILE, RawBatch
from features.spec import Source

_OF_DAMAGE = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
"""How a damaged file ends the process that reads it. Any other end, as of one that was killed, is no fault of the file."""


def read_orc(
    piece: Piece, name: str, source: Source, columns: Iterable[str], optional: Collection[str] = ()
) -> Iterator[RawBatch]:
    """Reads one ORC file, or some of its stripes.

    pyarrow's ORC library ends its process on many damaged files, so another process reads (`features.logs.orc_program`): it
    takes about 0.2 s to start, once a piece and once more behind each stripe that ended it. It holds one stripe at a time.

    A file without a readable footer is one dead letter of 1 row; a stripe that cannot be read is one dead letter of as many
    rows as the footer says it has, and reading goes on with the next stripe. ORC has no checksums: a changed byte that
    decoding does not notice is a changed value. If no column is read, no stripe is looked at.

    Args:
        piece: the file, or a part of it.
        name: its name in dead letters.
        source: asks nothing of this format.
        columns: columns to read.
        optional: those of `columns` that the file may lack.

    Yields:
        batches of at most :data:`~features.logs.columnar.BATCH_ROWS` rows with columns of the file's own types; a
        timestamp has nanoseconds and no zone.

    Raises:
        DataError: if the file lacks a column that is not optional or has one twice, or the system cannot read it.
    """
    del source
    columns = list(columns)
    with _OrcFile(piece, columns) as orc:
        try:
            footer = orc.footer()
        except DamagedFileError as error:
            yield rejected(name, WHOLE_FILE, 1, error)
            return
        wanted = wanted_columns(name, footer.names, columns, optional)
        first_row = piece.first_row
        for stripe, rows in list(enumerate(footer.rows))[piece.begin : piece.end]:
            seen = 0
            problem: Exception | None = None
            try:
                for count, arrays in orc.pieces(stripe) if wanted else _without_columns(rows):
                    yield raw_batch(name, {column: arrays[column] for column in wanted}, first_row + seen, count)
                    seen += count
            except DamagedFileError as error:
                problem = error
            if problem is None and seen < rows:
                problem = ValueError(f"the footer promises {rows} rows in stripe {stripe}, {seen} are there")
            if problem is not None:
                yield rejected(name, first_row + seen, max(rows - seen, 1), problem)
            first_row += max(rows, seen)


def check_orc(file: str, name: str, source: Source, columns: Iterable[str], optional: Collection[str] = ()) -> None:
    """Looks at the footer only; arguments and errors as of :func:`read_orc`. A damaged file is no error here."""
    del source
    with _OrcFile(Piece(file), []) as orc:
        try:
            footer = orc.footer()
        except DamagedFileError:
            return
    wanted_columns(name, footer.names, columns, optional)


def cut_orc(file: str, source: Source, columns: Iterable[str], size: int) -> list[Piece]:
    """A file in pieces of stripes, each of about `size` bytes as they lie there; a small one, or one with an unreadable footer, as a whole."""
    del source, columns
    if size_of(file) <= size:  # no process is started for it
        return [Piece(file)]
    with _OrcFile(Piece(file), []) as orc:
        try:
            footer = orc.footer()
        except DamagedFileError:
            return [Piece(file)]
    return cut_groups(file, zip(footer.rows, footer.sizes, strict=True), size)


def _without_columns(rows: int) -> Iterator[tuple[int, Mapping[str, pa.Array]]]:
    for start in range(0, rows, BATCH_ROWS):
        yield min(BATCH_ROWS, rows - start), {}


class _Footer(NamedTuple):
    """Names of the columns, rows and bytes of each stripe."""

    names: list[str]
    rows: list[int]
    sizes: list[int]


class _OrcFile:
    """One file, read by one process after the other: a stripe that ends its process is left to none."""

    def __init__(self, piece: Piece, columns: list[str]) -> None:
        open_bytes(piece.file).close()
        self._file = piece.file
        self._columns = columns
        self._begin, self._end = piece.begin, piece.end
        self._program: _Program | None = None

    def __enter__(self) -> _OrcFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def footer(self) -> _Footer:
        """What the file says of itself.

        Raises:
            DamagedFileError: if that cannot be read.
        """
        return self._ask_footer(self._begin)

    def pieces(self, stripe: int) -> Iterator[tuple[int, Mapping[str, pa.Array]]]:
        """Rows of a stripe, at most `BATCH_ROWS` at a time; stripes must be asked for in order.

        Raises:
            DamagedFileError: if the stripe cannot be read.
        """
        if self._program is None:
            self._ask_footer(stripe)
        assert self._program is not None
        try:
            for batch in self._program.stripe():
                yield batch.num_rows, dict(zip(batch.schema.names, batch.columns, strict=True))
        finally:
            if self._program.has_ended:
                self._close()

    def _ask_footer(self, first: int) -> _Footer:
        self._program = _Program(self._file, self._columns, (first, self._end))
        try:
            message = self._program.message()
        except DamagedFileError:
            self._close()
            raise
        return _Footer(message["names"], message["rows"], message["sizes"])

    def _close(self) -> None:
        if self._program is not None:
            self._program.close()
        self._program = None


class _Program:
    """A process of `features.logs.orc_program`."""

    def __init__(self, file: str, columns: list[str], stripes: tuple[int, int | None]) -> None:
        self.has_ended = False
        self._file = file
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        request = {"file": file, "columns": columns, "stripes": stripes, "batch_rows": BATCH_ROWS}
        # The text itself: a path would put its folder, where a `tables` and a `files` lie, before all libraries.
        self._process = subprocess.Popen(
            [sys.executable, "-c", inspect.getsource(orc_program), json.dumps(request)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout

    def message(self) -> dict[str, Any]:
        """What it says next.

        Raises:
            DamagedFileError: if it says that, or the file ended it.
            DataError: if the system, or the store that the file lies in, cannot read it.
        """
        line = self._out.readline()
        if not line.endswith(b"\n"):
            raise self._end()
        message: dict[str, Any] = json.loads(line)
        if "store" in message:
            raise DataError(message["store"])
        if "system" in message:
            raise DataError(f"cannot read {self._file}: {message['system']}")
        if "error" in message:
            raise DamagedFileError("unreadable_file", message["error"])
        return message

    def stripe(self) -> Iterator[pa.RecordBatch]:
        """The next stripe; errors as of :meth:`message`."""
        left = self.message()["rows"]
        try:
            for batch in pa.ipc.open_stream(self._out):
                yield batch
                left -= batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise self._end() from error
        if left:
            raise self._end()

    def _end(self) -> Exception:
        """Why the process wrote no more."""
        self.has_ended = True
        self._out.close()
        code = self._process.wait()
        self._errors.seek(0)
        said = " ".join(self._errors.read().decode(errors="replace").split())[-150:]
        if -code in _OF_DAMAGE:
            return DamagedFileError(
                "unreadable_file", f"the ORC library ended with {signal.Signals(-code).name}: {said}"
            )
        return DataError(f"cannot read {self._file}: the process that reads it ended with status {code}: {said}")

    def close(self) -> None:
        """Ends the process if it still runs."""
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._errors.close()
