"""What a synthetic log is made of: its size, its days, its seed."""

from __future__ import annotations

import datetime
from typing import Literal

import pydantic

from features.spec import Frozen

TASKS: tuple[str, ...] = ("click", "like", "follow", "comment", "share", "conversion")
"""The six ways of showing preference, each a task of the log."""
LABELS: dict[str, str] = {
    "click": "clicked",
    "like": "liked",
    "follow": "followed",
    "comment": "commented",
    "share": "shared",
    "conversion": "converted",
}
"""The log's 0/1 column of each task."""


class SynthesisConfig(Frozen):
    """Everything that decides which rows are written. The same config gives the same rows."""

    rows: int = pydantic.Field(default=300_000, ge=100)
    """Impressions, spread evenly over the days."""
    users: int = pydantic.Field(default=5_000, ge=10)
    """Users that the log may show."""
    items: int = pydantic.Field(default=2_000, ge=20)
    """Items that the log may show."""
    days: int = pydantic.Field(default=7, ge=3)
    """The last day is the test part, the one before it the validation part (`features.catalog.synthetic`)."""
    start: datetime.date = datetime.date(2026, 1, 5)
    """The log's first day."""
    seed: int = pydantic.Field(default=0, ge=0)
    """Of all that is drawn."""
    positions: int = pydantic.Field(default=10, ge=1, le=100)
    """Items shown in one request, at positions 1..positions."""
    position_decay: float = pydantic.Field(default=0.25, ge=0)
    """The item at position k is looked at with probability k ** -position_decay."""
    drift: float = pydantic.Field(default=0.3, ge=0)
    """How far tastes and popularity move from the first day to the last; 0 is a world that stands still."""
    popularity_skew: float = pydantic.Field(default=0.8, ge=0)
    """Exponent of the Zipf law by which items are shown."""
    history_length: int = pydantic.Field(default=10, ge=1)
    """Items at most in the column of a user's recent clicks."""
    format: Literal["parquet", "csv"] = "parquet"
    """Of the log and its side tables; the truth is always Parquet."""
    rows_per_file: int = pydantic.Field(default=1_000_000, ge=1)
    """A day with more rows has several files; the rows themselves do not depend on it."""

    @property
    def dates(self) -> tuple[datetime.date, ...]:
        """The log's days in order."""
        return tuple(self.start + datetime.timedelta(days=day) for day in range(self.days))

    def rows_of_day(self, day: int) -> int:
        """Rows of the day with that number, from 0: the remainder of rows / days goes to the first days."""
        return self.rows // self.days + (day < self.rows % self.days)


class SynthesisSummary(Frozen):
    """What `synthesize` wrote, or found already written."""

    directory: str
    rows: int
    files: int
    """Files of the log; side tables and truth come on top."""
    rates: dict[str, float]
    """Positive rows / rows of each task."""
    reused: bool = False
    """Whether the same log was there already."""
