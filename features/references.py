"""Whether what a spec names exists and is of an allowed type."""

from __future__ import annotations

from collections.abc import Iterable

from features.frozen import SpecError, did_you_mean
from features.sources import Column

NUMBERS = ("int64", "float32")
SCALARS = (*NUMBERS, "string")
"""Types of columns with one value a row."""


def listed(names: Iterable[str]) -> str:
    """Sorted names for an error."""
    return ", ".join(sorted(names)) or "(none)"


def require(what: str, name: str, known: Iterable[str], kind: str = "column") -> None:
    """Refuses a name that is not known.

    Raises:
        SpecError: naming the known ones.
    """
    known = list(known)
    if name not in known:
        raise SpecError(
            f"{what} names {kind} '{name}', which does not exist{did_you_mean(name, known)} {kind}s: {listed(known)}"
        )


def require_type(what: str, name: str, column: Column, allowed: tuple[str, ...]) -> None:
    """Refuses a column of another type.

    Raises:
        SpecError: naming the allowed ones.
    """
    if column.type not in allowed:
        raise SpecError(f"{what} '{name}' is {column.type}; allowed: {', '.join(allowed)}")
