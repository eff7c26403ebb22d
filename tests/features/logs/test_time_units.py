"""Seconds that were read as milliseconds, and the like: which unit is told."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from features.logs.time_units import told_unit
from features.spec import Dataset

NOON = datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.timezone.utc)
SECONDS = int(NOON.timestamp())


def dataset(unit: str, **changes: Any) -> Dataset:
    spec = {
        "name": "feed",
        "source": "log.csv",
        "columns": {"ts": "int64", "item": "int64", "clicked": "int64"},
        "time": {"column": "ts", "unit": unit} | changes,
        "features": {"item": "id"},
        "tasks": {"click": "clicked"},
        "split": {"train": "2026-03-01", "validation": "2026-03-02", "test": "2026-03-03"},
    }
    return Dataset.model_validate(spec)


def refused(value: object, reason: str = "time_out_of_range", column: str = "ts") -> dict[str, Any]:
    example = {"file": "log.csv", "row": 1, "value": str(value)}
    return {"rows": 9, "reasons": [{"reason": reason, "column": column, "rows": 9, "example": example}]}


@pytest.mark.parametrize(
    ("unit", "value", "meant"),
    [
        ("ms", SECONDS, "s"),
        ("us", SECONDS, "s"),
        ("us", SECONDS * 1_000, "ms"),
        ("ms", SECONDS * 1_000_000, "us"),
        ("ms", 20260303, "yyyymmdd"),
    ],
)
def test_the_unit_that_makes_it_a_day_of_the_split_is_told(unit: str, value: int, meant: str) -> None:
    day = "2026-03-03" if meant == "yyyymmdd" else "2026-03-02"
    for reason in ("time_out_of_range", "bad_time"):
        assert told_unit(dataset(unit), refused(value, reason)) == (
            f"  {value} is no day of the split by `unit: {unit}`, and {day} by `unit: {meant}`: is it that "
            f"(`dataset.time.unit: {meant}`)?"
        )


def test_the_day_is_that_of_the_offset() -> None:
    late = int(datetime.datetime(2026, 3, 3, 23, tzinfo=datetime.timezone.utc).timestamp())
    assert "2026-03-03 by `unit: s`" in told_unit(dataset("ms"), refused(late))
    assert told_unit(dataset("ms", utc_offset_hours=8), refused(late)) == ""


@pytest.mark.parametrize(
    "of",
    [
        refused(SECONDS * 1_000 - 9 * 86_400_000),  # a day before the split's by its own unit
        refused(SECONDS, column="item"),
        refused(SECONDS, reason="bad_label"),
        refused("tomorrow", reason="bad_time"),
        refused("", reason="bad_time"),
        refused(10**30, reason="bad_time"),
        {"rows": 0, "reasons": []},
    ],
)
def test_nothing_is_told_of_anything_else(of: dict[str, Any]) -> None:
    assert told_unit(dataset("ms"), of) == ""
