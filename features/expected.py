"""What is known of a public log's official files, so that others are noticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pydantic

from features.frozen import Frozen
from features.sources import COMPRESSED

TOLERANCE = 0.05
"""Relative difference of a rate that is still the same."""


class Expected(Frozen):
    """Sizes and rates of the official files. Others are warned of, never refused: a part of a log is a log, too."""

    rows: dict[str, pydantic.PositiveInt] = {}
    """Data rows of each file, by its name without folder and without ``.gz`` or the like."""
    tables: dict[str, pydantic.PositiveInt] = {}
    """Rows of side tables, of all files of a table together."""
    rates: dict[str, pydantic.PositiveFloat] = {}
    """Positive rate of each binary task, over all rows that count, of all these files together."""

    def differences(
        self, rows: Mapping[str, int], rates: Mapping[str, float], tables: Mapping[str, int]
    ) -> Iterator[str]:
        """What differs, in words; nothing about files that are not known.

        Args:
            rows: of each file of the log that was read, by its name.
            rates: of each task; compared only if all files are known and have the rows that they should.
            tables: rows that were read of each side table; compared as rates are, for a log of one's own brings its own tables.
        """
        known = True
        for file, found in rows.items():
            stem = file.rpartition("/")[2]
            expected = next(
                (n for name, n in self.rows.items() if stem in (name, *(name + suffix for suffix in COMPRESSED))), None
            )
            known &= found == expected
            if expected is not None and found != expected:
                yield f"{file} has {found:,} rows, the official file {expected:,}"
        for table, expected_rows in self.tables.items() if known else ():
            if tables.get(table, expected_rows) != expected_rows:
                yield f"table '{table}' has {tables[table]:,} rows, in the official files {expected_rows:,}"
        for task, rate in self.rates.items() if known else ():
            if task in rates and abs(rates[task] / rate - 1) > TOLERANCE:
                yield f"task '{task}' has rate {rates[task]:.6g}, in the official files {rate:.6g}"
