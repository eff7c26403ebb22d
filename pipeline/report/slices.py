"""Every metric of every task on the rows with one value of a column, beside the whole test split.

A reader picks the metric. The choice is a row of radio buttons and the style shows the tables of the one that is checked, so
that it works without a script.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pipeline.report.data import Json, ReportData
from pipeline.report.html import Markup, count, el, table
from pipeline.report.tasks import METRIC_NAMES, metric_text


class _Tint(NamedTuple):
    """How a metric's cell is coloured: how good, -1 to 1, and what the colour means."""

    of: Callable[[float, float], float]
    """From the value on the slice and on the whole."""
    meaning: str


def _distance(value: float, _: float) -> float:
    """A calibration 1.5 times too high or too low is as dark as it gets."""
    return -abs(math.log(value)) / math.log(1.5) if value > 0 else -1.0


_HIGHER = _Tint(
    lambda value, whole: (value - whole) / 0.1, "Green is higher than on the whole test split, red is lower."
)
_LOWER = _Tint(
    lambda value, whole: (1 - value / whole) / 0.2 if whole else 0.0,
    "Green is lower, which is better, than on the whole test split; red is higher.",
)
_TINTS: Mapping[str, _Tint] = {
    "auc": _HIGHER,
    "gauc": _HIGHER,
    "normalized_entropy": _LOWER,
    "mse": _LOWER,
    "mae": _LOWER,
    "calibration": _Tint(_distance, "The redder, the further from 1, on either side."),
}
_MEANINGS: Mapping[str, str] = {
    "log_loss": "Not comparable between slices with other shares of positives: normalised entropy is.",
    "rows": "Rows on which the task is judged: of a task with a mask, those that the mask keeps.",
}
_NAMES: Mapping[str, str] = {**METRIC_NAMES, "positives": "Positives", "rate": "Rate", "rows": "Rows"}
_FEW = 10
"""Positives or negatives: chance moves AUCs and calibrations of fewer by more than any colour is worth."""
_PICKED = tuple(name for name in _NAMES if name != "mean_prediction")


def slices(data: ReportData) -> Markup | None:
    """The card with the tables of each metric; None where nothing was sliced."""
    found = {column: values for column, values in (data.evaluation.get("slices") or {}).items() if values}
    whole: Mapping[str, Json] = data.evaluation.get("tasks") or {}
    metrics = [metric for metric in _PICKED if any(metric in numbers for numbers in whole.values())]
    if not found or not metrics:
        return None
    buttons, panels = [], []
    for place, metric in enumerate(metrics):
        chosen = "" if place == 0 else None
        identity = f"slices-{metric}"
        buttons += [
            el("input", type="radio", name_="slices", id=identity, checked=chosen),
            el("label", _NAMES[metric], for_=identity),
        ]
        tables = [_table(data, metric, column, values) for column, values in found.items()]
        panels.append(el("div", _meaning(metric), tables, class_="panel"))
    lead = (
        "The rows of the test split by the value of a column; each metric as for the whole. Without a colour: where a task has fewer than "
        f"{_FEW} positives or negatives."
    )
    title = [el("h3", "The same per slice"), el("p", lead, class_="quiet")]
    return el("div", title, el("div", buttons, panels, class_="picker"), class_="card")


def _meaning(metric: str) -> Markup | None:
    text = _TINTS[metric].meaning if metric in _TINTS else _MEANINGS.get(metric)
    return el("p", text, class_="quiet small") if text else None


def _table(data: ReportData, metric: str, column: str, values: Mapping[str, Json]) -> Markup:
    whole: Mapping[str, Json] = data.evaluation["tasks"]
    tasks = [task for task, numbers in whole.items() if metric in numbers]
    first = [el("td", metric_text(metric, whole[task].get(metric)), class_="heat whole") for task in tasks]
    rows = [[el("td", "whole test split"), count(data.evaluation.get("rows")), *first]]
    for value, part in values.items():
        cells = [_cell(metric, part["tasks"].get(task, {}), whole[task]) for task in tasks]
        rows.append([el("td", value, class_="name"), count(part["rows"]), *cells])
    return table([column, "Rows", *tasks], rows, numeric=range(1, 2 + len(tasks)), class_="slices")


def _cell(metric: str, numbers: Json, whole: Json) -> Markup:
    value, other = numbers.get(metric), whole.get(metric)
    tip = f"{count(numbers.get('positives'))} positives of {count(numbers.get('rows'))} rows"
    positives, rows = numbers.get("positives"), numbers.get("rows", 0)
    few = positives is not None and min(positives, rows - positives) < _FEW
    if value is None or other is None or few or metric not in _TINTS:
        return el("td", metric_text(metric, value), class_="heat quiet", title=tip)
    good = max(-1.0, min(_TINTS[metric].of(value, other), 1.0))
    tint = "var(--good)" if good >= 0 else "var(--bad)"
    return el(
        "td", metric_text(metric, value), class_="heat", style=f"--tint:{tint};--heat:{abs(good) * 0.45:.3f}", title=tip
    )
