"""What was made from what: a figure with a row for each artifact and a column for each stage, and the same as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.report.data import Artifact, Execution, ReportData
from pipeline.report.html import NOTHING, Markup, compact, count, el, table

_WIDTH, _LEFT, _RIGHT, _HEAD, _ROW = 1028.0, 262.0, 22.0, 104.0, 23.0
"""Of the figure: all of it, the artifacts' names, the space beside the last stage, the stages' names, one row."""
_FILES = 200
"""Log files that are told one by one."""


def lineage(data: ReportData) -> Markup | None:
    """The whole lineage of the run; None where nothing is known of it."""
    if not data.lineage:
        return None
    lead = "What was made from what, as ML Metadata recorded it. URIs are relative to the pipeline’s folder."
    cards = [el("div", el("details", el("summary", "Every execution"), _executions(data), open=""), class_="card")]
    if any(execution.made for execution in data.lineage):
        cards.insert(0, el("div", _legend(), _figure(data), class_="card"))
    return el("section", el("h2", "Lineage"), el("p", lead, class_="lead"), cards, _files(data), id="lineage")


# -- the figure ------------------------------------------------------------------------------------------------------


class _Row(NamedTuple):
    """One artifact: what it is called, where it comes from, the places of the stages that read or found it."""

    name: str
    kind: str
    tip: str
    maker: int
    """Place of the execution that made it; -1: it was there before the run."""
    readers: tuple[int, ...]


def _rows(data: ReportData) -> list[_Row]:
    """The log, then every artifact in the order in which the run came to it."""
    executions = data.lineage
    known: dict[int, Artifact] = {}
    makers: dict[int, int] = {}
    readers: dict[int, list[int]] = {}
    for place, execution in enumerate(executions):
        for artifact in execution.found:
            known.setdefault(artifact.id, artifact.model_copy(update={"name": f"{execution.stage}: {artifact.name}"}))
        for artifact in (*execution.made, *execution.read):
            known.setdefault(artifact.id, artifact)
        makers |= {artifact.id: place for artifact in execution.made}
        for artifact in (*execution.read, *execution.found):
            readers.setdefault(artifact.id, []).append(place)
    rows = [_Row("log files", "", _log(data), -1, (place,)) for place in _log_readers(data)]
    for number, artifact in known.items():
        tip = " · ".join(part for part in (artifact.type, artifact.uri, artifact.note) if part)
        kind = f"{_short(artifact.type)} #{number}"
        rows.append(_Row(artifact.name, kind, tip, makers.get(number, -1), tuple(readers.get(number, ()))))
    return rows


def _figure(data: ReportData) -> Markup:
    rows = _rows(data)
    height = _HEAD + _ROW * len(rows) + 4
    return el(
        "div",
        el(
            "svg",
            el("title", "Lineage: artifacts by the stages that made and read them"),
            _heads(data, height),
            [_line(data, row, _HEAD + _ROW * place) for place, row in enumerate(rows)],
            viewBox=f"0 0 {_WIDTH:g} {height:g}",
            role="img",
            class_="chart lineage",
        ),
        class_="scroll",
    )


def _x(data: ReportData, place: int) -> float:
    """Middle of a stage's column; -1 is the column of what was there before."""
    return _LEFT + (place + 1.5) * (_WIDTH - _LEFT - _RIGHT) / (len(data.lineage) + 1)


def _heads(data: ReportData, height: float) -> list[Markup]:
    parts = []
    for place, name in enumerate(["before this run", *(execution.stage for execution in data.lineage)], start=-1):
        x = _x(data, place)
        turned = f"translate({x - 2:.1f} {_HEAD - 14:g}) rotate(-40)"
        kind = data.lineage[place].state if place >= 0 else "before"
        parts.append(el("line", x1=x, x2=x, y1=_HEAD - 8, y2=height - 4, class_="grid"))
        parts.append(el("text", name.replace("_", " "), transform=turned, class_=f"head {kind}"))
    return parts


