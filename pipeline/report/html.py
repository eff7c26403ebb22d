"""Elements that escape what they hold, and numbers as people read them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TypeAlias

NOTHING = "–"
_VOID = frozenset({"meta", "br", "col", "input"})


class Markup(str):
    """Text that is HTML already; any other text is escaped when it enters an element."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"


def el(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element.

    Args:
        name: tag name.
        *children: text (escaped), :class:`Markup` (as it is), numbers, None (nothing), or iterables of these.
        **attributes: ``class_`` stands for ``class``, other underscores for hyphens; None leaves an attribute out.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
            words.append(f'{key.rstrip("_").replace("_", "-")}="{html.escape(text)}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def join(children: Child) -> Markup:
    """The children one after the other, escaped where they are text."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str | int | float):
        return Markup(html.escape(str(children)))
    return Markup("".join(join(child) for child in children))


def table(
    head: Sequence[Child], rows: Iterable[Sequence[Child]], numeric: Iterable[int] = (), class_: str = ""
) -> Markup:
    """A table that scrolls sideways where the page is narrow.

    Args:
        head: column titles.
        rows: cells; a cell that is a ``<td>`` already is taken as it is.
        numeric: columns set to the right.
        class_: of the table.
    """
    right = set(numeric)

    def cell(tag: str, index: int, child: Child) -> Markup:
        if isinstance(child, Markup) and child.startswith("<td"):
            return child
        return el(tag, child, class_="num" if index in right else None)

    top = el("tr", [cell("th", i, title) for i, title in enumerate(head)])
    body = [el("tr", [cell("td", i, child) for i, child in enumerate(row)]) for row in rows]
    return el("div", el("table", el("thead", top), el("tbody", body), class_=class_ or None), class_="scroll")


def count(value: float | None) -> str:
    """``94,784``."""
    return NOTHING if value is None else f"{value:,.0f}"


def compact(value: float | None) -> str:
    """``94.8k``, ``1.2M``."""
    if value is None:
        return NOTHING
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            return f"{scaled:.1f}{unit}" if scaled < 100 else f"{scaled:.0f}{unit}"
    return f"{value:,.0f}"


def counted(number: int, noun: str) -> str:
    """``1 epoch``, ``3 epochs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def number(value: float | None, digits: int = 4) -> str:
    """A fixed number of decimals."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def general(value: float | None) -> str:
    """Four significant digits."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 1e4 and abs(value) < 1e9 else f"{value:.4g}"


def percent(value: float | None) -> str:
    """``43.8 %``, ``0.080 %``: three significant digits below 10 %."""
    if value is None:
        return NOTHING
    scaled = value * 100
    if scaled == 0:
        return "0 %"
    if abs(scaled) >= 9.95:
        return f"{scaled:.1f} %"
    return f"{scaled:.2f} %" if abs(scaled) >= 0.995 else f"{scaled:.3f} %"


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3 min 12 s``, ``2 h 5 min``."""
    if seconds is None:
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
