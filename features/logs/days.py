"""From a time column to days, and from days to the parts of a split."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.errors import ConfigError
from features.logs.casting import tokens
from features.logs.quarantine import Faults
from features.logs.row_ids import uniform
from features.sources import TICKS
from features.spec import SPLITS, Columns, ColumnSplit, Dataset, RandomSplit, TimeColumn, TimeSplit
from features.splits import Values

NO_PART = -1
_DAY_SECONDS = 86_400
_ISO8601 = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?(Z|[+-]\d{2}:?\d{2})?$"
_FIRST = np.datetime64("0001-01-01", "D").astype(np.int64)
_LAST = np.datetime64("9999-12-31", "D").astype(np.int64)


def check_time(time: TimeColumn, columns: Columns) -> None:
    """Makes sure that the time column's type goes with its unit.

    Raises:
        ConfigError: otherwise; float32 cannot hold milliseconds.
    """
    allowed = "string" if time.unit == "iso8601" else "int64"
    found = columns[time.column].type
    if found != allowed:
        raise ConfigError(f"time column '{time.column}' is {found}; unit {time.unit} needs {allowed}")


def days(time: TimeColumn, values: pa.Array, faults: Faults, required: bool = True) -> pa.Array:
    """The day of each row as yyyymmdd, null where there is none.

    Args:
        time: unit and offset from UTC.
        values: the time column, int64 or string.
        faults: gets ``bad_time`` for a time that is none and, if `required`, for a missing one.
        required: whether every row needs a time.
    """
    valid = np.asarray(pc.is_valid(values).to_numpy(zero_copy_only=False))
    if time.unit == "iso8601":
        day, ok = _days_of_texts(values, time.utc_offset_hours)
    elif time.unit == "yyyymmdd":
        day, ok = _days_of_dates(pc.fill_null(values, 0).to_numpy())
    else:
        day, ok = _days_of_numbers(
            pc.fill_null(values, 0).to_numpy(), _DAY_SECONDS * TICKS[time.unit], time.utc_offset_hours
        )
    ok &= valid & (day >= _FIRST) & (day <= _LAST)
    faults.mark(~ok if required else valid & ~ok, "bad_time", time.column, values)
    return pa.array(_as_numbers(np.where(ok, day, 0)), mask=None if ok.all() else ~ok)


def _as_numbers(day: NDArray[Any]) -> NDArray[Any]:
    """Days since 1970 as yyyymmdd; a batch has few days, so that each is worked out once."""
    first, last = (day.min(), day.max()) if len(day) else (0, 0)
    if last - first < len(day):
        return np.asarray(_as_number(np.arange(first, last + 1))[day - first])
    return _as_number(day)


def days_of_instants(instants: NDArray[Any], utc_offset_hours: float) -> NDArray[Any]:
    """The days, yyyymmdd, of times as `features.logs.instants.instants` gives them, microseconds since 1970; int64 (n,)."""
    day, _ = _days_of_numbers(instants, _DAY_SECONDS * TICKS["us"], utc_offset_hours)
    return _as_numbers(day)


def day_numbers(days: NDArray[Any]) -> NDArray[Any]:
    """Days since 1970-01-01 of days as :func:`days` gives them, yyyymmdd; int64 (n,)."""
    return _days_of_dates(np.asarray(days))[0]


def _as_number(day: NDArray[Any]) -> NDArray[Any]:
    dates = day.astype("datetime64[D]")
    months = dates.astype("datetime64[M]").astype(np.int64)
    in_month = (dates - dates.astype("datetime64[M]")).astype(np.int64)
    return np.asarray((1970 + months // 12) * 10_000 + (months % 12 + 1) * 100 + in_month + 1)


def _days_of_numbers(ticks: NDArray[Any], per_day: int, offset_hours: float) -> tuple[NDArray[Any], NDArray[Any]]:
    limit = int(_LAST + 2) * per_day
    ok = (ticks > -limit) & (ticks < limit)
    return (np.where(ok, ticks, 0) + round(offset_hours * per_day / 24)) // per_day, ok


def _days_of_dates(numbers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    year, month, day = numbers // 10_000, numbers // 100 % 100, numbers % 100
    ok = (year >= 1) & (year <= 9999) & (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(ok, (year - 1970) * 12 + month - 1, 0)
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    following = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    found = first + day - 1
    return found, ok & (found < following)


def _days_of_texts(values: pa.Array, offset_hours: float) -> tuple[NDArray[Any], NDArray[Any]]:
    ticks, ok = text_times(values, "s")
    return (ticks + round(offset_hours * 3600)) // _DAY_SECONDS, ok


def text_times(values: pa.Array, unit: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """ISO 8601; a text without a zone is taken as UTC. Times beyond the years 1678..2261 are refused.

    Args:
        values: texts, length n.
        unit: ``s`` or ``us``.

    Returns:
        int64 (n,), ticks since 1970-01-01 UTC, 0 where there is no time; bool (n,), whether there is one.
    """
    shaped = pc.fill_null(pc.match_substring_regex(values, _ISO8601), False)
    texts = pc.if_else(shaped, values, pa.scalar(None, pa.string())).to_numpy(zero_copy_only=False)
    times = pd.Series(pd.to_datetime(texts, errors="coerce", utc=True))
    ok = times.notna().to_numpy()
    ticks = times.dt.tz_localize(None).to_numpy().astype(f"datetime64[{unit}]").astype(np.int64)
    return np.where(ok, ticks, 0), ok


def parts(split: TimeSplit | RandomSplit, day: pa.Array | None, ids: NDArray[Any]) -> NDArray[Any]:
    """Part of the split of each row: position in `SPLITS`, or `NO_PART`. Shape (n,), int8.

    Args:
        split: by time or random.
        day: yyyymmdd of each row; needed for a split by time.
        ids: row ids; used by a random split.
    """
    found = np.full(len(ids), NO_PART, dtype=np.int8)
    if isinstance(split, RandomSplit):
        return np.searchsorted(
            [split.train, split.train + split.validation], uniform(ids, split.seed), side="right"
        ).astype(np.int8)
    assert day is not None
    numbers = pc.fill_null(day, 0).to_numpy()
    for position, part in enumerate(SPLITS):
        first, last = (_number(date) for date in getattr(split, part))
        if len(numbers) and first <= numbers.min() and numbers.max() <= last:  # as in most batches of a log by time
            return np.full(len(ids), position, dtype=np.int8)
        found[(numbers >= first) & (numbers <= last)] = position
    return found


def days_beside(dataset: Dataset) -> tuple[int, int] | None:
    """The first and the last day, as yyyymmdd, of which rows are found beside those of a topic's window of days; None of another log."""
    kafka = dataset.source.kafka
    if kafka is None or kafka.window is None or not kafka.by_day or not isinstance(dataset.split, TimeSplit):
        return None
    first, last = kafka.window.reach(dataset.split.days())
    return _number(first), _number(last)


def parts_by_value(split: ColumnSplit, values: pa.Array, ids: NDArray[Any]) -> NDArray[Any]:
    """Part of the split of each row, as of `parts`.

    Args:
        split: by a column.
        values: that column.
        ids: row ids, by which the validation is chosen.
    """

    def has(of: Values) -> NDArray[Any]:
        return np.asarray(pc.is_in(values, value_set=tokens(of, values.type)).to_numpy(zero_copy_only=False))

    train, test = has(split.train), has(split.test)
    if isinstance(split.validation, tuple):
        validation = has(split.validation)
    else:
        shared = train if split.validation_of == "train" else test
        validation = shared & (uniform(ids, split.seed) < split.validation)
    return np.select([validation, test, train], [1, 2, 0], NO_PART).astype(np.int8)


def _number(date: datetime.date) -> int:
    return date.year * 10_000 + date.month * 100 + date.day
