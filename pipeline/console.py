"""What a run shows while it goes on: a live line per stage on a terminal, plain lines elsewhere. Loads no TensorFlow."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from features import progress
from pipeline.runs import StageResult

PLAIN_INTERVAL_S = 10.0
"""Between two plain lines of one stage."""
_MARKS = {"done": ("✓", "green"), "cached": ("↺", "cyan"), "failed": ("✗", "red")}
_BAR_WIDTH = 24
_STANDARD = (1, 2)
"""File descriptors of standard output and standard error."""


class Screens(NamedTuple):
    """What standard output and standard error were."""

    output: TextIO
    errors: TextIO


@contextlib.contextmanager
def captured_output(log: Path) -> Iterator[Screens]:
    """Sends all that this process and its libraries print, C++ included, to a file.

    Args:
        log: appended to.

    Yields:
        Where to write what the user shall see.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.fdopen(os.dup(stream), "w", encoding="utf-8", errors="replace") for stream in _STANDARD]
    with log.open("ab") as target:
        for stream in _STANDARD:
            os.dup2(target.fileno(), stream)
    try:
        yield Screens(*kept)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, original in zip(_STANDARD, kept, strict=True):
            original.flush()
            os.dup2(original.fileno(), stream)
            original.close()


class RunConsole(logging.Handler):
    """Draws the stages of a run: a `pipeline.runs.StageListener` that also hears `features.progress`.

    Args:
        screen: where to draw.

    Example::

        with RunConsole(screen) as listener:
            local.run(config, folder, listener)
    """

    def __init__(self, screen: TextIO) -> None:
        super().__init__(logging.INFO)
        self._console = Console(file=screen, highlight=False)
        self._live: Live | None = None
        self._stage = ""
        self._started = 0.0
        self._told = 0.0
        self._numbers: dict[str, Any] = {}

    def __enter__(self) -> RunConsole:
        progress.LOGGER.addHandler(self)
        progress.LOGGER.setLevel(logging.INFO)
        if self._console.is_terminal:
            # What libraries print must not go through the live display, which rich would do by default.
            self._live = Live(
                get_renderable=self._line,
                console=self._console,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        progress.LOGGER.removeHandler(self)
        if self._live is not None:
            self._live.stop()

    def stage_started(self, name: str) -> None:
        """A stage begins."""
        self._stage, self._started, self._told = name, time.monotonic(), time.monotonic()
        self._numbers = {}

    def stage_finished(self, result: StageResult) -> None:
        """A stage ended: its line stays."""
        mark, colour = _MARKS[result.state]
        what = [_duration(result.seconds), *_rows(result.rows, result.seconds)]
        if result.state == "cached":
            what = ["unchanged, reused"]
        if result.state == "failed":
            what.append("failed")
        what += (
            _training(self._numbers)
            + _validation(self._numbers)
            + ([result.note] if result.state == "done" and result.note else [])
        )
        self._stage = ""
        line = Text.assemble((f"{mark} ", colour), (f"{result.name:<20}", "bold"), "   ".join(what))
        self._console.print(line, soft_wrap=True)

    def emit(self, record: logging.LogRecord) -> None:
        """A stage tells how far it is."""
        numbers: Mapping[str, Any] = getattr(record, "numbers", {})
        if said := numbers.get("said"):
            self._console.print(f"  {self._stage:<20}{said}", markup=False, soft_wrap=True)
        before = _validation(self._numbers)
        self._numbers |= numbers
        is_validated = _validation(self._numbers) != before
        if self._live is None and (is_validated or time.monotonic() - self._told >= PLAIN_INTERVAL_S):
            self._told = time.monotonic()
            texts = [*self._so_far(), *_training(self._numbers), *self._note(), *_validation(self._numbers)]
            self._console.print(f"  {self._stage:<20}{'   '.join(texts)}", soft_wrap=True)

    def _so_far(self) -> list[str]:
        seconds = time.monotonic() - self._started
        return [_duration(seconds), *_rows(self._numbers.get("rows"), seconds)]

    def _note(self) -> list[str]:
        return [self._numbers["note"]] if self._numbers.get("note") else []

    def _line(self) -> RenderableType:
        if not self._stage:
            return Text("")
        line = Table.grid(padding=(0, 1))
        cells: list[RenderableType] = [Spinner("dots"), Text(f"{self._stage:<19}", style="bold")]
        if (steps := self._numbers.get("steps")) is not None:
            cells.append(ProgressBar(total=steps, completed=self._numbers.get("step", 0), width=_BAR_WIDTH))
        cells.append(Text("   ".join([*self._so_far(), *self._note()]), no_wrap=True, overflow="ellipsis"))
        line.add_row(*cells)
        # Lines of their own: beside the bar, 80 columns end before them.
        texts = ["   ".join(_training(self._numbers)), *_validation(self._numbers)]
        below = [Text(f"{'':<22}{text}", no_wrap=True, overflow="ellipsis") for text in texts if text]
        return Group(line, *below)


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes} min {seconds - 60 * minutes:02.0f} s" if minutes else f"{seconds:5.1f} s"


def _rows(rows: int | None, seconds: float) -> list[str]:
    if not rows:
        return []
    return [f"{rows:,} rows", f"{rows / max(seconds, 1e-3):,.0f} rows/s"]


def _training(numbers: Mapping[str, Any]) -> list[str]:
    texts = [f"epoch {numbers['epoch']}/{numbers['epochs']}"] if {"epoch", "epochs"} <= set(numbers) else []
    if "loss" in numbers:
        texts.append(f"loss {numbers['loss']:.4f}")
    return texts


def _validation(numbers: Mapping[str, Any]) -> list[str]:
    """The last validation's numbers, if there was one: a text for the AUCs, one for the regressions' errors."""
    texts = []
    for metric in ("auc", "mse"):
        prefix = f"{metric}_"
        found = [f"{name.removeprefix(prefix)} {x:.4f}" for name, x in numbers.items() if name.startswith(prefix)]
        texts += [f"{metric.upper()}  " + "  ".join(found)] if found else []
    return texts
