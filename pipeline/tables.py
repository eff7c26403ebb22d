"""What commands print. Loads no TensorFlow."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from features.logs.action_counts import told
from features.logs.quarantine import REASONS
from features.outputs import and_up
from features.spec import Dataset
from pipeline.doctor import Finding
from pipeline.history import Outcome
from pipeline.runs import RunFolder, RunRecord

WIDTH_OF_FILES = 140
_COLOURS = {"done": "green", "cached": "cyan", "failed": "red", "ok": "green", "note": "yellow", "problem": "red"}


def screen(errors: bool = False) -> Console:
    """Standard output or standard error; where that is no terminal, lines are as long as tables like."""
    console = Console(highlight=False, stderr=errors)
    return console if console.is_terminal else Console(highlight=False, stderr=errors, width=WIDTH_OF_FILES)


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _coloured(state: str) -> str:
    return f"[{_COLOURS[state]}]{state}[/]"


def show_runs(console: Console, found: Iterable[tuple[RunFolder, RunRecord | None]]) -> None:
    """One line a run, oldest first; those without a record were killed, or go on."""
    table = _table("run", "pipeline", "started", "took", "ended", right=("took",))
    for folder, record in sorted(found, key=lambda run: run[0].run_id):
        if record is None:
            began = _minute(folder.started)
            table.add_row(folder.run_id, folder.directory.parents[1].name, began, "", "[yellow]killed or running[/]")
            continue
        last = record.stages[-1].name if record.stages else "start"
        push = record.stage("push")
        more = (
            f" in {last}"
            if record.status == "failed"
            else ", pushed"
            if push and push.pushed_to
            else ", nothing pushed"
        )
        ended = _coloured(record.status) + more
        took = f"{record.seconds:.0f} s"
        table.add_row(folder.run_id, record.pipeline, _minute(record.started), took, ended)
    console.print(table if table.row_count else "no runs yet; make one with: feedrank run CONFIG")


def _minute(time: datetime.datetime) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M")


def show_stages(console: Console, folder: RunFolder, record: RunRecord) -> None:
    """The stages of one run and its files."""
    table = _table("stage", "ended", "took", "rows", "note", right=("took", "rows"))
    for stage in record.stages:
        rows = "" if stage.rows is None else f"{stage.rows:,}"
        table.add_row(stage.name, _coloured(stage.state), f"{stage.seconds:.1f} s", rows, escape(stage.note))
    console.print(f"[bold]{record.pipeline}[/] {folder.run_id}")
    console.print(table)
    if record.error:
        console.print(f"[red]{escape(record.error)}[/]", soft_wrap=True)
    console.print(f"config  {folder.config}\nlog     {folder.log}", soft_wrap=True)


def show_outcome(console: Console, outcome: Outcome) -> None:
    """What came of a run: rows left out, the beginning, days that counters wait, metrics, blessings, the pushed version, the report."""
    lines: list[tuple[str, str]] = []
    if outcome.refused_rows:
        why = "; ".join(outcome.reasons_refused[:5])
        lines.append(("left out", escape(f"{outcome.refused_rows:,} rows ({why}): {outcome.quarantine}")))
    if outcome.beginning is not None:
        lines.append(("warm start", escape(outcome.beginning)))
    if outcome.delay_days:
        waits = [f"{name} {days} day{'s' * (days > 1)}" for name, days in outcome.delay_days.items()]
        lines.append(("counters", f"leave out before a row's own day: {', '.join(waits)}"))
    for name, values in (("AUC", outcome.aucs), ("MSE", outcome.errors)):
        if values:
            lines.append((name, "   ".join(f"{task} {_number(value)}" for task, value in values.items())))
    verdicts = (
        ("evaluate", outcome.blessed, outcome.reasons),
        ("check_serving", outcome.serves, outcome.serving_reasons),
    )
    for name, blessed, reasons in verdicts:
        if blessed is not None:
            lines += [(name, _blessing(blessed)), *(("", escape(reason)) for reason in reasons)]
    if outcome.blessed is not None:
        lines.append(("pushed", escape(str(outcome.pushed)) if outcome.pushed else "nothing"))
    if outcome.report is not None:
        lines.append(("report", escape(str(outcome.report))))
    for name, text in lines:
        # Not a table: a path that is broken over two lines cannot be copied.
        console.print(f"[bold]{name:<16}[/]{text}", soft_wrap=True)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _blessing(blessed: bool) -> str:
    return "[green]blessed[/]" if blessed else "[red]refused[/]"


def show_top_items(console: Console, best: Any) -> None:
    """One user's best items, a `pipeline.scoring.TopItems`."""
    console.print(f"[bold]{len(best.rows)} best items[/] of user {escape(str(best.group))}, by {best.ordered_by}")
    # P(task, UP) beside P(task) would make the table twice as wide and no clearer.
    hidden = set(map(and_up, best.outputs))
    shown = [output for output in best.outputs if output not in hidden]
    table = _table("rank", best.item, *shown, right=("rank", *shown))
    for row in best.rows:
        table.add_row(str(row["rank"]), escape(row[best.item]), *(f"{row[output]:.4f}" for output in shown))
    console.print(table)


