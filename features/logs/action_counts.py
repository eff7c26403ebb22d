"""What became of every action: counts that add up over workers and shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from features.logs.action_log import KeyedRows
from features.logs.attribution import ATTRIBUTED, OUTCOMES
from features.logs.counts import Counts
from features.logs.days import days_of_instants
from features.logs.places import TIME

_ENOUGH, _FEW = 100, 0.01
"""Actions, of which fewer than such a share belong to an impression, are likely to be joined in another way than was meant."""


@dataclass
class ActionCounts:
    """Counts of any part of the actions; :meth:`merge` of the parts gives those of the whole, in any order.

    Attributes:
        read: rows read and quarantined, by file and reason, and good rows by day.
        outcomes: good rows by what became of them, a key of `features.logs.attribution.OUTCOMES`.
    """

    read: Counts = field(default_factory=Counts)
    outcomes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: KeyedRows, file: str, utc_offset_hours: float) -> ActionCounts:
        """Counts of a batch of the log of actions; the offset says when days begin."""
        read = Counts.of_letters(rows.quarantined, rows.rows_read)
        read.files = {file: rows.rows_read}
        found = days_of_instants(np.asarray(rows.rows.column(rows.rows.schema.get_field_index(TIME))), utc_offset_hours)
        read.days = dict(zip(*(of.tolist() for of in np.unique(found, return_counts=True)), strict=True))
        read.without = dict.fromkeys(rows.without, rows.rows_read)
        return cls(read)

    def merge(self, other: ActionCounts) -> ActionCounts:
        """Adds `other` to these counts and returns them."""
        self.read.merge(other.read)
        for outcome, rows in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + rows
        return self

    def manifest(self) -> dict[str, Any]:
        """What ingest writes down, as JSON. ``rows_read == attributed + sum(others) + quarantined.rows``.

        Raises:
            AssertionError: if an action was lost; that would be an error of feedrank.
        """
        found = sum(self.outcomes.values())
        if self.read.rows_read != found + self.read.quarantined:
            raise AssertionError(
                f"{self.read.rows_read} actions read, but {found} joined or kept and {self.read.quarantined} quarantined"
            )
        return {
            "rows_read": self.read.rows_read,
            ATTRIBUTED: self.outcomes.get(ATTRIBUTED, 0),
            "others": {outcome: self.outcomes.get(outcome, 0) for outcome in OUTCOMES if outcome != ATTRIBUTED},
            "quarantined": self.read.quarantine_summary(),
            "files": [{"path": file, "rows": rows} for file, rows in sorted(self.read.files.items())],
            "days": {str(day): rows for day, rows in sorted(self.read.days.items())},
            "without": self.read.without,
        }


def told(actions: Mapping[str, Any]) -> str:
    """A manifest's counts of actions in a few words."""
    others = [f"{rows:,} {name}" for name, rows in actions["others"].items() if rows]
    return f"{actions[ATTRIBUTED]:,} of {actions['rows_read']:,} actions attributed" + (
        f" ({', '.join(others)})" if others else ""
    )


def told_few(actions: Mapping[str, Any], window: float) -> str:
    """Where hardly any action belongs to an impression: how many, and why they do not. Else nothing.

    Args:
        actions: a manifest's counts.
        window: of the attribution, in seconds.
    """
    read, attributed = actions["rows_read"], actions[ATTRIBUTED]
    if read < _ENOUGH or attributed >= read * _FEW:
        return ""
    return f"only {told(actions)}: are `actions.on`, `time` and `window` (here {window:g} seconds) right?"
