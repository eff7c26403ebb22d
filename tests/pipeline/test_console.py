from __future__ import annotations

import io
import re

import pytest

from features import progress
from pipeline.console import RunConsole
from pipeline.runs import StageResult


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_narrow_terminal_shows_epoch_loss_and_every_tasks_quality(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    screen = Terminal()
    with RunConsole(screen) as console:
        console.stage_started("train")
        numbers = {"auc_click": 0.75, "mse_watch": 2.5}
        progress.report("train", epoch=1, epochs=3, step=10, steps=20, rows=12_345_678, loss=0.5, **numbers)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).splitlines()
    drawn = {line.strip() for line in lines}
    assert {"epoch 1/3   loss 0.5000", "AUC  click 0.7500", "MSE  watch 2.5000"} <= drawn
    assert max(map(len, lines)) <= 80


def test_the_line_of_a_stage_that_ended_keeps_its_note() -> None:
    screen = io.StringIO()
    with RunConsole(screen) as console:
        for state in ("done", "cached"):
            console.stage_started("ingest")
            console.stage_finished(StageResult(name="ingest", state=state, seconds=2.0, rows=10, note="3 quarantined"))
    assert [line.split() for line in screen.getvalue().splitlines()] == [
        ["✓", "ingest", "2.0", "s", "10", "rows", "5", "rows/s", "3", "quarantined"],
        ["↺", "ingest", "unchanged,", "reused"],
    ]
