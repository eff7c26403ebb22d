"""From labelled, predicted rows to the numbers of ``evaluation.json``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from features.outputs import UP
from features.spec import METRICS, Dataset, Task
from models import metrics
from models.binary_metrics import METRICS as BINARY_METRICS
from models.binary_metrics import BinaryMetrics
from pipeline.evaluation.rows import Column, EvaluatedRows, label_of, prediction_of, slice_of
from pipeline.evaluation.spool import Columns, divided
from pipeline.evaluation.task_rows import LABEL, LIMIT, PREDICTION, TaskRows, auc_error, mse_error

Numbers = dict[str, Any]
"""JSON-ready."""

MIN_SLICE_ROWS = 50
"""A smaller slice is counted, not judged: its metrics are null."""
MAX_SLICE_VALUES = 30
"""Of a column, by rows; the others are counted in a note."""
CALIBRATION_BINS = 10


def measure(
    rows: EvaluatedRows, dataset: Dataset, up_interactions: Sequence[str] | None = None, limit: int = LIMIT
) -> Numbers:
    """All metrics of all tasks, whole and by slice, exact however many rows there are.

    Args:
        rows: labels and predictions.
        dataset: names the tasks and the metrics of each (by default all of its kind; a binary task's AUC and a regression's MSE always,
            for the gate compares models by them).
        up_interactions: tasks that count as an interaction when `up` is judged; by default all binary ones.
        limit: rows in memory at once.

    Returns:
        ``{"rows", "tasks": {task: metrics}, "up": {...} or None, "slices": {column: {value: {"rows", "tasks"}}},
        "notes": [text]}``. A metric that the rows cannot define is None and a note says why.
    """
    notes: list[str] = []
    return {
        "rows": rows.count,
        "tasks": _tasks(rows, dataset, notes, limit),
        "up": _up(rows, dataset, up_interactions, notes, limit),
        "slices": {name: _slices(rows, dataset, name, notes, limit) for name in rows.slices},
        "notes": notes,
    }


def _tasks(rows: EvaluatedRows, dataset: Dataset, notes: list[str] | None, limit: int) -> Numbers:
    """Metrics of every task; `notes` is None of a slice."""
    measured: Numbers = {}
    for name, task in dataset.tasks.items():
        if name not in rows.predicted:
            measured[name] = {"kind": task.kind, "rows": 0}
            _note(notes, f"task '{name}': the model does not predict it; outputs: {', '.join(sorted(rows.outputs))}")
            continue
        part = TaskRows.of(rows, name, limit)
        numbers, why = _binary(part, task, notes is not None) if task.kind == "binary" else _regression(part, task)
        measured[name] = {"kind": task.kind, **numbers}
        for reason in why:
            _note(notes, f"task '{name}': {reason}")
    return measured


def change_errors(
    now: EvaluatedRows, before: EvaluatedRows, dataset: Dataset, limit: int = LIMIT
) -> dict[str, float | None]:
    """Standard error of each task's change between two models, of AUC or, of regressions, MSE; None where it is undefined.

    Args:
        now: rows with one model's predictions.
        before: the same rows in the same order with another's.
        dataset: names the tasks; those that only one of the models predicts are left out.
        limit: rows in memory at once.
    """
    errors: dict[str, float | None] = {}
    for name, task in dataset.tasks.items():
        if name not in now.predicted or name not in before.predicted:
            continue
        if any(TaskRows.of(rows, name, limit).not_finite for rows in (now, before)):
            errors[name] = None
        elif task.kind == "binary":
            errors[name] = auc_error(now, before, name, limit)
        else:
            errors[name] = mse_error(now, before, name)
    return errors


def _note(notes: list[str] | None, text: str) -> None:
    if notes is not None:
        notes.append(text)


def _unusable(part: TaskRows) -> str | None:
    return f"{part.not_finite:,} of {part.rows:,} predictions are not finite" if part.not_finite else None


def _binary(part: TaskRows, task: Task, binned: bool) -> tuple[Numbers, list[str]]:
    """Metrics of a binary task, `binned`: with calibration bins, and why some are None."""
    rows, positives = part.rows, part.positives
    numbers: Numbers = {"rows": rows, "positives": positives, "rate": positives / rows if rows else None}
    wanted = {"auc", *(task.metrics or METRICS["binary"])}
    if why := _unusable(part):
        undefined: Numbers = {"mean_prediction": None} | {name: None for name in METRICS["binary"] if name in wanted}
        return numbers | undefined | ({"calibration_bins": []} if binned else {}), [why]
    why = metrics.undefined(positives, rows)
    reasons = [f"some metrics are undefined: {why}"] if why else []
    chosen = [name for name in BINARY_METRICS if name in wanted]
    found = BinaryMetrics(part.by_class(), chosen, CALIBRATION_BINS if binned else 0, rows)
    numbers["mean_prediction"] = found.total / rows if rows else None
    numbers |= {name: found.metric(name) for name in chosen}
    if binned:
        numbers["calibration_bins"] = [each._asdict() for each in found.calibration_bins()]
    if "gauc" in wanted:
        grouped = part.gauc() if part.grouped else None
        numbers |= {"gauc": grouped and grouped.value, "gauc_groups": grouped.groups if grouped else 0}
        if numbers["gauc"] is None and not reasons:
            reasons.append("GAUC is undefined: " + ("no group holds both classes" if grouped else "no `group`"))
    return numbers, reasons


def _regression(part: TaskRows, task: Task) -> tuple[Numbers, list[str]]:
    """Metrics of a regression task and why some are None."""
    numbers: Numbers = {"rows": part.rows}
    wanted = dict.fromkeys(["mse", *(task.metrics or METRICS["regression"])])
    if why := _unusable(part) or (None if part.rows else "no rows"):
        return numbers | dict.fromkeys(wanted), [why]
    compute: Mapping[str, Callable[[Column, Column], float | None]] = {
        "mean_label": lambda labels, _: float(np.mean(labels, dtype=np.float64)),
        "mean_prediction": lambda _, predictions: float(np.mean(predictions, dtype=np.float64)),
        "mse": metrics.mse,
        "mae": metrics.mae,
    }
    for name in ("mean_label", "mean_prediction", *wanted):
        sums = ((compute[name](*block) or 0.0) * len(block.labels) for block in part.blocks() if len(block.labels))
        numbers[name] = math.fsum(sums) / part.rows
    return numbers, []


def any_interaction(block: Columns, tasks: Iterable[str]) -> npt.NDArray[np.bool_]:
    """(rows,): whether a row is positive in any of `tasks`; a label that its mask hides is no interaction."""
    found = np.zeros(len(next(iter(block.values()))), bool)
    for task in tasks:
        found |= block[label_of(task)]
    return found


def _up(
    rows: EvaluatedRows, dataset: Dataset, chosen: Sequence[str] | None, notes: list[str], limit: int
) -> Numbers | None:
    """AUC of `up` against any interaction, DLEN section 3.3: necessary, not sufficient, for `up` to be P(UP)."""
    if UP not in rows.predicted or UP in dataset.tasks:
        return None
    binary = [name for name, task in dataset.tasks.items() if task.kind == "binary"]
    tasks = list(chosen) if chosen is not None else binary

    def columns(_: Sequence[str]) -> Iterator[Columns]:
        for block in rows.spool.blocks([*map(label_of, tasks), prediction_of(UP)]):
            yield {LABEL: any_interaction(block, tasks), PREDICTION: block[prediction_of(UP)]}

    part = TaskRows(columns, limit=limit)
    unusable = _unusable(part)
    if why := unusable or metrics.undefined(part.positives, part.rows):
        notes.append(f"output 'up': {why}")
    found = None if unusable else BinaryMetrics(part.by_class(), ["auc"])
    return {
        "auc_any_interaction": found and found.metric("auc"),
        "rows": part.rows,
        "positives": part.positives,
        "mean_prediction": found and found.total / part.rows,
        "interactions": tasks,
    }


def _slices(rows: EvaluatedRows, dataset: Dataset, column: str, notes: list[str], limit: int) -> Numbers:
    """Metrics of each value of a column, the largest slice first."""
    values, name = rows.slices[column], slice_of(column)
    sizes = np.zeros(len(values), np.int64)
    for block in rows.spool.blocks([name]):
        sizes += np.bincount(block[name], minlength=len(values))
    order = [int(code) for code in np.argsort(-sizes, kind="stable")]
    listed, rest = order[:MAX_SLICE_VALUES], order[MAX_SLICE_VALUES:]
    place = np.full(len(values), -1)
    place[listed] = range(len(listed))
    spools = divided(rows.spool.blocks(rows.spool.names), len(listed), lambda block: place[block[name]])
    found: Numbers = {}
    for code, spool in zip(listed, spools, strict=True):
        numbers = _tasks(dataclasses.replace(rows, spool=spool), dataset, None, limit)
        if spool.rows < MIN_SLICE_ROWS:
            numbers = {task: _only_counts(values) for task, values in numbers.items()}
        found[values[code]] = {"rows": spool.rows, "tasks": numbers}
    if rest:
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
