"""How a log is cut into training, validation and test."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import pydantic

from features.frozen import Frozen

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def _one_day(value: Any) -> Any:
    return (value, value) if isinstance(value, str | datetime.date) else value


Days = Annotated[
    tuple[datetime.date, datetime.date],
    pydantic.BeforeValidator(_one_day, json_schema_input_type=datetime.date | tuple[datetime.date, datetime.date]),
]
"""First and last day, both included; a single date stands for that one day."""


class TimeSplit(Frozen):
    """Parts of the log by day."""

    by: Literal["time"] = "time"
    """Says which split it is."""
    train: Days
    """Days that weights are learned from."""
    validation: Days
    """Days by which the best epoch is chosen."""
    test: Days
    """Days on which the model is evaluated."""


class RandomSplit(Frozen):
    """Parts of the log by a hash of each row's file and number: for data without time."""

    by: Literal["random"] = "random"
    """Says which split it is."""
    train: float = pydantic.Field(default=0.8, gt=0, lt=1)
    """Share of rows that weights are learned from."""
    validation: float = pydantic.Field(default=0.1, gt=0, lt=1)
    """Share of rows by which the best epoch is chosen."""
    test: float = pydantic.Field(default=0.1, gt=0, lt=1)
    """Share of rows on which the model is evaluated."""
    seed: int = 0
    """Another one cuts elsewhere."""


def _by_time_unless_said(value: Any) -> Any:
    if isinstance(value, str):
        return {"by": value}
    return {"by": "time", **value} if isinstance(value, dict) else value


AnySplit = Annotated[
    Annotated[TimeSplit | RandomSplit, pydantic.Field(discriminator="by")],
    pydantic.BeforeValidator(_by_time_unless_said, json_schema_input_type=Literal["random"] | TimeSplit | RandomSplit),
]
"""By time unless `by` says otherwise; the bare word ``random`` is a random split with its defaults."""