def _line(data: ReportData, row: _Row, top: float) -> Markup:
    """One artifact: its name, and a line from where it was made to where it was read last."""
    y = top + _ROW / 2
    begin = _x(data, row.maker)
    end = max((_x(data, place) for place in row.readers), default=begin)
    state = data.lineage[row.maker].state if row.maker >= 0 else "before"
    return el(
        "g",
        el("title", f"{row.name} {row.kind}: {row.tip}"),
        el("rect", x=0.0, y=top, width=_WIDTH, height=_ROW, rx=4, class_="band"),
        el("text", row.name, el("tspan", f"  {row.kind}", class_="soft"), x=6.0, y=y + 4, class_="name"),
        el("line", x1=begin, x2=end, y1=y, y2=y, class_="thread"),
        [el("circle", cx=_x(data, place), cy=y, r=4, class_="reader") for place in row.readers],
        el("circle", cx=begin, cy=y, r=5, class_=f"maker {state}"),
        class_="row",
    )


def _legend() -> Markup:
    kinds = {
        "done": "made in this run",
        "cached": "made by an earlier run, taken from the cache",
        "before": "there before: the log, or looked up",
        "reader": "read",
    }
    return el(
        "div", [el("span", el("i", class_=f"node {kind}"), text) for kind, text in kinds.items()], class_="legend"
    )


# -- the table -------------------------------------------------------------------------------------------------------


def _executions(data: ReportData) -> Markup:
    logs = set(_log_readers(data))
    rows = []
    for place, execution in enumerate(data.lineage):
        log = [_item("log files", "", _log(data))] if place in logs else []
        read = [*log, *(_artifact(artifact) for artifact in execution.read)]
        found = [el("li", "looked up:", class_="quiet") for _ in execution.found[:1]]
        made = [*map(_artifact, execution.made), *found, *map(_artifact, execution.found)]
        rows.append([_stage(data, execution), el("td", _listed(read)), el("td", _listed(made))])
    return table(["Execution", "Read", "Made"], rows, class_="lineage")


def _stage(data: ReportData, execution: Execution) -> Markup:
    runs = {artifact.run for artifact in execution.made if artifact.run and artifact.run != data.run}
    kind = {"done": "good", "cached": "cached", "failed": "bad"}[execution.state]
    maker = ", ".join(sorted(runs)) if execution.state == "cached" else data.run
    return el(
        "td",
        el("b", execution.stage),
        el("div", el("span", execution.state, class_=f"pill {kind}"), f" #{execution.id}" if execution.id else None),
        el("div", f"run {maker}", class_="quiet small") if maker else None,
    )


def _listed(items: Iterable[Markup]) -> Markup | str:
    found = list(items)
    return el("ul", found, class_="items") if found else NOTHING


def _artifact(artifact: Artifact) -> Markup:
    number = f" #{artifact.id}" if artifact.id else ""
    return _item(artifact.name, f"{_short(artifact.type)}{number}", artifact.uri, artifact.note)


def _item(name: str, kind: str, place: str, note: str = "") -> Markup:
    told = el("span", note, class_=f"pill {'bad' if note == 'refused' else 'plain'}") if note else None
    return el("li", el("b", name), " ", el("span", kind, class_="quiet"), " ", told, el("div", el("code", place)))


def _short(type_name: str) -> str:
    return type_name.rpartition(".")[2]


# -- the log, which is no artifact -----------------------------------------------------------------------------------


def _log_readers(data: ReportData) -> Sequence[int]:
    """The execution that counted the log's files is the one that read them, also where it then stopped the run."""
    if not data.manifest.get("files"):
        return []
    makers = [p for p, e in enumerate(data.lineage) if any(_short(a.type) == "IngestManifest" for a in e.made)]
    return makers or [place for place, execution in enumerate(data.lineage) if execution.state == "failed"]


def _log(data: ReportData) -> str:
    files = data.manifest.get("files") or []
    size = sum(file.get("bytes") or 0 for file in files)
    place = str((data.config.get("data") or {}).get("path", ""))
    return f"{place}: {len(files)} {'file' if len(files) == 1 else 'files'}, {compact(size)} bytes"


def _files(data: ReportData) -> Markup | None:
    files = data.manifest.get("files") or []
    if not files:
        return None
    rows = [[el("code", file["path"]), count(file.get("rows")), count(file.get("bytes"))] for file in files[:_FILES]]
    more = el("p", f"… and {len(files) - _FILES:,} more", class_="quiet") if len(files) > _FILES else None
    listed = table(["File", "Rows", "Bytes"], rows, numeric=[1, 2])
    return el("div", el("details", el("summary", "Log files"), listed, more), class_="card")
