"""Rows of a log as counts by key and day: what counters are made of, small beside the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.columns import arrow_type
from features.counters import Condition, Counter
from features.logs.casting import tokens
from features.logs.row_hashes import row_hashes
from features.sources import Columns
from features.spec import DAY

SHOWN = "feedrank_shown"
"""int64: rows of the key on the day."""
WAITING_ROWS = 1 << 18
"""Daily counts of batches that wait for being added up."""


def counted_name(position: int) -> str:
    """The column of the rows that fulfil a counter's condition; `position` is the condition's."""
    return f"feedrank_counted_{position}"


def daily_schema(counter: Counter, columns: Columns) -> pa.Schema:
    """Keys, `DAY` (yyyymmdd), `SHOWN`, and a column of counts a condition (int64)."""
    numbers = [SHOWN, *(counted_name(i) for i in range(len(counter.conditions)))]
    keys = [(key, arrow_type(columns[key].type)) for key in counter.keys]
    return pa.schema([*keys, (DAY, pa.int64()), *((name, pa.int64()) for name in numbers)])


def daily_counts(counter: Counter, schema: pa.Schema, rows: pa.RecordBatch) -> pa.Table:
    """Counts of rows by key and day; rows in which a part of the key is missing are not counted.

    Args:
        counter: the spec.
        schema: :func:`daily_schema` of it.
        rows: with the columns that it reads, and `DAY`.
    """
    arrays = dict(zip(rows.schema.names, rows.columns, strict=True))
    named = {name: arrays[name] for name in (*counter.keys, DAY)}
    named[SHOWN] = pa.array(np.ones(rows.num_rows, dtype=np.int64))
    for position, condition in enumerate(counter.conditions):
        named[counted_name(position)] = _fulfil(condition, arrays[condition.column])
    table = pa.table(named, schema=schema)
    return added_up(schema, [table.drop_null() if any(arrays[k].null_count for k in counter.keys) else table])


def _fulfil(condition: Condition, values: pa.Array) -> pa.Array:
    """1 or 0 a row; a missing value fulfils nothing."""
    if condition.equals is None:
        found = pc.greater(values, 0)
    else:
        found = pc.is_in(values, value_set=tokens(condition.equals, values.type))
    return pc.fill_null(found, False).cast(pa.int64())


def added_up(schema: pa.Schema, tables: Sequence[pa.Table]) -> pa.Table:
    """Daily counts of several parts of a log as those of the whole, by key and day, each once.

    Args:
        schema: of all of them.
        tables: any.
    """
    place = schema.names.index(SHOWN)
    by, numbers = schema.names[:place], schema.names[place:]
    together = pa.concat_tables(tables)
    if not together.num_rows:  # pyarrow's group_by would make buffers of any size: gigabytes at times
        return schema.empty_table()
    grouped = together.group_by(by).aggregate([(name, "sum") for name in numbers])
    arrays = {name: grouped[f"{name}_sum" if name in numbers else name] for name in schema.names}
    return pa.table(arrays).cast(schema)


class Hashed(NamedTuple):
    """Daily counts, and a hash of the key of each; uint64 (n,)."""

    rows: pa.RecordBatch
    hashed: NDArray[Any]


class DailyCounts:
    """Counts batches; what waits is added up before it is given away, so that most of it is said once.

    Args:
        counter: the spec.
        columns: the dataset's.
    """

    def __init__(self, counter: Counter, columns: Columns) -> None:
        self._counter = counter
        self._schema = daily_schema(counter, columns)
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, rows: pa.RecordBatch) -> Iterator[Hashed]:
        """Counts rows (see :func:`daily_counts`); yields what is full with them."""
        counts = daily_counts(self._counter, self._schema, rows)
        self._waiting.append(counts)
        self._rows += counts.num_rows
        if self._rows >= WAITING_ROWS:
            yield from self.rest()

    def rest(self) -> Iterator[Hashed]:
        """What waits, if anything."""
        if self._rows:
            for batch in added_up(self._schema, self._waiting).combine_chunks().to_batches():
                keys = [batch.column(position) for position in range(len(self._counter.keys))]
                yield Hashed(batch, row_hashes(keys))
        self._waiting, self._rows = [], 0


def sorted_counts(schema: pa.Schema, parts: Iterable[pa.Table]) -> pa.Table:
    """Daily counts added up, by key and day: the same, however the log was cut."""
    total = added_up(schema, list(parts)).combine_chunks()
    by = schema.names[: schema.get_field_index(SHOWN)]
    return total.take(pc.sort_indices(total, sort_keys=[(name, "ascending") for name in by])).combine_chunks()
