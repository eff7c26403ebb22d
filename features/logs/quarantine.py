"""Rows that could not be read as the spec says, each with where it was and why it was refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

VALUE_CHARS = 200
RAW_CHARS = 1000
WHOLE_FILE = -1
"""The `row` of a record that stands for (the rest of) a whole file."""

SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("line", pa.int64()),
        ("column", pa.string()),
        ("reason", pa.string()),
        ("value", pa.string()),
        ("raw", pa.string()),
        ("rows", pa.int64()),
    ]
)
"""Columns of the dead letters. `row` counts a file's data rows from 1, `line` its physical lines from 1 (-1 in formats without lines);
`rows` is 1, or for an unreadable part of a file the rows that are known to be lost with it."""

REASONS: dict[str, str] = {
    "wrong_width": "the row has more or fewer fields than the header",
    "unbalanced_quote": "a quoted field is not closed on its line",
    "stray_carriage_return": "a carriage return inside the row, where a reader would see two rows",
    "blank_line": "an empty line between rows",
    "oversized_field": "a field is longer than max_field_bytes",
    "bad_json": "the line is no JSON object",
    "bad_avro": "the message is no Avro datum of its schema",
    "bad_checksum": "the record's bytes are not those that were written",
    "bad_example": "the record is no tf.Example",
    "wrong_shape": "a list or an object where the column holds a value, the other way round, or a float where it holds text",
    "bad_utf8": "text that is not UTF-8",
    "bad_number": "not a finite number of the column's type",
    "out_of_bounds": "a number outside [minimum, maximum] of its column",
    "missing_value": "a required column is missing",
    "missing_label": "a label is missing where the task's mask does not excuse it",
    "bad_label": "the label of a binary task is neither 0 nor 1",
    "bad_mask": "a sample mask is missing or neither 0 nor 1",
    "bad_weight": "a sample weight is missing, below 0 or infinite",
    "bad_time": "the time is missing or no time of its unit",
    "time_out_of_range": "the day lies in no part of the split",
    "out_of_window": "found beside the window of the topic, and of another time",
    "out_of_split": "the value of the split's column belongs to no part of it",
    "orphan_label": "a task is positive and its parent is not",
    "no_match": "a table that every row must find a row of has none with its key",
    "refused": "a derived function refused the row",
    "duplicate": "every column has the value of an earlier row",
    "truncated_file": "the file ends too early: its remaining rows are lost",
    "corrupt_file": "the file is damaged: its rows up to its end, or to the next readable block, are lost",
    "unreadable_file": "the file, or a part of it (a row group, stripe or block), cannot be read",
}
"""Every reason there is, in words."""
OUT_OF_WINDOW = "out_of_window"
SOUND = frozenset({"duplicate", OUT_OF_WINDOW})
"""Reasons of rows that are left out by wish, and not for being malformed: no budget counts them."""
_ENDS_A_FILE = frozenset({"truncated_file", "corrupt_file"})


class Reject(NamedTuple):
    """One dead letter; the fields are the columns of :data:`SCHEMA`."""

    file: str
    row: int
    line: int
    column: str
    reason: str
    value: str
    raw: str
    rows: int = 1

    @property
    def damages_file(self) -> bool:
        """Whether it stands for a part of a file with nobody knows how many rows; `rows` is 1 then."""
        return self.reason in _ENDS_A_FILE or (self.reason == "unreadable_file" and self.row == WHOLE_FILE)


def text(value: Any, limit: int = VALUE_CHARS) -> str:
    """Anything as text that fits into a dead letter; bytes that are not UTF-8 are shown as ``\\xNN``."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value[: limit * 4].decode("utf-8", errors="backslashreplace")
    return str(value)[:limit]


def value_text(values: pa.Array, index: int, limit: int = VALUE_CHARS) -> str:
    """One value of an array as text; text that is not UTF-8 (a typed file may hold it) is shown as ``\\xNN``."""
    scalar = values[index]
    try:
        return text(scalar.as_py(), limit)
    except UnicodeDecodeError:
        buffer = getattr(scalar, "as_buffer", lambda: None)()
        return text(buffer.to_pybytes() if buffer is not None else "(a list with text that is not UTF-8)", limit)
    except OverflowError:
        return f"(a {values.type} beyond the years 1 to 9999)"


def to_batch(rejects: Sequence[Reject]) -> pa.RecordBatch:
    """Dead letters as Arrow, in the order given."""
    columns = list(zip(*rejects, strict=True)) if rejects else [()] * len(SCHEMA)
    arrays = [pa.array(list(values), type=kind.type) for values, kind in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


@dataclass
class RawBatch:
    """Rows as they were found in one file, before the spec's types are applied.

    Attributes:
        file: the file's name.
        columns: one array per column that was asked for: binary (CSV) or of the file's own type.
        rows: int64 (n,), 1-based number of each row among the file's data rows.
        lines: int64 (n,), 1-based physical line; -1 where there are no lines.
        raw: gives the text of the i-th row.
        rejects: rows of this stretch of the file that could not even be parsed.
    """

    file: str
    columns: dict[str, pa.Array]
    rows: NDArray[Any]
    lines: NDArray[Any]
    raw: Callable[[int], str]
    rejects: list[Reject] = field(default_factory=list)

    @property
    def rows_read(self) -> int:
        """Rows found here, good and bad."""
        return len(self.rows) + sum(reject.rows for reject in self.rejects)


def renumbered(batch: RawBatch, numbers: NDArray[Any]) -> RawBatch:
    """The batch, whose rows and rejects were numbered from 0 by their places, with these numbers: int64."""
    batch.rows = numbers[batch.rows]
    batch.rejects = [reject._replace(row=int(numbers[reject.row])) for reject in batch.rejects]
    return batch


class Faults:
    """Collects what is wrong with the rows of a batch; a row is refused once, for the first fault that is marked."""

    def __init__(self, raw: RawBatch, origin: NDArray[Any] | None = None) -> None:
        """Starts without faults.

        Args:
            raw: the batch as it was read.
            origin: int64 (n,), where each row of the present batch is in `raw`; all of them by default.
        """
        self._raw = raw
        self._origin = np.arange(len(raw.rows)) if origin is None else origin
        self.bad = np.zeros(len(self._origin), dtype=bool)
        self._rejects: dict[int, Reject] = {}

    def mark(self, bad: NDArray[Any], reason: str, column: str, values: pa.Array | None = None) -> None:
        """Refuses rows.

        Args:
            bad: bool (n,).
            reason: a key of :data:`REASONS`.
            column: the column at fault.
            values: length n, what stands in that column.
        """
        new = bad & ~self.bad
        if not new.any():
            return
        self.bad |= new
        raw = self._raw
        for index in np.flatnonzero(new).tolist():
            at = int(self._origin[index])
            shown = "" if values is None else value_text(values, index)
            row, line = int(raw.rows[at]), int(raw.lines[at])
            self._rejects[index] = Reject(raw.file, row, line, column, reason, shown, raw.raw(at))

    @property
    def file(self) -> str:
        """Name of the file that the rows are of."""
        return self._raw.file

    @property
    def rejects(self) -> list[Reject]:
        """The dead letters, in the order of the rows."""
        return [self._rejects[index] for index in sorted(self._rejects)]

    @property
    def good(self) -> NDArray[Any]:
        """int64: positions, in the batch as it was read, of the rows without a fault."""
        return self._origin[~self.bad]
