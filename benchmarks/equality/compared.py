"""One comparison of two sides, and the table of all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Compared(NamedTuple):
    """A number, or many of a kind of which the worst counts."""

    log: str
    what: str
    ours: str
    """Ours, or how many were compared."""
    stock: str
    difference: float
    """The largest; NaN is none that is allowed."""
    allowed: float
    why: str

    @property
    def agrees(self) -> bool:
        """Within what is allowed."""
        return self.difference <= self.allowed


def table(found: Iterable[Compared]) -> str:
    """As Markdown."""
    lines = [
        "| log | what | ours | stock | largest difference | allowed, and why |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        mark = "" if one.agrees else " **differs**"
        lines.append(
            f"| {one.log} | {one.what} | {one.ours} | {one.stock} | {one.difference:.2g}{mark} | {one.allowed:.2g}: {one.why} |"
        )
    return "\n".join(lines)
