"""The top of the page: what was decided, the numbers to remember, and the flow with its times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from pipeline.report.data import ReportData, Stage
from pipeline.report.html import NOTHING, Markup, compact, count, counted, duration, el, number
from pipeline.report.svg import colour


def header(data: ReportData) -> Markup:
    """Title, verdict and the numbers to remember."""
    model = data.config.get("model") or {}
    preset = model.get("preset") if isinstance(model, Mapping) else model
    title = [data.name, el("span", f" · {preset}", class_="quiet")] if preset else [data.name]
    about = [f"Log “{data.dataset.get('name', '')}”, ", f"{len(data.dataset.get('tasks', {}))} tasks, ", data.created]
    return el(
        "header",
        el("div", "feedrank training report", class_="eyebrow"),
        el("h1", title),
        el("p", about, class_="quiet"),
        _banner(data) if data.error is None else _stop(data, data.error),
        el("div", _tiles(data), class_="tiles"),
        class_="top",
    )


_UNJUDGED = "How good it is nobody judged: there was no earlier model to compare with, and evaluate.thresholds asks for nothing."


def _is_judged(data: ReportData) -> bool:
    """Whether more was asked of a metric than that it can be computed."""
    checks = (data.evaluation.get("verdict") or {}).get("checks") or []
    return any(check["limit"] != "defined" for check in checks)


def _banner(data: ReportData) -> Markup:
    reasons = refusals(data)
    if data.blessed and data.infra_blessed:
        if data.version:
            told = f"Blessed twice and pushed as version {data.version}"
            return (
                _box("good", "✓", told, ["Every check passed."])
                if _is_judged(data)
                else _box("warn", "!", told, [_UNJUDGED])
            )
        return _box("warn", "!", "Blessed twice, not pushed", ["The pusher wrote no version in this run."])
    first = "blessed by evaluation" if data.blessed else "refused by evaluation"
    second = "blessed by the serving check" if data.infra_blessed else "refused by the serving check"
    return _box(
        "bad", "✕", "Not pushed", [f"The model was {first} and {second}.", el("ul", [el("li", r) for r in reasons])]
    )


def _stop(data: ReportData, error: str) -> Markup:
    """The banner of a run that did not come to its end."""
    where = next((f"in {stage.name}" for stage in data.stages if stage.state == "failed"), "before its first stage")
    pushed = f"Version {data.version} had been pushed." if data.version else "Nothing was pushed."
    more = f"{pushed} The log with the traceback, log.txt, lies beside this page, and log_libraries.txt."
    return _box("bad", "✕", f"Stopped {where.replace('_', ' ')}", [el("p", error, class_="message"), more])


def refusals(data: ReportData) -> list[str]:
    """Every reason why the model is not pushed, of both judges."""
    judges = (data.evaluation, data.check)
    return [str(reason) for judge in judges for reason in (judge.get("verdict") or {}).get("reasons", [])]


def _box(kind: str, sign: str, title: str, text: Iterable[Markup | str]) -> Markup:
    lines = [part if isinstance(part, Markup) else el("p", part) for part in text]
    return el("div", el("div", sign, class_="sign"), el("div", el("strong", title), lines), class_=f"banner {kind}")


def _tile(what: str, value: str, more: str = "") -> Markup:
    return el(
        "div",
        el("div", what, class_="what"),
        el("div", value, class_="value"),
        el("div", more or NOTHING, class_="more"),
        class_="tile",
    )


def _tiles(data: ReportData) -> Iterable[Markup]:
    tasks = (data.evaluation.get("tasks") or {}).values()
    areas = [task["auc"] for task in tasks if task.get("auc") is not None]
    manifest, training = data.manifest, data.training
    if data.evaluation:
        yield _tile("Mean test AUC", number(fmean(areas)) if areas else NOTHING, f"{len(areas)} binary tasks")
    if manifest:
        quarantined = (manifest.get("quarantined") or {}).get("rows")
        yield _tile("Rows read", compact(manifest.get("rows_read")), f"{count(quarantined)} quarantined")
    if data.evaluation:
        yield _tile("Test rows", compact(data.evaluation.get("rows")), "never trained on")
    if training:
        epochs = len(training.get("epochs") or [])
        yield _tile("Parameters", compact(training.get("parameters")), counted(epochs, "epoch"))
    if data.stages:
        yield _tile(
            "Whole run",
            duration(_total(data.stages)),
            f"{len(data.stages)} {'stage' if len(data.stages) == 1 else 'stages'}",
        )
    if data.check:
        worst = data.check.get("max_difference")
        yield _tile("Serving difference", NOTHING if worst is None else f"{worst:.1e}", _check_rows(data.check))


def _check_rows(check: Mapping[str, Any]) -> str:
    return f"largest, on {count(check['rows'])} rows" if check.get("rows") else ""


def _total(stages: Iterable[Stage]) -> float | None:
    known = [stage.seconds for stage in stages if stage.seconds is not None]
    return sum(known) if known else None


def flow(data: ReportData) -> Markup:
    """The stages in order, with times and rows, and a bar of where the time went."""
    timed = [stage for stage in data.stages if stage.seconds]
    total = _total(data.stages) or 1
    long = [stage.name for stage in timed if (stage.seconds or 0) / total >= 0.02]
    tint = {name: colour(place) for place, name in enumerate(long)}
    bar = [
        el(
            "span",
            title=f"{stage.name}: {duration(stage.seconds)}",
            style=f"width:{(stage.seconds or 0) / total * 100:.2f}%;background:{tint.get(stage.name, 'var(--faint)')}",
        )
        for stage in timed
    ]
    legend = [
        el("span", el("i", style=f"background:{tint[stage.name]}"), f"{stage.name} {(stage.seconds or 0) / total:.0%}")
        for stage in timed
        if stage.name in tint
    ]
    return el(
        "section",
        el("h2", "Flow"),
        el("p", "Each stage with its time and the rows it handled.", _unreached(data), class_="lead"),
        el(
            "div",
            el("ul", [_stage(stage) for stage in data.stages], class_="flow"),
            el("div", bar, class_="times") if timed else None,
            el("div", legend, class_="legend") if timed else None,
            class_="card",
        ),
        id="flow",
    )


def _unreached(data: ReportData) -> str:
    return " The stages after the one that failed did not run." if data.error is not None else ""


def _stage(stage: Stage) -> Markup:
    rows = None
    if stage.rows is not None:
        speed = f", {compact(stage.rows / stage.seconds)}/s" if stage.seconds and stage.state == "done" else ""
        rows = el("div", f"{compact(stage.rows)} rows{speed}", class_="rows")
    time = "cached" if stage.state == "cached" else duration(stage.seconds)
    note = "failed" if stage.state == "failed" else stage.note
    return el(
        "li",
        el("div", stage.name.replace("_", " "), class_="stage"),
        el("div", time, class_="time"),
        rows,
        el("div", note, class_="note") if note else None,
        class_=stage.state,
    )
