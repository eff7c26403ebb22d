"""Where the run came from: configuration, versions; what the serving check found."""

from __future__ import annotations

import yaml

from pipeline.report.data import ReportData
from pipeline.report.html import Markup, count, duration, el, table


def serving(data: ReportData) -> Markup | None:
    """What the serving check asked and got."""
    check = data.check
    if not check:
        return None
    inputs = check.get("inputs") or {}
    expected, found = inputs.get("expected") or [], inputs.get("found") or []
    signatures = check.get("signatures") or {}
    kind, text = ("good", "blessed") if data.infra_blessed else ("bad", "refused")
    worst = check.get("max_difference")
    summary = (
        f" A fresh process loaded the export and answered {count(check.get('rows'))} raw rows in "
        f"{duration(check.get('seconds'))}; the largest difference from the trainer’s own predictions is "
        f"{'unknown' if worst is None else f'{worst:.2e}'}."
    )
    names = ", ".join(map(str, signatures)) or "none"
    same = (
        "as the spec names them"
        if set(expected) == set(found)
        else f"expected {', '.join(expected)}; found {', '.join(found)}"
    )
    facts = [f"Asked through: {names}.", f"Inputs: {len(found)} raw columns, {same}."]
    return el(
        "section",
        el("h2", "Serving check"),
        el(
            "div",
            el("p", el("span", text, class_=f"pill {kind}"), summary),
            [el("p", fact, class_="quiet") for fact in facts],
            class_="card",
        ),
        id="serving",
    )


def provenance(data: ReportData) -> Markup:
    """Configuration and versions."""
    config = {key: value for key, value in data.config.items() if key != "dataset"}
    versions = [[el("td", name, class_="name"), el("code", version)] for name, version in data.versions.items()]
    return el(
        "section",
        el("h2", "Provenance"),
        el("p", "A run from this configuration, on the same files, builds the same graph.", class_="lead"),
        _fold("Configuration", el("pre", el("code", _yaml(config))), opened=True),
        _fold(f"Dataset spec “{data.dataset.get('name', '')}”", el("pre", el("code", _yaml(data.dataset)))),
        _fold("Versions", table(["Package", "Version"], versions)) if versions else None,
        id="provenance",
    )


def _fold(title: str, content: Markup, opened: bool = False) -> Markup:
    return el("div", el("details", el("summary", title), content, open="" if opened else None), class_="card")


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)
