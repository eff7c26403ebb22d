"""What the log was like: rows and where they went, quarantine, days, labels, columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from features.logs.attribution import ATTRIBUTED, OUTCOMES
from features.logs.counts import SAMPLED
from features.sampling import Downsample
from features.spec import SPLITS
from pipeline.report.counters import counters
from pipeline.report.data import ColumnStatistics, Json, ReportData
from pipeline.report.html import NOTHING, Markup, compact, count, el, general, percent, table
from pipeline.report.svg import colour, columns, histogram
from pipeline.report.tasks import task_name

_SHORT = 600
"""Characters of a quarantined value shown on the page."""
_Parts = Mapping[str, Json]
"""Rows, positives and sum of one task's labels by split."""


def log(data: ReportData) -> Markup:
    """Everything about the rows."""
    days = data.manifest.get("days") or {}
    cards = [el("div", el("h3", "Labels"), _labels(data), _downsampled(data), class_="card")]
    if days:
        cards.append(el("div", el("h3", "Rows a day"), _days(data, days), class_="card"))
    return el(
        "section",
        el("h2", "Data"),
        el("p", _files(data.manifest), class_="lead"),
        _manifest(data.manifest_file),
        el(
            "div",
            el("h3", "Where the rows went"),
            _sum(data.manifest),
            _quarantine(data.manifest),
            _duplicates(data.manifest),
            class_="card",
        ),
        _actions(data.manifest),
        _side_tables(data.manifest),
        _earlier_days(data.manifest),
        counters(data),
        el("div", cards, class_="grid2"),
        _verdict(data),
        _columns(data),
        id="data",
    )


def _files(manifest: Json) -> str:
    files = manifest.get("files") or []
    size = sum(file.get("bytes") or 0 for file in files)
    return f"{len(files)} {'file' if len(files) == 1 else 'files'}, {compact(size)} bytes, {count(manifest.get('rows_read'))} rows read."


def _manifest(file: str) -> Markup | None:
    """Where a reader finds each file or slice that was read."""
    return el("p", "What was read, and what became of it: ", el("code", file), class_="quiet") if file else None


def _sum(manifest: Json) -> Markup:
    """Rows read = rows out + quarantined + sampled out, as an equation."""
    parts: list[Markup] = [el("b", count(manifest.get("rows_read"))), el("span", "read")]
    out: Mapping[str, int] = manifest.get("rows_out") or {}
    for place, (split, rows) in enumerate(out.items()):
        parts += [el("span", "=" if place == 0 else "+", class_="sign"), el("b", count(rows)), el("span", split)]
    quarantined = (manifest.get("quarantined") or {}).get("rows")
    parts += [el("span", "+", class_="sign"), el("b", count(quarantined)), el("span", "quarantined")]
    if sampled := manifest.get(SAMPLED):
        parts += [el("span", "+", class_="sign"), el("b", count(sampled)), el("span", "sampled out of train")]
    return el("div", parts, class_="sum")


def _quarantine(manifest: Json) -> Markup:
    reasons = (manifest.get("quarantined") or {}).get("reasons") or []
    if not reasons:
        return el("p", "No row was quarantined.", class_="quiet")
    read = manifest.get("rows_read") or 0
    rows = []
    for reason in reasons:
        example = reason.get("example") or {}
        place = (
            f"{str(example.get('file', '')).rpartition('/')[2]}, row {count(example.get('row'))}"
            if example
            else NOTHING
        )
        value = str(example.get("value") if example.get("value") is not None else "")
        value = value if len(value) <= _SHORT else value[:_SHORT] + "…"
        share = percent(reason["rows"] / read) if read else NOTHING
        shown = el("td", el("code", value) if value else NOTHING, class_="wrap")
        rows.append([reason["reason"], reason.get("column") or NOTHING, count(reason["rows"]), share, place, shown])
    return table(["Reason", "Column", "Rows", "Share", "First seen", "Value"], rows, numeric=[2, 3])


def _duplicates(manifest: Json) -> Markup | None:
    """Rows with the values of an earlier one, where ingest looked for them."""
    found, read = manifest.get("duplicates"), manifest.get("rows_read")
    if found is None or not read:
        return None
    return el("p", f"{count(found)} rows ({percent(found / read)}) have the values of an earlier row.", class_="quiet")


