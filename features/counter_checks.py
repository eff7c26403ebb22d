"""Whether counters fit their dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from features.actions import RESERVED
from features.counters import Condition, Counter
from features.frozen import SpecError
from features.references import NUMBERS, listed, require, require_type
from features.sources import Columns

if TYPE_CHECKING:
    from features.spec import Dataset

_KEYS = ("int64", "string")


def check_counters(dataset: Dataset, columns: Columns, tainted: Mapping[str, str]) -> None:
    """Keys and conditions name columns that are there and fit, keys are known before the impression, and nothing is made of counters
    where they are not known yet.

    Args:
        dataset: the spec.
        columns: all that a row has.
        tainted: those that no feature may read, each with the reason.

    Raises:
        SpecError: what was received and what is allowed.
    """
    if not dataset.counters:
        return
    if dataset.time is None:
        raise SpecError("counters need the log's `time`: they are about the days before a row's own; got none")
    kafka, bigquery = dataset.source.kafka, dataset.source.bigquery
    if (kafka is not None and kafka.by_day) or (bigquery is not None and bigquery.by_day):
        raise SpecError(
            "counters look at days before the split's, which a log of Kafka by `window: days` or of BigQuery by {day} lacks; allowed: "
            "offsets or a stretch of time, a table without {day}"
        )
    counted = {name for counter in dataset.counters.values() for name in counter.given}
    before = {name: column for name, column in columns.items() if name not in counted}
    for name, counter in dataset.counters.items():
        _check_keys(f"counter '{name}'", counter, before, tainted)
        for condition in counter.conditions:
            _check_condition(f"counter '{name}'", condition, before)
    named = {what: getattr(dataset, what) for what in ("group", "item", "position")}
    for task, of in dataset.tasks.items():
        named |= {f"task '{task}': {key}": getattr(of, key) for key in ("label", "mask", "sample_weight")}
    for what, column in named.items():
        if column in counted:
            raise SpecError(f"{what} names '{column}', which a counter gives; allowed: {listed(before)}")


def _check_keys(what: str, counter: Counter, columns: Columns, tainted: Mapping[str, str]) -> None:
    if not counter.keys or len(set(counter.keys)) < len(counter.keys):
        raise SpecError(f"{what}: by {list(counter.keys)}; allowed: one or more columns, each once")
    for key in counter.keys:
        require(f"{what}: by", key, columns)
        require_type(f"{what}: key", key, columns[key], _KEYS)
        if key in tainted:
            raise SpecError(
                f"{what} counts by '{key}', which is {tainted[key]}: it is not known when an item is ranked; allowed: "
                f"{listed(n for n, column in columns.items() if n not in tainted and column.type in _KEYS)}"
            )
        if columns[key].personal == "drop" or not columns[key].kept:
            raise SpecError(f"{what} keeps the values of key '{key}', which nothing may keep; allowed: a kept column")
        if key.startswith(RESERVED):
            raise SpecError(
                f"{what}: key '{key}' begins with '{RESERVED}', as feedrank's own do; allowed: any other name"
            )


def _check_condition(what: str, condition: Condition, columns: Columns) -> None:
    name, values = condition
    require(f"{what}: of", name, columns)
    kind = columns[name].type
    if columns[name].personal is not None:
        raise SpecError(f"{what} looks at '{name}', which is personal; allowed: a column whose values are kept")
    if values is None:
        require_type(f"{what}: of", name, columns[name], NUMBERS)
        return
    require_type(f"{what}: of", name, columns[name], _KEYS)
    if not all(isinstance(value, int if kind == "int64" else str) for value in values):
        raise SpecError(
            f"{what} compares '{name}' with {', '.join(map(repr, values))}, and it is {kind}; allowed: {kind} values (in YAML 1 is a "
            "number, '1' a text)"
        )
