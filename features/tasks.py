"""What is predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import pydantic

from features.frozen import Frozen, SpecError
from features.losses import BINARY_LOSSES, REGRESSION_LOSSES, AnyLoss, LogLoss, SquaredError, TaskLoss

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
    """A regression's labels keep their unit: errors of long watch times drown the losses of binary tasks, unless the labels are
    scaled to about 1 (seconds of an hour-long video to hours), `loss` is ``{kind: mse, transform: log1p}`` or another that
    grows slowly, or `weight` is small. Predictions and metrics are in the label's own unit whatever the loss."""
    loss: TaskLoss | None = None
    """``log_loss`` or ``focal`` of a binary task, ``mse``, ``huber`` or ``weighted_logistic`` of a regression; by default the first."""
    positive: tuple[str, ...] | tuple[int, ...] | None = None
    """Values of the label column that count as 1; all others count as 0."""
    mask: str | None = None
    """A 0/1 column: rows where it is 0 count neither in the loss nor in the metrics."""
    sample_weight: str | None = None
    """A column of numbers >= 0: a row's loss counts that many times, ``sum(w l) / sum(w)``. Metrics weigh every row alike."""
    parent: str | None = None
    """The task that must be positive first (click before conversion). A statement about the log, which is held against it
    (`validate.max_orphans`); the heads esmm, aitm and escm2 follow the chains that it forms."""
    orphans: Literal["keep", "quarantine"] = "keep"
    """What becomes of a row in which this task is positive and its parent is not. ``keep``: it is counted and kept. ``quarantine``: the
    row is refused (``orphan_label``), where the log is known to have such rows by mistake."""
    weight: float = pydantic.Field(default=1.0, gt=0)
    """Of this task's loss in the sum; with `weight_gamma` in the beginning."""
    weight_gamma: float = pydantic.Field(default=1.0, gt=0)
    """gamma of ``w_t = weight * gamma^t`` (Tang et al., PLE, RecSys 2020, section 4.3; below 1 the task fades, above it gains). The
    paper counts t in epochs; `train.decay_task_weights` may say steps."""
    metrics: tuple[str, ...] | None = None
    """Metrics reported; all of the task's kind by default."""

    @property
    def objective(self) -> AnyLoss:
        """The loss, that of the kind where none is given."""
        return self.loss or (LogLoss() if self.kind == "binary" else SquaredError())

    @pydantic.model_validator(mode="after")
    def _check_loss(self) -> Task:
        losses = BINARY_LOSSES if self.kind == "binary" else REGRESSION_LOSSES
        if not isinstance(self.objective, losses):
            raise SpecError(
                f"loss {self.objective.kind} is not for a {self.kind} task (label '{self.label}'); allowed: "
                f"{', '.join(loss.model_fields['kind'].default for loss in losses)}"
            )
        return self


def label_column(task: str) -> str:
    """Name of the float32 column in which ingest puts a task's label."""
    return f"label_{task}"


def mask_column(task: str) -> str:
    """Name of the float32 column in which ingest puts a task's sample mask (only for tasks that have one)."""
    return f"mask_{task}"


def weight_column(task: str) -> str:
    """Name of the float32 column in which ingest puts a task's sample weight (only for tasks that have one)."""
    return f"weight_{task}"
