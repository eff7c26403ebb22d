"""Reads what a picture of boxes and lines shows."""

from __future__ import annotations

import re
from typing import NamedTuple

Cell = tuple[int, int]
UP, DOWN, LEFT, RIGHT = (-1, 0), (1, 0), (0, -1), (0, 1)
_ENDS = {
    "│": (UP, DOWN),
    "─": (LEFT, RIGHT),
    "┌": (DOWN, RIGHT),
    "┐": (DOWN, LEFT),
    "└": (UP, RIGHT),
    "┘": (UP, LEFT),
    "├": (UP, DOWN, RIGHT),
    "┤": (UP, DOWN, LEFT),
    "┬": (DOWN, LEFT, RIGHT),
    "┴": (UP, LEFT, RIGHT),
    "┼": (UP, DOWN, LEFT, RIGHT),
}


class Box(NamedTuple):
    """A label within a frame."""

    label: str
    top: int
    left: int
    right: int


def boxes(picture: str) -> list[Box]:
    """All boxes, each checked to be closed.

    Raises:
        ValueError: for a frame that is not closed.
    """
    lines = picture.splitlines()
    found = []
    for top, line in enumerate(lines[:-2]):
        for frame in re.finditer("┌─+┐", line):
            left, right = frame.span()
            middle, bottom = (lines[top + i][left:right] for i in (1, 2))
            if middle[1:2] != " ":
                continue  # a line that turns twice
            if (middle[0], middle[-1], bottom) != ("│", "│", f"└{'─' * (right - left - 2)}┘"):
                raise ValueError(f"box at line {top + 1} is not closed: {middle!r} over {bottom!r}")
            found.append(Box(middle[1:-1].strip(), top, left, right))
    return found


def heard(picture: str) -> list[tuple[str, set[str]]]:
    """From the top: what stands at each Σ, and the labels of the boxes below that its lines lead to."""
    lines = picture.splitlines()
    framed = {
        (row, column): box.label
        for box in boxes(picture)
        for row in range(box.top, box.top + 3)
        for column in range(box.left, box.right)
    }
    found = []
    for row, line in enumerate(lines):
        for sigma in re.finditer("Σ ◄─ (.*?)(?=  |$)", line):
            found.append((sigma[1], _reached((row, sigma.start()), lines, framed)))
    return found


def _reached(sigma: Cell, lines: list[str], framed: dict[Cell, str]) -> set[str]:
    """Labels of the boxes whose tops the lines below `sigma` meet."""
    labels, seen, todo = set(), set(), [(sigma, DOWN)]
    while todo:
        cell, way = todo.pop()
        after = (cell[0] + way[0], cell[1] + way[1])
        if after in framed:
            labels.add(framed[after])
            continue
        sign = _at(after, lines)
        if sign == "│" and way in (LEFT, RIGHT):
            todo.append((after, way))  # passes below the line that it crosses
        elif (-way[0], -way[1]) in _ENDS.get(sign, ()) and after not in seen:
            seen.add(after)
            todo.extend((after, end) for end in _ENDS[sign] if end != (-way[0], -way[1]))
    return labels


def loose_ends(picture: str) -> list[str]:
    """Places, "line:column", where a line goes up or down to nothing."""
    lines = picture.splitlines()
    return [
        f"{row + 1}:{column + 1}"
        for row, line in enumerate(lines)
        for column, sign in enumerate(line)
        for end in _ENDS.get(sign, ())
        if end in (UP, DOWN) and _at((row + end[0], column), lines) == " "
    ]


def _at(cell: Cell, lines: list[str]) -> str:
    row, column = cell
    return lines[row][column] if 0 <= row < len(lines) and 0 <= column < len(lines[row]) else " "
