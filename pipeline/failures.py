"""What to say when something fails: one clear message. Loads no TensorFlow."""

from __future__ import annotations

import os
import re
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from features.errors import FeedrankError

_TOLD_BY_WORKER = re.compile(r"features\.errors\.(?:\w+Error): (.+?)(?= \[while running|\n\n|\Z)", re.DOTALL)
_BEAM_SUFFIX = re.compile(r" \[while running .*\Z", re.DOTALL)
_LONGEST = 4000


class RunError(FeedrankError):
    """A run that failed: what happened, and the file that tells more."""


def message(error: BaseException) -> str:
    """What happened, for a user.

    A `FeedrankError` speaks for itself, also where TFX or Beam wrapped it, or where a worker process sent it as text.
    Of anything else, type and message are told.
    """
    for link in _chain(error):
        if isinstance(link, FeedrankError):
            return _BEAM_SUFFIX.sub("", str(link))[:_LONGEST]
    for link in _chain(error):
        if told := _TOLD_BY_WORKER.search(str(link)):
            return told[1].strip()[:_LONGEST]
    return f"{type(error).__name__}: {error}".strip()[:_LONGEST]


def new_log() -> Path:
    """A new, empty file for what is too long for the screen."""
    descriptor, name = tempfile.mkstemp(prefix="feedrank-", suffix=".log")
    os.close(descriptor)
    return Path(name)


def write_traceback(error: BaseException) -> Path:
    """Keeps a traceback in a new file."""
    log = new_log()
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return log


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from or while handling, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop(0)
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__cause__, link.__context__]
