"""How the model learned: curves, and how much each expert counts for each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.beginnings import told_beginning
from pipeline.report.data import Json, ReportData
from pipeline.report.html import NOTHING, Markup, compact, count, counted, duration, el, number, percent, table
from pipeline.report.svg import Series, lines
from pipeline.report.tasks import task_index, task_name


def training(data: ReportData) -> Markup:
    """Loss and validation metrics by epoch."""
    epochs: Sequence[Json] = data.training.get("epochs") or []
    best = data.training.get("best_epoch")
    why = data.training.get("stopped")
    lead = counted(len(epochs), "epoch") + (f"; kept the weights of epoch {best}" if best is not None else "")
    lead += f"; stopped: {why}." if why else "."
    charts = [
        *_validation(data, epochs, best),
        el(
            "div",
            el("h3", "Training loss", el("small", "as a share of the first epoch’s")),
            lines("Training loss by epoch", _losses(data, epochs), best),
            class_="card",
        ),
    ]
    return el(
        "section",
        el("h2", "Training"),
        el("p", lead, class_="lead"),
        _warm_start(data),
        _coverage(data),
        el("div", charts, class_="grid2"),
        el("div", el("details", el("summary", "Every epoch"), _epochs(data, epochs)), class_="card")
        if epochs
        else None,
        id="training",
    )


def _warm_start(data: ReportData) -> Markup | None:
    """What was taken from an earlier model."""
    start = data.training.get("warm_start")
    if not start:
        told = told_beginning((data.config.get("train") or {}).get("warm_start", "none"), None)
        return el("div", el("h3", "Warm start", el("small", told)), class_="card") if told else None
    tables = [
        [name, count(tokens.get("matched")), count(tokens.get("new")), count(tokens.get("gone"))]
        for name, tokens in start.get("tables", {}).items()
    ]
    fresh = start.get("fresh", {})
    return el(
        "div",
        el("h3", "Warm start", el("small", f"{start.get('copied')} variables from {start.get('model')}")),
        table(["Vocabulary", "Tokens of both", "New", "Gone"], tables, numeric=(1, 2, 3)) if tables else None,
        el(
            "details",
            el("summary", f"{len(fresh)} variables began anew"),
            table(["Variable", "Why"], list(fresh.items())),
        )
        if fresh
        else None,
        class_="card",
    )


def _coverage(data: ReportData) -> Markup | None:
    """Rows whose id has no pretrained vector, by feature and split."""
    coverage = data.training.get("coverage")
    if not coverage:
        return None
    rows = [
        [
            feature,
            split,
            count(of["rows"]),
            count(of["missing"]),
            count(of["unknown"]),
            percent(of["unknown"] / of["rows"]),
        ]
        for feature, splits in coverage.items()
        for split, of in splits.items()
        if of["rows"]
    ]
    head = ["Feature", "Split", "Rows", "Without id", "Id without vector", "Share"]
    return el("div", el("h3", "Pretrained vectors"), table(head, rows, numeric=range(2, 6)), class_="card")


def _by_epoch(epochs: Sequence[Json], pick: Sequence[str]) -> list[tuple[float, float]]:
    points = []
    for place, epoch in enumerate(epochs, start=1):
        value: Any = epoch
        for key in pick:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float):
            points.append((float(epoch.get("epoch", place)), float(value)))
    return points


def _tasks(data: ReportData) -> list[str]:
    return list(data.dataset.get("tasks", {}))


def _regressions(data: ReportData) -> list[str]:
    return [name for name, task in data.dataset.get("tasks", {}).items() if task.get("kind") == "regression"]


def _validation(data: ReportData, epochs: Sequence[Json], best: float | None) -> Iterator[Markup]:
    """A chart of the binary tasks' AUC, and one of each regression's error: their units differ."""
    regressions = _regressions(data)
    if binary := [task for task in _tasks(data) if task not in regressions]:
        yield _chart("Validation AUC", [_series(data, epochs, "auc", task) for task in binary], best)
    for task in regressions:
        yield _chart(f"Validation MSE of {task}", [_series(data, epochs, "mse", task)], best)


def _chart(title: str, series: Sequence[Series], best: float | None) -> Markup:
    return el("div", el("h3", title), lines(f"{title} by epoch", series, best), class_="card")


def _series(data: ReportData, epochs: Sequence[Json], metric: str, task: str) -> Series:
    return Series(task, _by_epoch(epochs, ["validation", metric, task]), task_index(data, task))


def _losses(data: ReportData, epochs: Sequence[Json]) -> list[Series]:
    """Each loss over its first value: tasks differ by orders of magnitude."""
    single = [(task, ["losses", task], task_index(data, task)) for task in _tasks(data)]
    series = []
    for name, pick, index in [*single, ("total", ["loss"], len(single))]:
        points = _by_epoch(epochs, pick)
        if points and points[0][1]:
            series.append(Series(name, [(x, y / points[0][1]) for x, y in points], index))
    return series


def _epochs(data: ReportData, epochs: Sequence[Json]) -> Markup:
    tasks, regressions = _tasks(data), _regressions(data)
    metrics = {task: "mse" if task in regressions else "auc" for task in tasks}
    rows = []
    for epoch in epochs:
        validation = epoch.get("validation") or {}
        values = [number((validation.get(metric) or {}).get(task)) for task, metric in metrics.items()]
        mean, speed = number(validation.get("mean_auc")), compact(epoch.get("examples_per_s"))
        time = duration(epoch.get("seconds"))
        rows.append([count(epoch.get("epoch")), number(epoch.get("loss")), mean, *values, time, speed])
    named = [f"{task} (MSE)" if task in regressions else task for task in tasks]
    head = ["Epoch", "Loss", "Weighted mean AUC", *named, "Time", "Examples/s"]
    return table(head, rows, numeric=range(len(head)))


def gates(data: ReportData) -> Markup | None:
    """A heatmap of tasks by experts for each layer of gates."""
    by_layer: dict[str, list[Json]] = {}
    for gate in data.gates.get("layers") or []:
        by_layer.setdefault(str(gate.get("layer", "")), []).append(gate)
    if not by_layer:
        return None
    cards = [
        el("div", el("h3", _layer_name(name, len(by_layer))), _heatmap(data, rows), class_="card")
        for name, rows in by_layer.items()
    ]
    lead = (
        "Mean weight that each task’s gate gives each expert, over validation rows. A row sums to 1 "
        "(of DSelect-k once it has settled); between sub-networks (SNR) each connection is from 0, closed, to 1."
    )
    return el("section", el("h2", "Gates"), el("p", lead, class_="lead"), cards, id="gates")


def _layer_name(name: str, layers: int) -> str:
    if not name:
        return "Gate weights"
    return f"Layer {name} of {layers}" if name.isdigit() else name


def _heatmap(data: ReportData, rows: Sequence[Json]) -> Markup:
    experts = list(dict.fromkeys(expert for row in rows for expert in row["experts"]))
    body = []
    for row in rows:
        weights = dict(zip(row["experts"], row["weights"], strict=True))
        cells = [_weight(weights.get(expert), 2 / len(weights)) for expert in experts]
        body.append([task_name(data, row["task"]), *cells])
    return table(["Gate of", *experts], body, numeric=range(1, len(experts) + 1))


def _weight(value: float | None, highest: float) -> Markup:
    """A cell, darkest from `highest` on: an even gate is half as dark."""
    if value is None:
        return el("td", NOTHING, class_="heat quiet")
    return el("td", f"{value:.2f}", class_="heat", style=f"--heat:{min(value / highest, 1) * 0.6:.3f}")
