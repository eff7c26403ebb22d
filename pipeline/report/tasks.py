"""How tasks and their metrics are called, and which colour a task has, everywhere on the page."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.report.data import ReportData
from pipeline.report.html import Markup, count, el, number, percent
from pipeline.report.svg import colour

METRICS = ("auc", "gauc", "log_loss", "normalized_entropy", "calibration", "mse", "mae")
METRIC_NAMES: Mapping[str, str] = {
    "auc": "AUC",
    "gauc": "GAUC",
    "log_loss": "Log loss",
    "normalized_entropy": "Norm. entropy",
    "calibration": "Σp / Σy",
    "mse": "MSE",
    "mae": "MAE",
    "mean_prediction": "mean prediction",
}


def task_name(data: ReportData, task: str) -> Markup:
    """A table cell with the task's colour."""
    return el("td", el("i", style=f"background:{colour(task_index(data, task))}"), task, class_="name")


def task_index(data: ReportData, task: str) -> int:
    """Which colour a task has."""
    tasks = list(data.dataset.get("tasks", {}))
    return tasks.index(task) if task in tasks else len(tasks)


def metric_text(metric: str, value: float | None) -> str:
    """A metric's value as it is written in tables."""
    if metric in ("rows", "positives"):
        return count(value)
    if metric == "rate":
        return percent(value)
    return number(value, 5 if metric == "log_loss" and (value or 1) < 0.1 else 4)
