"""What the model is worth: metrics per task and slice, the gate, calibration, and the latent preference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.report.data import Json, ReportData
from pipeline.report.html import NOTHING, Markup, count, el, general, number, percent, table
from pipeline.report.slices import slices
from pipeline.report.svg import colour, reliability
from pipeline.report.tasks import METRIC_NAMES, METRICS, metric_text, task_index, task_name


def quality(data: ReportData) -> Markup:
    """Metrics per task, the gate's checks, `up`, slices."""
    evaluation = data.evaluation
    rows = count(evaluation.get("rows"))
    lead = f"On {rows} rows of the test split, asked through the exported model's own signature."
    notes = [el("li", note) for note in evaluation.get("notes") or []]
    return el(
        "section",
        el("h2", "Quality"),
        el("p", lead, class_="lead"),
        el(
            "div",
            _tasks(data),
            _legend(evaluation),
            el("ul", notes, class_="plain quiet") if notes else None,
            class_="card",
        ),
        el("div", el("h3", "The gate"), _gate(evaluation), class_="card"),
        _preference(data),
        slices(data),
        id="quality",
    )


def _tasks(data: ReportData) -> Markup:
    tasks: Mapping[str, Json] = data.evaluation.get("tasks") or {}
    shown = [metric for metric in METRICS if any(metric in numbers for numbers in tasks.values())]
    before = (data.evaluation.get("baseline") or {}).get("tasks") or {}
    head = ["Task", "Positives", "Rate", *(METRIC_NAMES[metric] for metric in shown)]
    rows = []
    for task, numbers in tasks.items():
        rate = numbers.get("rate")
        cells = [_metric(data, task, metric, numbers.get(metric), before.get(task, {}).get(metric)) for metric in shown]
        rows.append([task_name(data, task), count(numbers.get("positives")), percent(rate), *cells])
    return table(head, rows, numeric=[i for i in range(1, len(head)) if head[i] != METRIC_NAMES["auc"]])


def _metric(data: ReportData, task: str, metric: str, value: float | None, before: float | None) -> Markup:
    if metric != "auc":
        return el("td", metric_text(metric, value), class_="num")
    if value is None:
        return el("td", NOTHING, class_="auc")
    at = el("b", style=f"--at:{_above_chance(before)}", title=f"last blessed model: {before:.4f}") if before else None
    style = f"--share:{_above_chance(value)};--tint:{colour(task_index(data, task))}"
    return el("td", number(value), el("span", at, class_="meter", style=style), _change(value, before), class_="auc")


def _above_chance(area: float) -> str:
    """AUC .5 is an empty meter, 1 a full one."""
    return f"{min(max(2 * area - 1, 0), 1):.4f}"


def _change(value: float, before: float | None) -> Markup | None:
    if before is None:
        return None
    change = value - before
    kind = "up" if change > 0.0005 else "down" if change < -0.0005 else "quiet"
    return el("span", f"{change:+.4f}", class_=f"change {kind}")


def _legend(evaluation: Json) -> Markup:
    baseline = evaluation.get("baseline")
    text = "The meter runs from AUC 0.5 (chance) to 1."
    if baseline and not baseline.get("problem"):
        text += " The tick and the difference are the last blessed model on the same rows."
    elif not baseline:
        text += " There was no earlier blessed model to compare with."
    return el("p", text, class_="quiet")


def _gate(evaluation: Json) -> Markup:
    verdict = evaluation.get("verdict") or {}
    checks = verdict.get("checks") or []
    failed = [check for check in checks if not check["ok"]]
    listed = [*failed, *(check for check in checks if check["ok"] and check["limit"] != "defined")]
    kind, text = ("good", "blessed") if verdict.get("blessed") else ("bad", "refused")
    summary = f"{len(checks) - len(failed)} of {len(checks)} checks passed"
    unlisted = len(checks) - len(listed)
    summary += f"; {unlisted} of them, that a metric can be computed at all, are not listed." if unlisted else "."
    baseline = evaluation.get("baseline") or {}
    problem = (
        el("p", f"The last blessed model could not be asked: {baseline['problem']}")
        if baseline.get("problem")
        else None
    )
    rows = [
        [
            el("td", check["task"], class_="name"),
            METRIC_NAMES.get(check["metric"], check["metric"]),
            general(check["value"]),
            check["limit"],
            el("span", "passed" if check["ok"] else "failed", class_=f"pill {'good' if check['ok'] else 'bad'}"),
        ]
        for check in listed
    ]
    shown = table(["Task", "Metric", "Value", "Allowed", "Verdict"], rows, numeric=[2]) if rows else None
    return el("div", el("p", el("span", text, class_=f"pill {kind}"), " ", summary), problem, shown)


def _preference(data: ReportData) -> Markup | None:
    """What DLEN's `up` knows: any interaction, and on synthetic logs the truth."""
    up, truth = data.evaluation.get("up"), data.truth
    if not up and not truth:
        return None
    parts: list[Markup] = []
    if up:
        tasks = ", ".join(up.get("interactions") or []) or "any task"
        parts.append(
            el(
                "p",
                el("b", f"AUC {number(up.get('auc_any_interaction'))}"),
                " of the output ",
                el("code", "up"),
                f", P(user prefers the item), against any interaction ({tasks}): "
                f"{count(up.get('positives'))} of {count(up.get('rows'))} rows have one.",
            )
        )
    if truth:
        areas = dict(truth.get("auc", {}))
        if truth.get("ceiling") is not None:
            areas["ceiling"] = truth["ceiling"]
        ordered = sorted(areas.items(), key=lambda item: -(item[1] or 0))
        parts.append(el("p", "Against the true preference, which only a synthetic log knows:", class_="quiet"))
        parts.append(table(["Score", "AUC against the truth"], [_truth(data, *item) for item in ordered], numeric=[1]))
    return el("div", el("h3", "The latent preference"), parts, class_="card")


def _truth(data: ReportData, name: str, value: float | None) -> list[Markup]:
    known = {"up": "up, the latent preference", "sum": "sum of all tasks’ scores", "ceiling": "the truth itself"}
    tint = colour(task_index(data, name)) if name in data.dataset.get("tasks", {}) else "var(--accent)"
    meter = el("span", class_="meter", style=f"--share:{_above_chance(value or 0.5)};--tint:{tint}")
    return [el("td", known.get(name, name), class_="name"), el("td", number(value), meter, class_="num")]


def calibration(data: ReportData) -> Markup | None:
    """A reliability diagram for each binary task."""
    tasks: Iterable[tuple[str, Any]] = (data.evaluation.get("tasks") or {}).items()
    cards = [_reliability(data, task, numbers) for task, numbers in tasks if numbers.get("calibration_bins")]
    if not cards:
        return None
    lead = (
        "Rows in order of their prediction, cut into ten parts: the mean prediction (across) against the share of positives "
        "(up). On the dashed line, a prediction of 5 % comes true 5 times in 100."
    )
    return el(
        "section",
        el("h2", "Calibration"),
        el("p", lead, class_="lead"),
        el("div", cards, class_="grid3"),
        id="calibration",
    )


def _reliability(data: ReportData, task: str, numbers: Json) -> Markup:
    title = f"Calibration of {task}"
    chart = reliability(title, numbers["calibration_bins"], task_index(data, task))
    sums = f"Σp / Σy {number(numbers.get('calibration'), 3)}"
    return el("div", el("h3", task, el("small", sums)), chart, class_="card")
