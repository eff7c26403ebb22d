"""From labelled, predicted rows to the numbers of ``evaluation.json``."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.outputs import UP
from features.spec import METRICS, Dataset, Task
from models import metrics
from pipeline.evaluation.rows import Column, EvaluatedRows

Numbers = dict[str, Any]
"""JSON-ready."""

MIN_SLICE_ROWS = 50
"""A smaller slice is counted, not judged: its metrics are null."""
MAX_SLICE_VALUES = 30
"""Of a column, by rows; the others are counted in a note."""


class _Part(NamedTuple):
    """Columns of one task, (rows,) each."""

    labels: Column
    predictions: Column
    groups: Column | None


def measure(rows: EvaluatedRows, dataset: Dataset, up_interactions: Sequence[str] | None = None) -> Numbers:
    """All metrics of all tasks, whole and by slice.

    Args:
        rows: labels and predictions.
        dataset: names the tasks and the metrics of each (by default all of its kind; a binary task's AUC and a regression's MSE always,
            for the gate compares models by them).
        up_interactions: tasks that count as an interaction when `up` is judged; by default all binary ones.

    Returns:
        ``{"rows", "tasks": {task: metrics}, "up": {...} or None, "slices": {column: {value: {"rows", "tasks"}}},
        "notes": [text]}``. A metric that the rows cannot define is None and a note says why.
    """
    notes: list[str] = []
    return {
        "rows": rows.count,
        "tasks": _tasks(rows, dataset, None, notes),
        "up": _up(rows, dataset, up_interactions, notes),
        "slices": {name: _slices(rows, dataset, name, notes) for name in rows.slices},
        "notes": notes,
    }


def _tasks(rows: EvaluatedRows, dataset: Dataset, where: Column | None, notes: list[str] | None) -> Numbers:
    """Metrics of every task on the rows `where` (their places in rising order, or None: all); `notes` is None inside a slice."""
    measured: Numbers = {}
    for name, task in dataset.tasks.items():
        if name not in rows.predictions:
            measured[name] = {"kind": task.kind, "rows": 0}
            _note(notes, f"task '{name}': the model does not predict it; outputs: {', '.join(sorted(rows.outputs))}")
            continue
        part = _part(rows, name, where)
        numbers, why = _binary(part, task, notes is not None) if task.kind == "binary" else _regression(part, task)
        measured[name] = {"kind": task.kind, **numbers}
        for reason in why:
            _note(notes, f"task '{name}': {reason}")
    return measured


def _part(rows: EvaluatedRows, task: str, where: Column | None) -> _Part:
    """The columns of a task on the rows `where` that its mask does not hide; copies nothing if that is all rows."""
    labels, predictions, groups = rows.labels[task], rows.predictions[task], rows.groups
    if (mask := rows.masks.get(task)) is not None:
        where = mask if where is None else where[mask[where]]
    if where is None:
        return _Part(labels, predictions, groups)
    return _Part(labels[where], predictions[where], None if groups is None else groups[where])


def auc_errors(now: EvaluatedRows, before: EvaluatedRows, dataset: Dataset) -> dict[str, float | None]:
    """Standard error of each binary task's change of AUC between two models, by task; None where it is undefined.

    Args:
        now: rows with one model's predictions.
        before: the same rows in the same order with another's.
        dataset: names the tasks; those that only one of the models predicts are left out.
    """
    errors: dict[str, float | None] = {}
    for name, task in dataset.tasks.items():
        if task.kind == "binary" and name in now.predictions and name in before.predictions:
            pair = now.predictions[name], before.predictions[name]
            usable = not any(_unusable(predictions) for predictions in pair)
            errors[name] = (
                metrics.auc_difference_error(now.labels[name], *pair, now.masks.get(name)) if usable else None
            )
    return errors


def _note(notes: list[str] | None, text: str) -> None:
    if notes is not None:
        notes.append(text)


def _unusable(predictions: Column) -> str | None:
    wrong = int((~np.isfinite(predictions)).sum())
    return f"{wrong:,} of {len(predictions):,} predictions are not finite" if wrong else None


def _binary(part: _Part, task: Task, binned: bool) -> tuple[Numbers, list[str]]:
    """Metrics of a binary task, `binned`: with calibration bins, and why some are None."""
    rows, positives = len(part.labels), int(np.count_nonzero(part.labels == 1))
    numbers: Numbers = {"rows": rows, "positives": positives, "rate": positives / rows if rows else None}
    wanted = {"auc", *(task.metrics or METRICS["binary"])}
    if why := _unusable(part.predictions):
        undefined: Numbers = {"mean_prediction": None} | {name: None for name in METRICS["binary"] if name in wanted}
        return numbers | undefined | ({"calibration_bins": []} if binned else {}), [why]
    reasons = [f"some metrics are undefined: {why}"] if (why := metrics.why_undefined(part.labels)) else []
    numbers |= _by_class(metrics.ByClass.of(part.labels, part.predictions), wanted, binned)
    if "gauc" in wanted:
        numbers |= _gauc(part)
        if numbers["gauc"] is None and not reasons:
            reasons.append(
                "GAUC is undefined: " + ("no group holds both classes" if part.groups is not None else "no `group`")
            )
    return numbers, reasons


def _by_class(found: metrics.ByClass, wanted: Collection[str], binned: bool) -> Numbers:
    """The `wanted` of the metrics that need no groups."""
    rows = len(found.positives) + len(found.negatives)
    numbers: Numbers = {"mean_prediction": found.total() / rows if rows else None}
    compute: Mapping[str, Callable[[], float | None]] = {
        "auc": found.auc,
        "log_loss": found.log_loss,
        "normalized_entropy": lambda: found.normalized_entropy(numbers.get("log_loss")),
        "calibration": found.calibration,
    }
    for name in compute:
        if name in wanted:
            numbers[name] = compute[name]()
    return numbers | ({"calibration_bins": [part._asdict() for part in found.calibration_bins()]} if binned else {})


def _gauc(part: _Part) -> Numbers:
    if part.groups is None:
        return {"gauc": None, "gauc_groups": 0}
    known = part.groups >= 0
    found = metrics.gauc(part.labels, part.predictions, part.groups, mask=None if known.all() else known)
    return {"gauc": found.value, "gauc_groups": found.groups}


def _regression(part: _Part, task: Task) -> tuple[Numbers, list[str]]:
    """Metrics of a regression task and why some are None."""
    labels, predictions = part.labels, part.predictions
    numbers: Numbers = {"rows": len(labels)}
    wanted = dict.fromkeys(["mse", *(task.metrics or METRICS["regression"])])
    why = _unusable(predictions) or (None if len(labels) else "no rows")
    if why:
        return numbers | dict.fromkeys(wanted), [why]
    numbers |= {"mean_label": float(np.mean(labels)), "mean_prediction": float(np.mean(predictions))}
    compute = {"mse": metrics.mse, "mae": metrics.mae}
    return numbers | {name: compute[name](labels, predictions) for name in wanted}, []


def any_interaction(rows: EvaluatedRows, tasks: Iterable[str]) -> npt.NDArray[np.bool_]:
    """(rows,): whether a row is positive in any of `tasks`; a label that its mask hides is no interaction."""
    found = np.zeros(rows.count, bool)
    for task in tasks:
        found |= (rows.labels[task] == 1) & rows.masks.get(task, np.True_)
    return found


def _up(rows: EvaluatedRows, dataset: Dataset, chosen: Sequence[str] | None, notes: list[str]) -> Numbers | None:
    """AUC of `up` against any interaction, DLEN section 3.3: necessary, not sufficient, for `up` to be P(UP)."""
    if UP not in rows.predictions or UP in dataset.tasks:
        return None
    binary = [name for name, task in dataset.tasks.items() if task.kind == "binary"]
    tasks = list(chosen) if chosen is not None else binary
    labels, predictions = any_interaction(rows, tasks), rows.predictions[UP]
    why = _unusable(predictions) or metrics.why_undefined(labels)
    if why:
        notes.append(f"output 'up': {why}")
    return {
        "auc_any_interaction": None if _unusable(predictions) else metrics.auc(labels, predictions),
        "rows": rows.count,
        "positives": int(labels.sum()),
        "mean_prediction": None if _unusable(predictions) else float(np.mean(predictions)),
        "interactions": tasks,
    }


def _slices(rows: EvaluatedRows, dataset: Dataset, column: str, notes: list[str]) -> Numbers:
    """Metrics of each value of a column, the largest slice first."""
    part = rows.slices[column]
    sizes = np.bincount(part.codes, minlength=len(part.values))
    order = [int(code) for code in np.argsort(-sizes, kind="stable") if sizes[code]]
    found: Numbers = {}
    for code in order[:MAX_SLICE_VALUES]:
        numbers = _tasks(rows, dataset, np.flatnonzero(part.codes == code), None)
        if sizes[code] < MIN_SLICE_ROWS:
            numbers = {task: _only_counts(values) for task, values in numbers.items()}
        found[part.values[code]] = {"rows": int(sizes[code]), "tasks": numbers}
    if rest := order[MAX_SLICE_VALUES:]:
        left_out = int(sum(sizes[code] for code in rest))
        notes.append(f"slices by '{column}': {len(rest):,} more values with {left_out:,} rows are not listed")
    return found


def _only_counts(numbers: Numbers) -> Numbers:
    kept = ("kind", "rows", "positives", "rate", "gauc_groups")
    return {name: value if name in kept else None for name, value in numbers.items()}


def without_nan(value: Any) -> Any:
    """`value` with every NaN or infinite number as None: JSON knows neither."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