def _actions(manifest: Json) -> Markup | None:
    """What became of the log of actions, and its quarantine."""
    actions = manifest.get("actions")
    if not actions:
        return None
    read = actions["rows_read"]
    rows = [
        [outcome, count(number), percent(number / read) if read else NOTHING, OUTCOMES.get(outcome, "")]
        for outcome, number in {ATTRIBUTED: actions[ATTRIBUTED], **actions["others"]}.items()
    ]
    rows.append(
        ["quarantined", count(actions["quarantined"]["rows"]), *_share_of(actions["quarantined"]["rows"], read)]
    )
    absent = ", ".join(actions["absent_days"])
    return el(
        "div",
        el("h3", "Actions"),
        el(
            "p",
            f"{count(read)} actions read from {len(actions['files'])} files; {count(actions['of_rows_out'])} belong to rows that are "
            f"learned from or measured on{_of_earlier(actions)}.",
        ),
        el("p", f"No files of {absent}: labels of the days before lack the actions of these.") if absent else None,
        table(["Outcome", "Actions", "Share", "Meaning"], rows, numeric=[1, 2]),
        _quarantine(actions) if actions["quarantined"]["rows"] else None,
        class_="card",
    )


def _of_earlier(actions: Json) -> str:
    of_earlier = actions.get("of_earlier_rows", 0)
    others = actions[ATTRIBUTED] - actions["of_rows_out"] - of_earlier
    return (f", {count(of_earlier)} to rows of earlier days, which counters alone look at" if of_earlier else "") + (
        f", {count(others)} to rows of days behind the split's, or that are quarantined, dropped or sampled out"
        if others > 0
        else ""
    )


def _share_of(rows: int, read: int) -> tuple[str, str]:
    return percent(rows / read) if read else NOTHING, "cannot be read as the spec says"


def _side_tables(manifest: Json) -> Markup | None:
    """The quarantine of each side table that has one."""
    tables = {name: part for name, part in (manifest.get("tables") or {}).items() if part["quarantined"]["rows"]}
    if not tables:
        return None
    parts = [
        [
            el("p", f"{count(part['quarantined']['rows'])} of {count(part['rows_read'])} rows of table {name}"),
            _quarantine(part),
        ]
        for name, part in tables.items()
    ]
    return el("div", el("h3", "Side tables’ quarantine"), parts, class_="card")


def _earlier_days(manifest: Json) -> Markup | None:
    """The quarantine of days that are read for counters alone."""
    counters = manifest.get("counters") or {}
    refused = (counters.get("quarantined") or {}).get("rows")
    if not refused:
        return None
    told = f"{count(refused)} of {count(counters['rows_read'])} rows of days before the split's, which counters alone look at"
    return el("div", el("h3", "Earlier days’ quarantine"), el("p", told), _quarantine(counters), class_="card")


def _labels(data: ReportData) -> Markup:
    splits: list[str] = [split for split in SPLITS if split in (data.manifest.get("rows_out") or {})]
    splits += [SAMPLED] if data.manifest.get(SAMPLED) else []
    tasks: Mapping[str, _Parts] = data.manifest.get("tasks") or {}
    rows = [
        [task_name(data, task), *(_rate(parts.get(split)) for split in splits)]
        for task, parts in _in_order(data, tasks)
    ]
    titles = [{SAMPLED: "sampled out"}.get(split, split) for split in splits]
    return table(["Task", *titles], rows, numeric=range(1, len(splits) + 1))


def _downsampled(data: ReportData) -> Markup | None:
    """What the rates of the training split are of, and what makes up for the rows left out."""
    if "downsample" not in data.dataset:
        return None
    rule = Downsample.model_validate(data.dataset["downsample"])
    named = f"one of {', '.join(rule.unless)}" if rule.unless else "any binary task"
    effect = {
        "weights": f"each of these weighs {general(1 / rule.keep)} rows in every loss, so predictions are of all rows",
        "probability": "predictions of the served model are brought back to all rows",
        "none": "nothing makes up for it: predictions are of the kept rows, too high on all",
    }[rule.correct]
    told = (
        f"Rates in {SPLITS[0]} are after down-sampling: of rows that are not positive for {named}, {percent(rule.keep)} "
        f"were kept; {effect}. The other splits are whole."
    )
    return el("p", told, class_="quiet")


