"""Names of what a model answers beside its tasks. Loads no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping

from features.sources import ROW_ID
from features.tasks import Task

UP = "up"
"""The output of a DLEN head that estimates P(user prefers the item)."""
ALL = "all"
"""Beside the tasks' losses: the total loss, or all rows."""
MEAN = "mean"
"""Beside the tasks' AUCs: their mean."""
SCORED_ROW = ("file", "row", "rank", ROW_ID)
"""Columns beside a row's scores that say where it comes from, and its place."""


def and_up(task: str) -> str:
    """The output of a DLEN head that estimates P(task and UP)."""
    return f"{task}_and_up"


def given(task: str, parent: str) -> str:
    """The output of a head along a chain that estimates P(task | parent)."""
    return f"{task}_given_{parent}"


def other_outputs(tasks: Mapping[str, Task]) -> set[str]:
    """All names of outputs that any head may add to these tasks, and of what stands beside the tasks' losses, metrics and scores."""
    conditional = {given(name, task.parent) for name, task in tasks.items() if task.parent is not None}
    return {UP, ALL, MEAN, *SCORED_ROW, *map(and_up, tasks), *conditional}
