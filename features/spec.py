"""What a column, a feature and a task mean: the one declaration that every stage derives from.

A :class:`Dataset` is frozen, checks itself when it is made, and travels as JSON (``dataset.model_dump_json()``).
Where one key says it all, YAML may give that key's value alone: ``user_id: id`` for ``user_id: {kind: id}``; each class
names that key as its ``SHORTHAND``. This module loads neither TensorFlow nor Beam.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from features.actions import ActionLabel, Actions
from features.consistency import check
from features.counter_delays import waiting_counters
from features.counters import Counter, CounterColumn
from features.expected import Expected, Variants
from features.frozen import Frozen, SpecError
from features.kinds import (
    FEATURE_KINDS,
    AnyFeature,
    Bag,
    Bucketized,
    Categorical,
    Clock,
    Cross,
    Feature,
    Id,
    IdVocabulary,
    Numeric,
    Pretrained,
    Reads,
    Sequence,
    Tokens,
    Vocabulary,
)
from features.sampling import Downsample
from features.sources import (
    DAY,
    POSITION,
    REFUSED,
    ROW_ID,
    ROW_WEIGHT,
    AnyTable,
    Column,
    Columns,
    ColumnType,
    Derived,
    DerivedTable,
    SideTable,
    Source,
    TimeColumn,
)
from features.splits import SPLITS, AnySplit, ColumnSplit, RandomSplit, Split, TimeSplit, WindowSplit, today
from features.tasks import METRICS, Task, label_column, mask_column, weight_column

__all__ = [
    "DAY",
    "FEATURE_KINDS",
    "METRICS",
    "POSITION",
    "REFUSED",
    "ROW_ID",
    "ROW_WEIGHT",
    "SPLITS",
    "ActionLabel",
    "Actions",
    "AnyFeature",
    "AnySplit",
    "AnyTable",
    "Bag",
    "Bucketized",
    "Categorical",
    "Clock",
    "Column",
    "ColumnSplit",
    "ColumnType",
    "Columns",
    "Counter",
    "CounterColumn",
    "Cross",
    "Dataset",
    "Derived",
    "DerivedTable",
    "Downsample",
    "Expected",
    "Feature",
    "Frozen",
    "Id",
    "IdVocabulary",
    "Numeric",
    "Pretrained",
    "RandomSplit",
    "Sequence",
    "SideTable",
    "Source",
    "SpecError",
    "Split",
    "Task",
    "TimeColumn",
    "TimeSplit",
    "Tokens",
    "Variants",
    "Vocabulary",
    "WindowSplit",
    "label_column",
    "mask_column",
    "weight_column",
]


class Dataset(Frozen):
    """Everything feedrank knows about one log.

    Raises:
        pydantic.ValidationError: with a message that names what was received and what is allowed, if a name is
            unknown or used twice, a label or an outcome is used as a feature, or a part of the split is empty.
    """

    name: str = pydantic.Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    """Of the log; by default it lies in ``data/<name>``."""
    description: str = ""
    """What the log is, for ``feedrank datasets``."""
    source: Source
    """The log's files."""
    columns: Columns
    """The log's own columns. Those not named here are not read (CSV without header: all, in order)."""
    time: TimeColumn | None = None
    """When the impression happened; a split by time needs it."""
    group: str | None = None
    """The user: GAUC averages over its values."""
    item: str | None = None
    """The item: scores are written, and best items listed, by it."""
    position: str | None = None
    """Where in the feed the item was shown, counted from 0 or 1; known after ranking, so never an ordinary feature. A
    `position_tower` reads it in training. Those below 0 count as missing."""
    duplicates: Literal["keep", "count", "drop"] = "keep"
    """Rows of the log whose columns all have the values of an earlier row (files by name, then rows): kept; kept and counted; or left out by a
    run, as dead letters of a reason that `data.budget` does not count. To find them costs a second reading of the log."""
    actions: Actions | None = None
    """A second log, of what users did: joined to the impressions before the tables, it gives them outcome columns."""
    tables: dict[str, AnyTable] = {}
    """Joined in this order."""
    derived: tuple[Derived, ...] = ()
    """Computed in this order, after all joins."""
    counters: dict[str, Counter] = {}
    """Numbers of the days before a row's own: impressions, clicks and rates of an item, an author, a user, ... Known after all else, so that
    features may read them, and nothing else may. Labels that `actions` give count once their window is over."""
    features: dict[str, Feature]
    """What the model reads, by name; each reads the column of its name unless it says another."""
    tasks: dict[str, Task]
    """What is predicted, by name."""
    split: AnySplit
    """Which rows are trained on, chosen by and tested on."""
    downsample: Downsample | None = None
    """Which rows without a positive label are left out of the training split, and what makes up for them; null: none."""
    expected: Variants = ()
    """What is known of the official files of a public log, of each set of them that may be read."""

    # -- what the rest of the house asks ---------------------------------------------------------------------

    def all_columns(self) -> Columns:
        """Every column a row has after joins and derivations, by name."""
        columns = {**self.columns, **(self.actions.outcomes if self.actions is not None else {})}
        for table in self.tables.values():
            columns.update({n: c for n, c in table.given.items() if n not in table.keys})
        for derived in self.derived:
            columns.update(derived.outputs)
        for counter in self.counters.values():
            columns.update(counter.given)
        return columns

    def reading(self) -> dict[str, Reads]:
        """Features that read a column: all but crosses, which are made of other features."""
        return {name: feature for name, feature in self.features.items() if isinstance(feature, Reads)}

    def pretrained(self) -> dict[str, Pretrained]:
        """Features whose vectors are read from a file."""
        return {name: feature for name, feature in self.features.items() if isinstance(feature, Pretrained)}

    def feature_column(self, feature: str) -> str:
        """The column that a feature of `reading` reads: its own name's unless it says another, the time's of a clock."""
        reads = self.features[feature]
        assert isinstance(reads, Reads)
        if isinstance(reads, Clock) and self.time is not None:
            return reads.column or self.time.column
        return reads.column or feature

    def feature_columns(self) -> tuple[str, ...]:
        """Columns the model needs, in the features' order, each once: the inputs of the served model."""
        return tuple(dict.fromkeys(self.feature_column(name) for name in self.reading()))

    def transform_columns(self) -> tuple[str, ...]:
        """Columns that Transform reads: `feature_columns`, and the position, which a served model does not need."""
        return (*self.feature_columns(), *([self.position] if self.position is not None else []))

    def delayed_counters(self) -> dict[str, Counter]:
        """The counters, each with all the `delay_days` that it has: those of the spec, or as many as labels from actions need."""
        return self.counters | waiting_counters(self)

    def counted_days(self) -> tuple[datetime.date, datetime.date] | None:
        """First and last day whose rows counters need; None: all are counted."""
        if not isinstance(self.split, TimeSplit):
            return None
        days = self.split.days()
        reach = max((counter.reach for counter in self.delayed_counters().values()), default=0)
        return days[0] - datetime.timedelta(days=reach), days[-1]

    @property
    def weighs_rows(self) -> bool:
        """Whether every row has a weight of its own, `ROW_WEIGHT`, in all tasks' losses."""
        return self.downsample is not None and self.downsample.correct == "weights"

    def vocabulary_owner(self, feature: str) -> str:
        """The feature whose vocabulary and embedding table `feature` uses (itself unless it shares)."""
        return getattr(self.features[feature], "vocabulary_of", None) or feature

    # -- checks ----------------------------------------------------------------------------------------------

    @pydantic.model_validator(mode="before")
    @classmethod
    def _days_of_window(cls, value: Any) -> Any:
        """A window of days as the days that it means now."""
        split = value.get("split") if isinstance(value, Mapping) else None
        if isinstance(split, Mapping) and split.get("by") == "window":
            split = WindowSplit.model_validate(split)
        if not isinstance(split, WindowSplit):
            return value
        time = value.get("time")
        given = time.get("utc_offset_hours", 0) if isinstance(time, Mapping) else getattr(time, "utc_offset_hours", 0)
        offset = given if isinstance(given, int | float) else 0  # what is no number is told where it stands
        return {**value, "split": split.seen_from(today(offset))}

    @pydantic.model_validator(mode="after")
    def _check(self) -> Dataset:
        check(self)
        return self