def _in_order(data: ReportData, tasks: Mapping[str, _Parts]) -> Iterator[tuple[str, _Parts]]:
    """The tasks in the spec's order."""
    names = list(data.dataset.get("tasks", {}))
    yield from ((name, tasks[name]) for name in (*names, *(set(tasks) - set(names))) if name in tasks)


def _rate(part: Json | None) -> Markup:
    if not part or not part.get("rows"):
        return el("td", NOTHING, class_="num")
    tip = f"{count(part.get('positives'))} of {count(part['rows'])} rows"
    if part.get("positives") is None:
        return el("td", general(part.get("sum", 0) / part["rows"]), class_="num", title=tip)
    return el("td", percent(part["positives"] / part["rows"]), class_="num", title=tip)


def _days(data: ReportData, days: Mapping[str, int]) -> Markup:
    split = data.dataset.get("split") or {}
    bars = []
    for day, rows in sorted(days.items()):
        iso = f"{day[:4]}-{day[4:6]}-{day[6:]}"
        index = next((i for i, name in enumerate(SPLITS) if _inside(split.get(name), iso)), 9)
        bars.append((iso[5:], float(rows), index))
    legend = [el("span", el("i", style=f"background:{colour(i)}"), name) for i, name in enumerate(SPLITS)]
    legend = legend if split.get("by", "time") == "time" and split else []
    return el("div", columns("Rows a day", bars), el("div", legend, class_="legend"))


def _inside(part: object, iso: str) -> bool:
    return isinstance(part, list | tuple) and len(part) == 2 and str(part[0]) <= iso <= str(part[1])


def _verdict(data: ReportData) -> Markup | None:
    if not data.verdict:
        return None
    problems, warnings = data.verdict.get("problems") or [], data.verdict.get("warnings") or []
    unmatched = [(table, rows) for table, rows in (data.manifest.get("unmatched") or {}).items() if rows]
    parts: list[Markup] = []
    if problems:
        parts.append(
            el(
                "ul",
                [el("li", el("span", "problem", class_="pill bad"), " ", text) for text in problems],
                class_="plain",
            )
        )
    if warnings:
        parts.append(
            el(
                "ul",
                [el("li", el("span", "warning", class_="pill warn"), " ", text) for text in warnings],
                class_="plain",
            )
        )
    if unmatched:
        texts = [f"{count(rows)} rows found no row in table {table}" for table, rows in unmatched]
        parts.append(el("ul", [el("li", text) for text in texts], class_="plain quiet"))
    if not problems:
        parts.insert(0, el("p", el("span", "passed", class_="pill good"), " No anomaly stopped the run."))
    return el("div", el("h3", "Validation"), parts, class_="card")


def _columns(data: ReportData) -> Markup | None:
    first, last = data.statistics.get(SPLITS[0], ()), {c.name: c for c in data.statistics.get(SPLITS[2], ())}
    if not first:
        return None
    compared = any(len(last[c.name].bars) == len(c.bars) for c in first if c.name in last and c.bars)
    legend = el(
        "div",
        el("span", el("i", style="background:var(--series-0)"), SPLITS[0]),
        el("span", el("i", class_="dash"), SPLITS[2]) if compared else None,
        class_="legend",
    )
    rows = [_column(column, last.get(column.name)) for column in first]
    head = ["Column", "Type", "Missing", "Distinct", "Mean", "Deviation", "Min", "Median", "Max", "Distribution"]
    return el(
        "div", el("h3", "Columns"), legend, table(head, rows, numeric=range(2, 9)), _uncounted(first), class_="card"
    )


def _uncounted(shown: Iterable[ColumnStatistics]) -> Markup | None:
    """Why a column has no number of distinct values."""
    if all(column.distinct is not None for column in shown):
        return None
    told = "Distinct values are counted of text and of categorical integers alone; those of other numbers, ids too, are not (–)."
    return el("p", told, class_="quiet")


def _column(column: ColumnStatistics, other: ColumnStatistics | None) -> list[Markup | str]:
    length = f" ×{column.mean_length:.1f}" if column.mean_length is not None else ""
    numbers = [column.mean, column.deviation, column.minimum, column.median, column.maximum]
    missing = percent(column.missing) if column.missing else NOTHING
    chart = histogram(f"Distribution of {column.name}", column.bars, other.bars if other else ())
    return [
        el("td", column.name, class_="name"),
        column.type + length,
        missing,
        compact(column.distinct),
        *map(general, numbers),
        chart or NOTHING,
    ]
