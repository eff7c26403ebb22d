"""The page: sections in order, with style and script inside, nothing from the network."""

from __future__ import annotations

from importlib import resources

from pipeline.report import lineage, log, overview, provenance, quality, training
from pipeline.report.data import ReportData
from pipeline.report.html import Markup, el

_TITLES = {
    "flow": "Flow",
    "quality": "Quality",
    "calibration": "Calibration",
    "training": "Training",
    "gates": "Gates",
    "data": "Data",
    "serving": "Serving",
    "lineage": "Lineage",
    "provenance": "Provenance",
}


def render(data: ReportData) -> str:
    """One self-contained HTML document; a pure function of `data` (and of the style beside this file)."""
    sections: dict[str, Markup | None] = {
        "flow": overview.flow(data) if data.stages else None,
        "quality": quality.quality(data) if data.evaluation else None,
        "calibration": quality.calibration(data),
        "training": training.training(data) if data.training else None,
        "gates": training.gates(data),
        "data": log.log(data) if data.manifest else None,
        "serving": provenance.serving(data),
        "lineage": lineage.lineage(data),
        "provenance": provenance.provenance(data),
    }
    shown = {name: section for name, section in sections.items() if section}
    links = [el("a", _TITLES[name], href=f"#{name}") for name in shown]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        el("title", f"{data.name} · feedrank"),
        el("style", _asset("style.css")),
    )
    body = el(
        "body",
        overview.header(data),
        el("nav", el("div", links, el("button", "Dark", type="button", hidden="")), class_="bar"),
        el("main", shown.values()),
        el("footer", f"Made by feedrank {data.versions.get('feedrank', '')} on {data.created}."),
        el("script", _asset("script.js")),
    )
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def _asset(name: str) -> Markup:
    return Markup(resources.files("pipeline.report").joinpath(name).read_text("utf-8"))
