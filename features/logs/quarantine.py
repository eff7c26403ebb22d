"""Rows that could not be read as the spec says, each with where it was and why it was refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
    "open_escape": "an escape character has nothing behind it on its line",
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
OUT_OF_DAYS = "time_out_of_range"
OUT_OF_WINDOW = "out_of_window"
SOUND = frozenset({"duplicate", OUT_OF_WINDOW})
"""Reasons of rows that are left out by wish, and not for being malformed: no budget counts them."""
_NEEDS_NO_ESCAPE = r"^[ -&(-\[\]-~]*$"
"""Printable ASCII but the single quote and the backslash."""
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


def may_damage(reason: str) -> bool:
    """Whether letters of this reason may stand for a part of a file (`Reject.damages_file`)."""
    return reason in _ENDS_A_FILE or reason == "unreadable_file"


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


def texts(values: pa.Array, at: NDArray[Any], limit: int = VALUE_CHARS) -> pa.Array:
    """The texts that :func:`value_text` gives, of many values at once: a log of other days may have millions of them.

    Args:
        values: of any type.
        at: int64 (n,), the values' positions.
        limit: characters of a text, at most.

    Returns:
        string (n,), without nulls.
    """
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_binary(kind):
        try:
            return _cut(pc.fill_null(values.take(pa.array(at)).cast(pa.string()), ""), limit)
        except pa.ArrowInvalid:
            pass  # text that is not UTF-8, which is shown byte by byte
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        taken = values.take(pa.array(at))
        shown = map(str, pc.fill_null(taken, 0.0).to_numpy().tolist())
        return pc.if_else(taken.is_valid(), _cut(pa.array(shown, pa.string()), limit), "")
    if pa.types.is_list(kind):
        try:
            return _lists(values.take(pa.array(at)), limit)
        except (UnicodeDecodeError, OverflowError):
            pass  # one of them has no text but what `value_text` says instead
    return pa.array([value_text(values, index, limit) for index in at.tolist()], pa.string())


def _lists(values: pa.Array, limit: int) -> pa.Array:
    """Lists as Python writes them; their elements are fetched at once."""
    elements = list(map(repr, values.flatten().to_pylist()))
    lengths = np.asarray(pc.fill_null(pc.list_value_length(values), 0))
    ends = np.cumsum(lengths)
    spans = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    shown = pa.array([f"[{', '.join(elements[begin:end])}]"[:limit] for begin, end in spans], pa.string())
    return pc.if_else(values.is_valid(), shown, "")


def row_texts(columns: Mapping[str, pa.Array], at: NDArray[Any]) -> pa.Array:
    """Whole rows as dead letters show them, a Python dict of texts: string (n,), of at most `RAW_CHARS` characters each.

    Args:
        columns: the rows' columns.
        at: int64 (n,), the rows' positions.
    """
    rows = _repeated("{", len(at))
    for number, (name, values) in enumerate(columns.items()):
        head = f"{', ' if number else ''}{name!r}: "
        rows = _cut(pc.binary_join_element_wise(rows, head, _quoted(texts(values, at)), ""), RAW_CHARS)
        if pc.min(pc.utf8_length(rows)).as_py() == RAW_CHARS:
            return rows  # hundreds of columns more would not be seen
    return _cut(pc.binary_join_element_wise(rows, "}", ""), RAW_CHARS)


def _quoted(shown: pa.Array) -> pa.Array:
    """Texts as Python writes them."""
    if pc.all(pc.match_substring_regex(shown, _NEEDS_NO_ESCAPE), min_count=0).as_py():
        return pc.binary_join_element_wise("'", shown, "'", "")
    return pa.array(map(repr, shown.to_pylist()), pa.string())


def _cut(shown: pa.Array, limit: int) -> pa.Array:
    return pc.utf8_slice_codeunits(shown, 0, limit)


def _repeated(value: str, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), rows)


def to_batch(rejects: Sequence[Reject]) -> pa.RecordBatch:
    """Dead letters as Arrow, in the order given."""
    columns = list(zip(*rejects, strict=True)) if rejects else [()] * len(SCHEMA)
    arrays = [pa.array(list(values), type=kind.type) for values, kind in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def from_batch(letters: pa.RecordBatch) -> list[Reject]:
    """The dead letters of :func:`to_batch`."""
    return [Reject(**letter) for letter in letters.to_pylist()]


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Dead letters, one batch's after the other's."""
    columns = [pa.concat_arrays([batch.column(n) for batch in batches]) for n in range(len(SCHEMA))]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def rows_of(letters: pa.RecordBatch) -> int:
    """Rows that dead letters stand for."""
    return int(letters.column(SCHEMA.get_field_index("rows")).to_numpy().sum())


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
        many_raw: gives the texts of the rows at int64 (n,) positions, string (n,), where that is faster than one by one.
    """

    file: str
    columns: dict[str, pa.Array]
    rows: NDArray[Any]
    lines: NDArray[Any]
    raw: Callable[[int], str]
    rejects: list[Reject] = field(default_factory=list)
    many_raw: Callable[[NDArray[Any]], pa.Array] | None = None

    def raws(self, at: NDArray[Any]) -> pa.Array:
        """The texts of the rows at these positions: string."""
        if self.many_raw is not None:
            return self.many_raw(at)
        return pa.array([self.raw(index) for index in at.tolist()], pa.string())

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
        self._marked: list[tuple[NDArray[Any], str, str, pa.Array]] = []

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
        at = np.flatnonzero(new)
        shown = _repeated("", len(at)) if values is None else texts(values, at)
        self._marked.append((at, reason, column, shown))

    @property
    def letters(self) -> pa.RecordBatch:
        """The dead letters, in the order of the rows (:data:`SCHEMA`)."""
        if not self._marked:
            return to_batch([])
        marked = np.concatenate([at for at, *_ in self._marked])
        order = np.argsort(marked)
        found = self._origin[marked[order]]
        raw = self._raw

        def ordered(parts: Sequence[pa.Array]) -> pa.Array:
            return pa.concat_arrays(parts).take(pa.array(order))

        columns = {
            "file": _repeated(raw.file, len(order)),
            "row": pa.array(raw.rows[found], pa.int64()),
            "line": pa.array(raw.lines[found], pa.int64()),
            "column": ordered([_repeated(column, len(at)) for at, _, column, _ in self._marked]),
            "reason": ordered([_repeated(reason, len(at)) for at, reason, *_ in self._marked]),
            "value": ordered([shown for *_, shown in self._marked]),
            "raw": raw.raws(found),
            "rows": pa.array(np.ones(len(order), dtype=np.int64)),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)

    @property
    def file(self) -> str:
        """Name of the file that the rows are of."""
        return self._raw.file

    @property
    def good(self) -> NDArray[Any]:
        """int64: positions, in the batch as it was read, of the rows without a fault."""
        return self._origin[~self.bad]
