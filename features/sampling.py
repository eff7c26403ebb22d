"""Negative down-sampling: which rows a training may leave out, and what makes up for them.

The rule names binary tasks. A row is *negative* if none of them is positive (a task whose mask is 0 is not), and a negative row of the
training split is kept with probability k; all others are kept always. With S for "kept", Bayes' rule tells what a model
learns from the kept rows alone. Let r be the rule's only task (or the one that all its others need first), p_r = P(r | x):

    P(S | x) = p_r + k (1 - p_r)
    q_r = P(r | x, S) = p_r / P(S | x)          so  p_r = k q_r / (k q_r + 1 - q_r) = q_r / (q_r + (1 - q_r) / k)

which is formula 4 of He et al., Practical Lessons from Predicting Clicks on Ads at Facebook, ADKDD 2014 (section 6.3). A task c that
happens after r only has no positive row among the negatives, so all of its positives are kept:

    q_c = P(c | x, S) = p_c / P(S | x)          so  p_c = k q_c / (k q_r + 1 - q_r)

and what holds where r is positive, P(c | r, x), is not moved at all. Every other task has rows among the negatives and its share of them
is unknown: of it P(task | x, S) alone does not tell P(task | x). The same holds for a rule of several tasks none of which
comes before the others, as P(any of them | x) is no output. Exact means: as far as tasks keep to their `parent` (`validate.max_orphans`).

What Transform learns (vocabularies, moments, quantiles) is of the kept rows as they are, without weights: it fixes the scale of
numbers and which tokens have rows, and no probability depends on it beyond that. Weights have no such limits: with 1 / k on the kept negatives every task's
expected loss is that of all rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pydantic

from features.frozen import Frozen, SpecError, unknown
from features.losses import LogLoss
from features.tasks import Task


class Downsample(Frozen):
    """Which negative rows of the training split are left out. Validation and test stay whole: metrics are of real traffic."""

    keep: float = pydantic.Field(gt=0, lt=1)
    """Probability with which a negative row stays. By a hash of the row's file and number: the same rows in every run."""
    unless: tuple[str, ...] | None = None
    """Binary tasks: a row on which one of them is positive always stays. All binary tasks by default."""
    correct: Literal["weights", "probability", "none"] = "weights"
    """``weights``: a kept negative weighs 1 / keep in every task's loss. ``probability``: the loss takes rows as they are, and predictions
    are brought back, ``p = q / (q + (1 - q) / keep)``: for rules of one task, or of one and those that it is the parent of.
    ``none``: predictions are of the kept rows, too high on real traffic."""
    seed: int = 0
    """Another one keeps other rows."""

    @pydantic.field_validator("unless")
    @classmethod
    def _named(cls, unless: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if unless is not None and (not unless or len(set(unless)) < len(unless)):
            raise SpecError(f"`unless` names binary tasks, each once; got {', '.join(unless) or 'none'}")
        return unless

    def rule(self, tasks: Mapping[str, Task]) -> tuple[str, ...]:
        """The tasks that keep a row on which one of them is positive."""
        return self.unless or tuple(name for name, task in tasks.items() if task.kind == "binary")


class Correction(Frozen):
    """How probabilities learned from kept rows become those of all rows; see this module's text."""

    keep: float
    """k."""
    root: str
    """The task r by which rows are negative."""
    below: tuple[str, ...] = ()
    """Tasks that happen after r only. All tasks not named are right as they are."""


def check_downsample(downsample: Downsample, tasks: Mapping[str, Task]) -> None:
    """Refuses a rule that names no binary tasks, and a correction of probabilities that would not be exact.

    Raises:
        SpecError: naming the task.
    """
    for name in downsample.unless or ():
        if name not in tasks:
            raise SpecError(f"downsample.unless: {unknown('task', name, tasks)}")
        if tasks[name].kind != "binary":
            raise SpecError(f"downsample.unless: task '{name}' is a regression; allowed: binary tasks")
    if not downsample.rule(tasks):
        raise SpecError(
            "downsample: the dataset has no binary task, so no row is negative; allowed: with a binary task"
        )
    correction_of(downsample, tasks)


def correction_of(downsample: Downsample | None, tasks: Mapping[str, Task]) -> Correction | None:
    """What is to be done to predictions; None where they are right as they are, or are to stay as they are.

    Raises:
        SpecError: if no correction would be exact.
    """
    if downsample is None or downsample.correct != "probability":
        return None
    rule = downsample.rule(tasks)
    roots = [name for name in rule if not set(_before(name, tasks)) & set(rule)]
    if len(roots) > 1:
        raise SpecError(
            f"downsample: `correct: probability` needs the probability that a row is negative, and no task is positive whenever one "
            f"of {', '.join(rule)} is; allowed: `unless` with one task (or one and those that it is the parent of), or "
            "`correct: weights`"
        )
    root = roots[0]
    unmoved = {name for name, task in tasks.items() if name != root and _only_where(task, tasks[root])}
    moved = [name for name in tasks if name not in unmoved]
    for name in moved:
        if problem := _problem(name, root, tasks):
            raise SpecError(
                f"downsample: `correct: probability` cannot correct task '{name}' where rows are left out by '{root}': {problem}; "
                "allowed: `correct: weights`"
            )
    return Correction(keep=downsample.keep, root=root, below=tuple(name for name in moved if name != root))


def _before(name: str, tasks: Mapping[str, Task]) -> list[str]:
    """The tasks that must be positive before this one, the nearest first."""
    before: list[str] = []
    while (parent := tasks[name].parent) is not None:
        before.append(parent)
        name = parent
    return before


def _only_where(task: Task, root: Task) -> bool:
    """Whether the mask of `task` leaves only rows on which the root is positive: no row that counts for it is left out."""
    return task.mask is not None and task.mask == root.label and root.positive is None and root.mask is None


def _problem(name: str, root: str, tasks: Mapping[str, Task]) -> str | None:
    """Why P(task | x) does not follow from what is learned of kept rows; None if it does."""
    task = tasks[name]
    if name != root and (task.kind != "binary" or root not in _before(name, tasks)):
        return f"some of its rows with another label than 0 may be left out, as '{root}' is not its `parent`, nor its parent's"
    if task.objective != LogLoss():
        return f"its loss {task.objective.model_dump_json()} trains no probability; needed: log_loss without label_smoothing"
    for what, own, of_root in (
        ("mask", task.mask, tasks[root].mask),
        ("sample_weight", task.sample_weight, tasks[root].sample_weight),
    ):
        if own != of_root:
            return (
                f"it has {what} {own or 'none'} and '{root}' {of_root or 'none'}, so they are learned from other rows"
            )
    return None
