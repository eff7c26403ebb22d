"""Whether a split fits its dataset."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from features.frozen import SpecError
from features.references import require, require_type
from features.sources import SideTable
from features.splits import SPLITS, ColumnSplit, RandomSplit, TimeSplit

if TYPE_CHECKING:
    from features.spec import Dataset


def check_split(dataset: Dataset) -> None:
    """Every part of the split can have rows, and no row is in two.

    Raises:
        SpecError: what was received and what is allowed.
    """
    split = dataset.split
    _check_sources(dataset)
    if not isinstance(split, TimeSplit) and dataset.source.by_day:
        raise SpecError(f"the log is read by day, and a {split.by} split has no days; allowed: a split by time")
    kafka = dataset.source.kafka
    if kafka is not None and kafka.by_day and not isinstance(split, TimeSplit):
        raise SpecError(
            f"kafka.window is by days, and a {split.by} split has no days; allowed: a split by time or by window, or since and until"
        )
    if isinstance(split, ColumnSplit):
        _check_column_split(dataset, split)
        return
    if isinstance(split, RandomSplit):
        total = split.train + split.validation + split.test
        if abs(total - 1) > 1e-6:
            raise SpecError(f"the split's shares must sum to 1; train + validation + test is {total:g}")
        return
    if dataset.time is None:
        raise SpecError("a split by time needs `time`, the column that says when; or use `split: {by: random}`")
    parts = {str(part): getattr(split, part) for part in SPLITS}
    for part, (first, last) in parts.items():
        if first > last:
            raise SpecError(f"the split leaves '{part}' empty: it goes from {first} to {last}; allowed: first <= last")
    for earlier, later in (("train", "validation"), ("validation", "test")):
        if parts[earlier][1] >= parts[later][0]:
            raise SpecError(
                f"'{later}' must begin after '{earlier}' ends; '{earlier}' ends on {parts[earlier][1]}, "
                f"'{later}' begins on {parts[later][0]}"
            )


def _check_sources(dataset: Dataset) -> None:
    """What is read beside the log comes from files, and the days that it reaches into can be read of the log, too."""
    for name, table in dataset.tables.items():
        if isinstance(table, SideTable) and table.source.elsewhere is not None:
            raise SpecError(
                f"table '{name}' is {table.source.elsewhere}; allowed for the log alone: a table comes from files"
            )
        if isinstance(table, SideTable) and table.source.by_day:
            raise SpecError(f"table '{name}' has files by day; allowed for the log alone, whose rows have a day each")
    if dataset.actions is None:
        return
    if dataset.actions.source.elsewhere is not None:
        raise SpecError(
            f"actions are {dataset.actions.source.elsewhere}; allowed for the log alone: actions come from files"
        )
    if dataset.source.bigquery is not None and dataset.source.bigquery.by_day:
        raise SpecError(
            "actions reach into days behind the split's, which a log of BigQuery that is read by {day} lacks; allowed: one without"
        )


def _check_column_split(dataset: Dataset, split: ColumnSplit) -> None:
    require("the split", split.column, dataset.columns)
    column = dataset.columns[split.column]
    require_type("the split's column", split.column, column, ("int64", "string"))
    if column.personal is not None:
        raise SpecError(
            f"the split reads column '{split.column}', which is personal; allowed: a column whose values are kept"
        )
    parts = {"train": split.train, "test": split.test}
    if isinstance(split.validation, tuple):
        parts["validation"] = split.validation
        if split.validation_of != "train":
            raise SpecError(
                f"the split's validation has values of its own and is a share of {split.validation_of}; allowed: one of them"
            )
    for part, values in parts.items():
        expected = int if column.type == "int64" else str
        if not values or not all(isinstance(value, expected) for value in values):
            raise SpecError(
                f"the split's {part} has values {', '.join(map(repr, values)) or '(none)'} of '{split.column}'; allowed: {column.type} "
                "values, at least one"
            )
    for one, other in itertools.combinations(parts, 2):
        if both := [value for value in parts[one] if value in parts[other]]:
            raise SpecError(
                f"the split puts {', '.join(map(repr, both))} of '{split.column}' into {one} and {other}; allowed: one of them"
            )
