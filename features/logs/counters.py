"""Counters looked up: of any key on any day, from the counts of its days before."""

from __future__ import annotations

import datetime
import fnmatch
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features import folders
from features.columns import arrow_type
from features.counters import ENTRY_BYTES, Condition, Counter, CounterColumn
from features.errors import DataError
from features.logs.counting import SHOWN, counted_name
from features.logs.days import day_numbers
from features.logs.key_index import KeyIndex
from features.spec import DAY, Dataset

PREFIX = "feedrank_counter-"
"""Of the names of files that hold daily counts, beside the side tables."""
_EPOCH = datetime.date(1970, 1, 1)
Numbers = NDArray[Any]


class CounterTable:
    """The daily counts of one counter, summed up so that any span of days takes two searches.

    Args:
        spec: the counter, with all its `delay_days`.
        daily: `features.logs.counting.daily_schema`; each key and day once, in any order.
        last: the last day that was counted, though no row of it may have the key; by default the last in `daily`.

    Raises:
        DataError: if the key's columns have too many distinct values to be indexed.
    """

    def __init__(self, spec: Counter, daily: pa.Table, last: datetime.date | None = None) -> None:
        self._spec = spec
        keys = list(spec.keys)
        # Of no rows pyarrow's group_by makes buffers of any size: gigabytes at times.
        distinct = daily.group_by(keys).aggregate([(DAY, "max")]) if daily.num_rows else daily
        self._index = KeyIndex([distinct[key] for key in keys])
        days = day_numbers(daily[DAY].to_numpy())
        self._first = int(days.min(initial=2**31))
        until = -(2**31) if last is None else (last - _EPOCH).days
        self._last = int(days.max(initial=until))
        self._span = max(self._last - self._first + 2, 1)
        places = self._index.find([daily[key] for key in keys]) * self._span + (days - self._first)
        order = np.argsort(places)
        self._places = places[order]
        names = {counted_name(position): condition for position, condition in enumerate(spec.conditions)}
        counts = {None: SHOWN} | {condition: name for name, condition in names.items()}
        self._sums: dict[Condition | None, Numbers] = {}
        self._latest: dict[Condition | None, Numbers] = {}
        for condition, name in counts.items():
            of_days = daily[name].to_numpy()[order]
            self._sums[condition] = np.concatenate([[0], np.cumsum(of_days)])
            self._latest[condition] = np.maximum.accumulate(np.where(of_days > 0, self._places, -1))

    def of(self, keys: Sequence[pa.Array], day: pa.Array) -> dict[str, pa.Array]:
        """The counter's columns of n rows.

        Args:
            keys: of each row, length n each.
            day: yyyymmdd of each row; null: what is said of the row means nothing.

        Returns:
            by name, null where a part of the key is. A day that is later than the one after the last that was counted is taken for that one.
        """
        numbers = day_numbers(day.fill_null(19700101).to_numpy())
        now = np.minimum(numbers, self._last + 1) if len(self._places) else numbers
        ends = now - self._spec.delay_days
        code = self._index.find(keys)
        known = code >= 0
        behind, before = (self._place(code, until) for until in (ends, ends - self._spec.days))
        begin, end = (np.where(known, np.searchsorted(self._places, place), 0) for place in (before, behind))
        missing = np.zeros(len(code), dtype=bool)
        for key in keys:
            missing |= np.asarray(key.is_null().to_numpy(zero_copy_only=False))
        found = {}
        for name, column in self._spec.columns.items():
            if column.take == "days_since":
                since = self._days_since(column, now, (begin, end, before))
                found[name] = pa.array(since, pa.int64(), mask=missing | (since == 0))
            else:
                values, undefined = self._amount(column, begin, end)
                found[name] = pa.array(values, mask=missing | undefined).cast(arrow_type(column.column.type))
        return found

    def _place(self, code: Numbers, day: Numbers) -> Numbers:
        return code * self._span + np.clip(day - self._first, 0, self._span - 1)

    def _amount(self, column: CounterColumn, begin: Numbers, end: Numbers) -> tuple[Numbers, Numbers]:
        """A count or rate, and where it is undefined."""
        sums = self._sums[column.condition]
        counted = sums[end] - sums[begin]
        if column.take == "count":
            return counted, np.zeros(len(counted), dtype=bool)
        shown = self._sums[None][end] - self._sums[None][begin]
        strength, prior = column.strength or 0.0, column.prior or 0.0
        weight = shown + strength
        rates = np.divide(counted + strength * prior, weight, out=np.zeros(len(weight)), where=weight > 0)
        return rates.astype(np.float32), weight == 0

    def _days_since(self, column: CounterColumn, now: Numbers, span: tuple[Numbers, Numbers, Numbers]) -> Numbers:
        """From 1; 0 where there was none."""
        begin, end, before = span
        latest = np.append(self._latest[column.condition], -1)[end - 1]
        met = (end > begin) & (latest >= before)
        return np.where(met, now - (self._first + latest % self._span), 0)


def save_counts(name: str, shard: int, daily: pa.Table, work: str, folder: str) -> str:
    """Writes daily counts of some keys of a counter, whole or not at all, and returns the file.

    Args:
        name: the counter's.
        shard: which keys.
        daily: see :class:`CounterTable`.
        work: an unused file of the same file system.
        folder: that of the side tables.
    """
    folders.make(folder)
    with folders.open_output(work) as stream:
        pq.write_table(daily, stream)
    file = os.path.join(folder, f"{PREFIX}{name}-{shard:05d}.parquet")
    folders.replace(work, file)
    return file


def load_counters(dataset: Dataset, folder: str) -> dict[str, CounterTable]:
    """The counters that :func:`save_counts` wrote into a folder of side tables.

    Raises:
        DataError: if one is not there, or has more entries than it may have.
    """
    loaded = {}
    span = dataset.counted_days()
    specs = dataset.delayed_counters()
    for name, entries in count_entries(dataset, folder).items():
        spec = specs[name]
        if not entries:
            raise DataError(
                f"counter '{name}' has nothing to say: no row has a value of {' and '.join(spec.keys)} on the days that it looks at, or "
                f"{folder} holds no counters"
            )
        if entries > spec.max_entries:
            raise DataError(
                f"counter '{name}': {entries:,} pairs of {', '.join(spec.keys)} and day were shown; allowed: {spec.max_entries:,} "
                f"(dataset.counters.{name}.max_entries), which take {entries * ENTRY_BYTES >> 20:,} MB or more in every process that looks them up"
            )
        parts = [_read(file).replace_schema_metadata() for file in _files(name, folder)]
        loaded[name] = CounterTable(spec, pa.concat_tables(parts), None if span is None else span[1])
    return loaded


def count_entries(dataset: Dataset, folder: str) -> dict[str, int]:
    """Pairs of key and day of each counter in a folder of side tables."""
    return {name: sum(map(_rows, _files(name, folder))) for name in dataset.counters}


def remove_counters(folder: str) -> None:
    """Leaves nothing of a run that was killed."""
    for file in _files("*", folder):
        folders.remove(file)


def _files(name: str, folder: str) -> list[str]:
    found = fnmatch.filter(folders.list_names(folder), f"{PREFIX}{name}-*.parquet")
    return [os.path.join(folder, file) for file in found]


def _read(file: str) -> pa.Table:
    with folders.open_input(file) as stream:
        return pq.read_table(stream)


def _rows(file: str) -> int:
    with folders.open_input(file) as stream:
        return int(pq.read_metadata(stream).num_rows)
