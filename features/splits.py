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

    def days(self) -> list[datetime.date]:
        """Every day of the three parts, in their order."""
        ordinals = {
            ordinal
            for first, last in (self.train, self.validation, self.test)
            for ordinal in range(first.toordinal(), last.toordinal() + 1)
        }
        return [datetime.date.fromordinal(ordinal) for ordinal in sorted(ordinals)]


class WindowSplit(Frozen):
    """The newest days of a log that grows by a day every day. A run resolves it into a `TimeSplit`, which is what it saves: started
    again from its saved configuration, it reads the same days."""

    by: Literal["window"] = "window"
    """Says which split it is."""
    until: Literal["yesterday", "today"] | datetime.date = "yesterday"
    """The last day of the test, in the zone of ``time.utc_offset_hours``. A date runs an earlier day again."""
    train: pydantic.PositiveInt
    """Days that weights are learned from, before those of the validation."""
    validation: pydantic.PositiveInt = 1
    """Days by which the best epoch is chosen, before those of the test."""
    test: pydantic.PositiveInt = 1
    """Days on which the model is evaluated."""

    def seen_from(self, today: datetime.date) -> TimeSplit:
        """The days that are meant on the day `today`."""
        last = self.until
        if not isinstance(last, datetime.date):
            last = today if last == "today" else today - datetime.timedelta(days=1)

        def part(days: int, behind: int) -> tuple[datetime.date, datetime.date]:
            end = last - datetime.timedelta(days=behind)
            return end - datetime.timedelta(days=days - 1), end

        return TimeSplit(
            train=part(self.train, self.validation + self.test),
            validation=part(self.validation, self.test),
            test=part(self.test, 0),
        )


def today(utc_offset_hours: float) -> datetime.date:
    """The date where clocks are so many hours before UTC's."""
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=utc_offset_hours)).date()


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


Values = tuple[str, ...] | tuple[int, ...]
"""Of a column."""


def _share_or_values(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return "values"
    return "share" if isinstance(value, int | float) and not isinstance(value, bool) else None


_ShareOrValues = Annotated[
    Annotated[float, pydantic.Field(gt=0, lt=1), pydantic.Tag("share")] | Annotated[Values, pydantic.Tag("values")],
    pydantic.Discriminator(
        _share_or_values,
        custom_error_type="validation",
        custom_error_message="allowed: a share between 0 and 1, or a list of values",
    ),
]


class ColumnSplit(Frozen):
    """Parts of the log by a column's value, as of a log that comes with its own test rows. The validation has values of its own, or is a
    share of the training or of the test rows, by a hash of each row's file and number. Files of their own: `Source.from_name` makes a
    column of their names."""

    by: Literal["column"] = "column"
    """Says which split it is."""
    column: str
    """Of the log: int64 or string."""
    train: Values
    """Values of rows that weights are learned from, but for the validation's share."""
    test: Values
    """Values of rows on which the model is evaluated, but for the validation's share."""
    validation: _ShareOrValues = 0.1
    """Values of rows by which the best epoch is chosen, or a share of the rows of `validation_of`."""
    validation_of: Literal["train", "test"] = "train"
    """Whose rows the validation takes its share of. ``test`` with 0.5 halves the test rows, and trains on all training rows."""
    seed: int = 0
    """Another one chooses other rows for the validation."""


def _by_time_unless_said(value: Any) -> Any:
    if isinstance(value, str):
        return {"by": value}
    return {"by": "time", **value} if isinstance(value, dict) else value


AnySplit = Annotated[
    Annotated[TimeSplit | RandomSplit | ColumnSplit, pydantic.Field(discriminator="by")],
    pydantic.BeforeValidator(
        _by_time_unless_said,
        json_schema_input_type=Literal["random"] | TimeSplit | WindowSplit | RandomSplit | ColumnSplit,
    ),
]
"""By time unless `by` says otherwise; the bare word ``random`` is a random split with its defaults. A `WindowSplit` becomes the
`TimeSplit` of the day on which the configuration is read."""
