"""Times that were read by a wrong unit: seconds taken for milliseconds are days of 1970."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from features.logs.quarantine import OUT_OF_DAYS
from features.sources import TICKS, TimeColumn
from features.spec import Dataset, TimeSplit

_UNITS = (*TICKS, "yyyymmdd")
_EPOCH = datetime.datetime(1970, 1, 1)


def told_unit(dataset: Dataset, quarantined: Mapping[str, Any]) -> str:
    """Which other unit of the time column would make a refused row's time a day of the split; nothing where none does.

    Args:
        dataset: the spec.
        quarantined: `features.logs.counts.Counts.quarantine_summary`.
    """
    time, split = dataset.time, dataset.split
    if time is None or time.unit == "iso8601" or not isinstance(split, TimeSplit):
        return ""
    known = set(split.days())
    for reason in quarantined["reasons"]:
        if reason["column"] == time.column and reason["reason"] in (OUT_OF_DAYS, "bad_time"):
            value = reason["example"]["value"]
            for unit in _UNITS:
                day = _day(value, unit, time)
                if unit != time.unit and day in known:
                    return (
                        f"  {value} is no day of the split by `unit: {time.unit}`, and {day} by `unit: {unit}`: is it that "
                        f"(`dataset.time.unit: {unit}`)?"
                    )
    return ""


def _day(value: str, unit: str, time: TimeColumn) -> datetime.date | None:
    """The day that an integer says by a unit; None if it says none."""
    try:
        number = int(value)
        if unit == "yyyymmdd":
            return datetime.datetime.strptime(f"{number:08d}", "%Y%m%d").date()
        seconds = datetime.timedelta(seconds=number // TICKS[unit], hours=time.utc_offset_hours)
        return (_EPOCH + seconds).date()
    except (ValueError, OverflowError):
        return None
