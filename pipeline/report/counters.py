"""The counters over earlier days: what was counted by which key, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping

from features.counters import Counter, CounterColumn
from pipeline.report.data import Json, ReportData
from pipeline.report.html import Markup, count, el, general, table


def counters(data: ReportData) -> Markup | None:
    """A row for each column that a counter gives, with the counter's settings."""
    declared: Mapping[str, Json] = data.dataset.get("counters") or {}
    if not declared:
        return None
    made: Json = data.manifest.get("counters") or {}
    rows = [
        [el("td", column, class_="name"), _told(settings), *_settings(name, counter, made)]
        for name, counter in ((name, Counter.model_validate(found)) for name, found in declared.items())
        for column, settings in counter.columns.items()
    ]
    absent = ", ".join(made.get("absent_days") or [])
    head = ["Column", "What it tells", "Counter", "Key", "Days", "Left out", "Entries", "Allowed"]
    return el(
        "div",
        el("h3", "Counters"),
        el(
            "p",
            "Of rows of the same key on so many days before a row’s own; those left out lie between, and its own day never counts. "
            "Entries are keys times the days on which each was shown.",
            class_="quiet",
        ),
        table(head, rows, numeric=(4, 5, 6, 7)),
        el("p", f"No files of {absent}: rows of the days behind them are told less.") if absent else None,
        class_="card",
    )


def _told(column: CounterColumn) -> str:
    """What a column is, in words."""
    which = "rows"
    if column.of is not None:
        values = () if column.equals is None else column.equals
        which += f" with {column.of} {'= ' + ' or '.join(map(str, values)) if values else '> 0'}"
    if column.take == "days_since":
        return f"days since the last of the {which}"
    if column.take == "count":
        return f"number of {which}"
    told = f"share of {which}"
    if column.prior is None or column.strength is None:
        return told
    return f"{told}, smoothed: {general(column.prior)} weighs {general(column.strength)} rows"


def _settings(name: str, counter: Counter, made: Json) -> list[str]:
    """Of the counter: the same for all of its columns."""
    entries = (made.get("entries") or {}).get(name)
    delay = (made.get("delay_days") or {}).get(name, counter.delay_days)
    days = str(counter.days) + (", if there" if counter.days_before == "optional" else "")
    return [name, ", ".join(counter.keys), days, str(delay), count(entries), count(counter.max_entries)]