def show_scored(console: Console, result: Any) -> None:
    """What scoring did, a `pipeline.scoring.ScoreResult`."""
    rate = result.rows / max(result.seconds, 1e-3)
    console.print(f"{result.rows:,} rows scored in {result.seconds:.1f} s ({rate:,.0f} rows/s): {result.output}")
    _show_lost(console, result.quarantined, result.tables, result.unmatched)
    if result.quarantine is not None:
        console.print(f"kept apart: {result.quarantine}")


def _show_lost(
    console: Console, log: Mapping[str, Any], side_tables: Mapping[str, Any], unmatched: Mapping[str, int]
) -> None:
    """Rows left out of the log and of its side tables, and rows of the log that a table knows nothing about."""
    _show_quarantined(console, "", log)
    for name, counts in side_tables.items():
        _show_quarantined(console, f"table {name}: ", counts["quarantined"])
    for name, rows in unmatched.items():
        if rows:
            console.print(f"{rows:,} rows of the log find nothing in table {name}", soft_wrap=True)


def _show_quarantined(console: Console, where: str, quarantined: Mapping[str, Any]) -> None:
    if quarantined["rows"]:
        reasons = "; ".join(
            f"{r['reason']} in {r['column'] or 'the row'}: {r['rows']:,}" for r in quarantined["reasons"]
        )
        console.print(f"{where}{quarantined['rows']:,} rows quarantined: {escape(reasons)}", soft_wrap=True)
    for file in quarantined["damaged_files"]:
        console.print(f"[red]{where}{escape(file['path'])}: {REASONS[file['reason']]}[/]", soft_wrap=True)


Printed = tuple[Sequence[str], Iterable[Sequence[str]]]
"""Titles and rows of a table."""


def show_evaluation(console: Console, evaluation: Mapping[str, Any], printed: Iterable[Printed]) -> None:
    """An evaluation's tables, what is undefined in them and why, and the rows that are in none."""
    for titles, rows in printed:
        table = _table(*titles, right=titles[titles.index("task") + 1 :])
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
    if evaluation["up"] is not None and evaluation["up"]["auc_any_interaction"] is not None:
        console.print(f"AUC of up against any interaction: {evaluation['up']['auc_any_interaction']:.4f}")
    for note in evaluation["notes"]:
        console.print(escape(note), soft_wrap=True)
    if "actions" in evaluation:
        console.print(f"actions: {told(evaluation['actions'])}", soft_wrap=True)
        _show_quarantined(console, "actions: ", evaluation["actions"]["quarantined"])
    if evaluation.get("duplicates"):
        console.print(f"{evaluation['duplicates']:,} rows have the values of an earlier one")
    _show_lost(console, evaluation["quarantined"], evaluation["tables"], evaluation["unmatched"])


def show_datasets(console: Console, datasets: Iterable[Dataset]) -> None:
    """Names, tasks and descriptions."""
    table = _table("dataset", "features", "tasks", "what it is", right=("features",))
    for dataset in datasets:
        description = escape(" ".join(dataset.description.split()))
        table.add_row(f"[bold]{dataset.name}[/]", str(len(dataset.features)), ", ".join(dataset.tasks), description)
    console.print(table)


def show_models(console: Console, presets: Mapping[str, Any], aliases: Mapping[str, str]) -> None:
    """Names, parts and papers."""
    table = _table("model", "made of", "what it is", "paper")
    for name, preset in presets.items():
        names = [name, *(alias for alias, of in aliases.items() if of == name)]
        parts = "\n".join(f"{part}: {kind}" for part, kind in preset.parts.items())
        table.add_row(f"[bold]{', '.join(names)}[/]", parts, preset.description, preset.paper)
    console.print(table)
    console.print("a model's picture and settings: feedrank models NAME")


def show_findings(console: Console, findings: Iterable[Finding], longest: int) -> bool:
    """Prints each finding as it comes.

    Args:
        console: where to.
        findings: what was found.
        longest: characters of the longest name among them.

    Returns:
        Whether there is no problem.
    """
    problems = 0
    for finding in findings:
        problems += finding.state == "problem"
        mark = {"ok": "✓", "note": "·", "problem": "✗"}[finding.state]
        console.print(
            f"[{_COLOURS[finding.state]}]{mark}[/] {finding.what:<{longest + 2}}{escape(finding.detail)}",
            soft_wrap=True,
        )
    console.print("all is well" if not problems else f"{problems} problem{'s' * (problems > 1)}: see above")
    return not problems
