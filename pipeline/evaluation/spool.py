"""Columns of many rows in a temporary file: written batch by batch, read back block by block, divided into parts."""

from __future__ import annotations

import itertools
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.errors import DataError

Array = npt.NDArray[Any]
Columns = dict[str, Array]
"""Of some rows, (rows,) each."""
BLOCK_ROWS = 65_536
"""Rows that are written, and so read, together."""
_PART_ROWS = 8_192
"""The same where many files are written at once, each of which holds back that many rows."""


class _WrittenBlock(NamedTuple):
    """A block of rows in the file."""

    rows: int
    places: Mapping[str, tuple[int, np.dtype[Any]]]
    """Of each column: where its bytes begin, and what they are."""


class Spool:
    """Rows that lie in a file rather than in memory.

    The file has no name and lies where the system's temporary files do (``TMPDIR``): it is gone with the process, however that
    ends. Rows are written once, all before any is read.

    Args:
        block_rows: rows that are written, and so read, together.

    Attributes:
        rows: how many there are.
        names: of their columns.
    """

    def __init__(self, block_rows: int = BLOCK_ROWS) -> None:
        self.rows = 0
        self.names: tuple[str, ...] = ()
        self._block_rows = block_rows
        self._waiting: list[Columns] = []
        self._waiting_rows = 0
        self._written: list[_WrittenBlock] = []
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="feedrank-", buffering=0)  # noqa: SIM115 - closed with the object
        weakref.finalize(self, self._file.close)

    def add(self, columns: Columns) -> None:
        """Appends rows; every call has the same columns."""
        rows = len(next(iter(columns.values())))
        if not rows:
            return
        self.rows += rows
        self.names = tuple(columns)
        self._waiting.append(columns)
        self._waiting_rows += rows
        if self._waiting_rows >= self._block_rows:
            self._write()

    def blocks(self, names: Iterable[str]) -> Iterator[Columns]:
        """The columns `names` of all rows, in the order in which they came."""
        self._write()
        names = tuple(names)
        for block in self._written:
            yield {name: self._read(block.rows, *block.places[name]) for name in names}

    def columns(self, names: Iterable[str]) -> Columns:
        """The columns `names` whole, in memory."""
        names = tuple(names)
        parts = list(self.blocks(names))
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _write(self) -> None:
        if not self._waiting:
            return
        self._file.seek(0, 2)
        places = {}
        for name in self._waiting[0]:
            values = np.concatenate([columns[name] for columns in self._waiting])
            places[name] = self._file.tell(), values.dtype
            self._append(values.data.cast("B") if len(values) else memoryview(b""))
        self._written.append(_WrittenBlock(self._waiting_rows, places))
        self._waiting, self._waiting_rows = [], 0

    def _append(self, left: memoryview) -> None:
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise DataError(
                f"the rows do not fit into a temporary file in '{tempfile.gettempdir()}': {error.strerror}; allowed: a folder with more "
                "room, named by the environment variable TMPDIR"
            ) from error

    def _read(self, rows: int, place: int, kind: np.dtype[Any]) -> Array:
        self._file.seek(place)
        return np.frombuffer(self._file.read(rows * kind.itemsize), kind)


def divided(blocks: Iterable[Columns], parts: int, part_of: Callable[[Columns], Array]) -> list[Spool]:
    """Rows by the part that they belong to, in files of their own; the order within a part stays.

    Args:
        blocks: rows.
        parts: how many there are; so many files are open at once.
        part_of: says of a block's rows which part each belongs to, integers (rows,); -1 is left out.
    """
    spools = [Spool(_PART_ROWS) for _ in range(parts)]
    for block in blocks:
        part = part_of(block)
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], np.arange(-1, parts), "right")
        for spool, (begin, end) in zip(spools, itertools.pairwise(ends), strict=True):
            if begin < end:
                spool.add({name: values[order[begin:end]] for name, values in block.items()})
    return spools


def bins_to_parts(counts: Array, limit: int) -> tuple[Array, int]:
    """Neighbouring bins put together to parts of at most about `limit` rows.

    Args:
        counts: rows of each bin, integers.
        limit: a part may exceed it by the rows of one bin.

    Returns:
        The part of each bin, which means nothing of a bin without rows, and how many parts there are.
    """
    steps = (np.cumsum(counts) - counts) // limit
    filled = counts > 0
    distinct, places = np.unique(steps[filled], return_inverse=True)
    parts = np.zeros(len(counts), np.int64)
    parts[filled] = places
    return parts, len(distinct)
