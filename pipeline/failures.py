"""What to say when something fails: one clear message. Loads no TensorFlow."""

from __future__ import annotations

import os
import re
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from features import errors
from features.errors import FeedrankError

_TOLD_BY_WORKER = re.compile(r"features\.errors\.(\w+Error): (.+?)(?= \[while running|\n\n|\Z)", re.DOTALL)
_BEAM_SUFFIX = re.compile(r" \[while running .*\Z", re.DOTALL)
_LONGEST = 4000


class RunError(FeedrankError):
    """A run that failed: what happened, and the file that tells more."""


class InterruptedByUserError(FeedrankError):
    """The user pressed Ctrl-C. Not a `KeyboardInterrupt`: of that one typer makes a silent exit."""

    EXIT_CODE = 130
    """What shells say of a program that SIGINT ended."""


class TerminatedError(InterruptedByUserError):
    """A scheduler asked for the end: SIGTERM."""

    EXIT_CODE = 143
    """What shells say of a program that SIGTERM ended."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""


def interrupted(error: KeyboardInterrupt, more: str = "") -> InterruptedByUserError:
    """What the program ends with; `more` stands behind the message."""
    kind = TerminatedError if isinstance(error, Terminated) else InterruptedByUserError
    return kind(message(error) + more)


def message(error: BaseException) -> str:
    """What happened, for a user.

    A `FeedrankError` speaks for itself, also where TFX or Beam wrapped it, or where a worker process sent it as text.
    Of anything else, type and message are told.
    """
    if isinstance(error, Terminated):
        return "ended by SIGTERM"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    found = user_error(error)
    return (f"{type(error).__name__}: {error}".strip() if found is None else str(found))[:_LONGEST]


def user_error(error: BaseException) -> FeedrankError | None:
    """What a user can act on, of the kind and with the words that were raised; None: there is no such thing in `error`.

    Beam adds its own step to a worker's message and, from another process, gives a traceback as text: both are taken away.
    """
    for link in _chain(error):
        if isinstance(link, FeedrankError):
            told = _BEAM_SUFFIX.sub("", str(link)).strip()
            return link if told == str(link) else _made(_own_kind(link), told)
    for link in _chain(error):
        # The last one of a traceback is what was raised from the others.
        if found := _TOLD_BY_WORKER.findall(str(link)):
            kind, told = found[-1]
            return _made(kind, told.strip())
    return None


def _own_kind(error: FeedrankError) -> str:
    """The name of the error's class, or of the nearest one above it that `features.errors` has."""
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__), "")


def _made(kind: str, told: str) -> FeedrankError:
    return cast("FeedrankError", getattr(errors, kind, FeedrankError)(told))


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
