"""Counters over earlier days: how often an item, an author or a user was shown and clicked before a row's day."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import pydantic

from features.actions import AnyOf, Values
from features.frozen import Frozen, SpecError
from features.sources import Column, Columns

MOST_ENTRIES = 20_000_000
"""Of one counter, unless it says otherwise: 3 GB (`ENTRY_BYTES`) in every process that reads or scores rows."""
ENTRY_BYTES = 150
"""Of memory an entry with integers for keys takes at most, as measured: while counters are loaded; a third of it after."""
MOST_DAYS = 366
"""That a counter looks back, and that it waits."""


class Condition(NamedTuple):
    """Which of the rows shown are counted.

    Attributes:
        column: the column that is looked at.
        equals: its values; None: all numbers above 0.
    """

    column: str
    equals: Values | None


class CounterColumn(Frozen):
    """One number of a counter. Without `of` it is about all rows of the key (impressions), with `of` about some of them (clicks)."""

    SHORTHAND: ClassVar[str | None] = "take"

    take: Literal["count", "rate", "days_since"] = "count"
    """``count``: how many rows (int64; 0 where there was none). ``rate``: the share of the rows that `of` speaks of, smoothed by `prior` and
    `strength` (float32). ``days_since``: days from the last such row to this one's day (int64, from 1; missing where there was none)."""
    of: str | None = None
    """A column of the log, its tables or derivations, outcomes and labels too: rows in which it is above 0 are counted; a missing value is not."""
    equals: AnyOf | None = None
    """Counted are rows in which `of` has this value, or one of several, instead."""
    prior: float | None = pydantic.Field(default=None, ge=0, le=1)
    """Of ``rate``: what it is where nothing is known: (counted + strength * prior) / (rows + strength)."""
    strength: float | None = pydantic.Field(default=None, gt=0, allow_inf_nan=False)
    """Of ``rate``: as many rows as the prior weighs. Without both, the rate is missing where there was no row."""

    @property
    def condition(self) -> Condition | None:
        """Which rows are counted; None: all."""
        return None if self.of is None else Condition(self.of, self.equals)

    @property
    def column(self) -> Column:
        """Its type."""
        return Column(type="float32" if self.take == "rate" else "int64")

    @pydantic.model_validator(mode="after")
    def _check(self) -> CounterColumn:
        if self.equals is not None and self.of is None:
            raise SpecError("`equals` needs the column `of` that it compares; got none")
        if self.take == "rate" and self.of is None:
            raise SpecError("a `rate` needs the column `of` that says which rows it is the share of; got none")
        if self.take != "rate" and (self.prior is not None or self.strength is not None):
            raise SpecError(f"`prior` and `strength` smooth a `rate`; got them for `{self.take}`")
        if (self.prior is None) != (self.strength is None):
            raise SpecError("a smoothed rate needs `prior` and `strength`; got one of them; allowed: both or none")
        return self


class Counter(Frozen):
    """Numbers of the rows that had the key of a row on the `days` days before the row's own, as a batch job of the night before it would know them.

    A row never sees its own day, and a row that is quarantined, or dropped as a duplicate, is not counted; one that `downsample` leaves out
    is. Where rows are scored that are later than the log of the run, the counters are those of the morning after the log's last day.
    """

    by: tuple[str, ...] | str
    """The key: one or several columns of int64 or text, such as ``item_id`` or ``[user_id, author_id]``. Where one of them is missing, the counter's
    columns are missing."""
    days: int = pydantic.Field(ge=1, le=MOST_DAYS)
    """How many days are looked at."""
    delay_days: int = pydantic.Field(default=0, ge=0, le=MOST_DAYS)
    """Days just before the row's own that are not looked at: 1 for labels that are known a day late. A counter of labels that `actions` give
    leaves out at least the days that their `window` reaches into (1 of ``24h``, 2 of ``36h``), in all its columns."""
    days_before: Literal["required", "optional"] = "required"
    """Of a log with files by day: whether there must be files, and markers, of the days before the split's that are looked at. ``optional``: the
    manifest names those that have none, and rows of the first days know less."""
    columns: dict[str, CounterColumn] = pydantic.Field(min_length=1)
    """The columns that rows get, by name. ``count`` alone stands for ``{take: count}``."""
    max_entries: pydantic.PositiveInt = MOST_ENTRIES
    """Keys times the days on which each was shown: more stop the run. Memory grows with them (150 bytes each, more of texts), not with the rows."""

    @property
    def keys(self) -> tuple[str, ...]:
        """`by` as a tuple."""
        return (self.by,) if isinstance(self.by, str) else self.by

    @property
    def reach(self) -> int:
        """Days before a row's own that it takes to know its counters."""
        return self.days + self.delay_days

    @property
    def given(self) -> Columns:
        """The columns that rows get."""
        return {name: column.column for name, column in self.columns.items()}

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What is counted besides all rows, each once."""
        return tuple(dict.fromkeys(c.condition for c in self.columns.values() if c.condition is not None))

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the rows that are counted: the keys, and those that conditions look at."""
        return tuple(dict.fromkeys((*self.keys, *(condition.column for condition in self.conditions))))
