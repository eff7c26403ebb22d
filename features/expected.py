"""What is known of a public log's official files, so that others are noticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import pydantic

from features.frozen import Frozen
from features.sources import COMPRESSED

TOLERANCE = 0.05
"""Relative difference of a rate that is still the same."""


class Expected(Frozen):
    """Sizes and rates of official files that are read together: one variant of a log, such as its small version, or its test file alone.
    Others are warned of, never refused: a part of a log is a log, too."""

    rows: dict[str, pydantic.PositiveInt] = {}
    """Data rows of each file, by its name without folder and without ``.gz`` or the like. Where exactly these files are read and have
    these rows, `tables` and `rates` are compared."""
    tables: dict[str, pydantic.PositiveInt] = {}
    """Rows of side tables, of all files of a table together."""
    rates: dict[str, pydantic.PositiveFloat] = {}
    """Positive rate of each binary task, over all rows that count, of all these files together."""

    @classmethod
    def counted(
        cls, rows: Mapping[str, int], positives: Mapping[str, int], tables: Mapping[str, int] | None = None
    ) -> Expected:
        """Of files whose positive rows of each task somebody has counted, where every row counts for every task."""
        of = sum(rows.values())
        return cls(rows=dict(rows), tables=dict(tables or {}), rates={task: n / of for task, n in positives.items()})


def _one(value: Any) -> Any:
    return (value,) if isinstance(value, Mapping | Expected) else value


Variants = Annotated[
    tuple[Expected, ...],
    pydantic.BeforeValidator(_one, json_schema_input_type=Expected | tuple[Expected, ...]),
]
"""What is known of each set of files that may be read; a single one stands for itself."""


def differences(
    variants: Sequence[Expected], rows: Sequence[tuple[str, int]], rates: Mapping[str, float], tables: Mapping[str, int]
) -> Iterator[str]:
    """What differs, in words; nothing about files that are not known.

    Args:
        variants: what is known.
        rows: name and rows of each file of the log that was read.
        rates: of each task; compared with those of the variant whose files these are.
        tables: rows that were read of each side table; compared as rates are, for a log of one's own brings its own tables.
    """
    for file, found in rows:
        known = {variant.rows[name] for variant in variants if (name := _official(file)) in variant.rows}
        if known and found not in known:
            yield f"{file} has {found:,} rows, the official file {' or '.join(f'{of:,}' for of in sorted(known))}"
    read = sorted((_official(file), found) for file, found in rows)
    variant = next(
        (variant for variant in variants if variant.rows and sorted(variant.rows.items()) == read), Expected()
    )
    for table, expected in variant.tables.items():
        if tables.get(table, expected) != expected:
            yield f"table '{table}' has {tables[table]:,} rows, in the official files {expected:,}"
    for task, rate in variant.rates.items():
        if task in rates and abs(rates[task] / rate - 1) > TOLERANCE:
            yield f"task '{task}' has rate {rates[task]:.6g}, in the official files {rate:.6g}"


def _official(file: str) -> str:
    """The name without folder and compression."""
    name = file.rpartition("/")[2]
    return next((name.removesuffix(suffix) for suffix in COMPRESSED if name.endswith(suffix)), name)
