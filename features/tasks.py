"""What is predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import pydantic

from features.frozen import Frozen

METRICS: Mapping[str, tuple[str, ...]] = {
    "binary": ("auc", "gauc", "log_loss", "normalized_entropy", "calibration"),
    "regression": ("mse", "mae"),
}


class Task(Frozen):
    """One thing to predict."""

    SHORTHAND: ClassVar[str | None] = "label"

    label: str
    """The column that holds the answer: 0/1 for binary (unless `positive` is given), a number for regression."""
    kind: Literal["binary", "regression"] = "binary"
    """A regression's loss is the squared error of the label as it is: scale the labels to about 1 (seconds of an
    hour-long video to hours), or give a small `weight`, lest its loss drown those of binary tasks."""
    positive: tuple[str, ...] | tuple[int, ...] | None = None
    """Values of the label column that count as 1; all others count as 0."""
    mask: str | None = None
    """A 0/1 column: rows where it is 0 count neither in the loss nor in the metrics."""
    parent: str | None = None
    """The task that must be positive first (click before conversion). A statement about the log, which is held against it
    (`validate.max_orphans`); the heads esmm, aitm and escm2 follow the chains that it forms."""
    weight: float = pydantic.Field(default=1.0, gt=0)
    """Of this task's loss in the sum."""
    metrics: tuple[str, ...] | None = None
    """Metrics reported; all of the task's kind by default."""


def label_column(task: str) -> str:
    """Name of the float32 column in which ingest puts a task's label."""
    return f"label_{task}"


def mask_column(task: str) -> str:
    """Name of the float32 column in which ingest puts a task's sample mask (only for tasks that have one)."""
    return f"mask_{task}"
