"""Small charts as inline SVG: no script, no network, colours from the page's style (so they follow light and dark)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.report.data import OTHERS, Bar
from pipeline.report.html import Markup, count, el, general, number, percent

COLOURS = 10
"""Number of series colours in the style: ``--series-0`` to ``--series-9``."""


class Series(NamedTuple):
    """A line: where it goes, what it is called, which colour."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int


class Frame(NamedTuple):
    """Maps numbers to the drawing: `x` and `y` are (lowest, highest)."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: float = 560
    height: float = 270
    left: float = 44
    right: float = 16
    top: float = 12
    bottom: float = 30

    def at_x(self, value: float) -> float:
        """Horizontal place of `value`."""
        low, high = self.x
        return self.left + (value - low) / ((high - low) or 1) * (self.width - self.left - self.right)

    def at_y(self, value: float) -> float:
        """Vertical place of `value`."""
        low, high = self.y
        return self.height - self.bottom - (value - low) / ((high - low) or 1) * (self.height - self.top - self.bottom)


def colour(index: int) -> str:
    """CSS value of a series colour."""
    return f"var(--series-{index % COLOURS})"


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers between `low` and `high`, about `wanted` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _drawing(frame: Frame, label: str, *children: Markup | Iterable[Markup] | None) -> Markup:
    drawing = el(
        "svg",
        el("title", label),
        *children,
        viewBox=f"0 0 {frame.width:g} {frame.height:g}",
        role="img",
        class_="chart wide" if frame.width > 400 else "chart",
        style=f"max-width:{frame.width * 1.25:g}px",
    )
    return el("div", drawing, class_="scroll")


def _grid(frame: Frame, x_ticks: Mapping[float, str], y_ticks: Mapping[float, str]) -> list[Markup]:
    right, floor = frame.width - frame.right, frame.height - frame.bottom
    parts = []
    for value, text in y_ticks.items():
        y = frame.at_y(value)
        parts.append(el("line", x1=frame.left, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(el("text", text, x=frame.left - 8, y=y + 3.5, class_="tick end"))
    for value, text in x_ticks.items():
        parts.append(el("text", text, x=frame.at_x(value), y=floor + 18, class_="tick middle"))
    return parts


def _path(frame: Frame, points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{frame.at_x(x):.1f} {frame.at_y(y):.1f}" for x, y in points)


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to `wanted` (ascending) as `gap` between neighbours allows, between `low` and `high`."""
    placed: list[float] = []
    for value in wanted:
        placed.append(max(value, placed[-1] + gap) if placed else max(value, low))
    limit = high
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return placed


def lines(title: str, series: Sequence[Series], mark: float | None = None, x_name: str = "epoch") -> Markup:
    """Lines over whole numbers, each named at its right end.

    Args:
        title: read aloud in place of the drawing.
        series: the lines; those without points are left out.
        mark: a vertical line at this x (the epoch that was kept).
        x_name: what the horizontal axis counts.
    """
    series = [line for line in series if line.points]
    if not series:
        return el("p", "No curve was recorded.", class_="quiet")
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    margin = (max(ys) - min(ys)) * 0.08 or abs(max(ys)) * 0.05 or 1
    longest = max(len(f"{line.name} {_last(line)}") for line in series)
    heights = min(ys) - margin, max(ys) + margin
    y_ticks = {y: general(round(y, 10)) for y in ticks(*heights)}
    left = max(44, 14 + 6.2 * max(map(len, y_ticks.values()), default=0))
    frame = Frame((min(xs), max(xs)), heights, left=left, right=25 + 6.2 * longest)
    x_ticks = {x: f"{x:g}" for x in ticks(*frame.x, wanted=8) if x == round(x)}
    marks = []
    if mark is not None:
        x = frame.at_x(mark)
        marks.append(el("line", x1=x, x2=x, y1=frame.top, y2=frame.height - frame.bottom, class_="mark"))
    name = el("text", x_name, x=frame.width - frame.right + 10, y=frame.height - frame.bottom + 18, class_="tick")
    return _drawing(frame, title, _grid(frame, x_ticks, y_ticks), marks, _lines(frame, series, x_name), name)


def _last(line: Series) -> str:
    """The value at the right end."""
    value = line.points[-1][1]
    return f"{value:.3f}" if abs(value) < 10 else general(value)


def _lines(frame: Frame, series: Sequence[Series], x_name: str) -> list[Markup]:
    ordered = sorted(series, key=lambda line: -line.points[-1][1])
    places = _spread(
        [frame.at_y(line.points[-1][1]) for line in ordered], 14, frame.top + 4, frame.height - frame.bottom
    )
    parts = []
    for line, place in zip(ordered, places, strict=True):
        stroke = f"stroke:{colour(line.colour)}"
        fill = f"fill:{colour(line.colour)}"
        parts.append(el("path", d=_path(frame, line.points), class_="line", style=stroke))
        for x, y in line.points:
            tip = el("title", f"{line.name}: {number(y)} at {x_name} {x:g}")
            parts.append(el("circle", tip, cx=frame.at_x(x), cy=frame.at_y(y), r=3, class_="dot", style=fill))
        end = frame.at_x(line.points[-1][0]) + 10
        text = [line.name, el("tspan", f" {_last(line)}", class_="soft")]
        parts.append(el("text", text, x=end, y=place + 4, class_="name", style=fill))
    return parts


def reliability(title: str, bins: Sequence[Mapping[str, float]], index: int) -> Markup:
    """Predicted against observed shares, each point a bin; on the diagonal the model is calibrated.

    Args:
        title: read aloud in place of the drawing.
        bins: ``{"prediction", "label", "rows"}``; logarithmic axes where predictions span more than a factor of 30.
        index: the series colour.
    """
    positive = [value for found in bins for value in (found["prediction"], found["label"]) if value > 0]
    if not positive:
        return el("p", "No bin holds a positive.", class_="quiet")
    predicted = [found["prediction"] for found in bins if found["prediction"] > 0]
    logarithmic = bool(predicted) and max(predicted) / min(predicted) > 30
    if logarithmic:
        low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)) - 1e-9)
        marks = {float(power): f"{10.0**power * 100:g} %" for power in range(low, high + 1)}
        limits = (float(low), float(max(high, low + 1)))
    else:
        limits = (0.0, max(positive) * 1.08)
        marks = {value: f"{value * 100:.4g} %" for value in ticks(*limits, wanted=4)}
    frame = Frame(limits, limits, width=260, height=232, left=58, right=24, top=10, bottom=28)
    diagonal = el("path", d=_path(frame, [(limits[0],) * 2, (limits[1],) * 2]), class_="mark")
    points = [
        (_place(b["prediction"], logarithmic, low=limits[0]), _place(b["label"], logarithmic, limits[0])) for b in bins
    ]
    line = el("path", d=_path(frame, points), class_="line thin", style=f"stroke:{colour(index)}")
    dots = []
    for (x, y), found in zip(points, bins, strict=True):
        tip = (
            f"predicted {percent(found['prediction'])}, observed {percent(found['label'])}, {count(found['rows'])} rows"
        )
        dot = el("circle", el("title", tip), cx=frame.at_x(x), cy=frame.at_y(y), r=4, class_="dot")
        dots.append(el("g", dot, style=f"fill:{colour(index)}"))
    shown = marks if len(marks) <= 5 else dict(list(marks.items())[:: math.ceil(len(marks) / 5)])
    return _drawing(frame, title, _grid(frame, shown, shown), diagonal, line, dots)


def _place(value: float, logarithmic: bool, low: float) -> float:
    """A share's coordinate; a share of 0 has no logarithm and lies on the floor."""
    if not logarithmic:
        return value
    return max(math.log10(value), low) if value > 0 else low


def histogram(title: str, bars: Sequence[Bar], compare: Sequence[Bar] = ()) -> Markup | None:
    """A word-sized histogram; `compare`, the same bars of another split, is drawn as a line over it."""
    if not bars:
        return None
    width, height = 132.0, 30.0
    compared = list(compare) if len(compare) == len(bars) else []
    if bars[-1].label == OTHERS and not bars[-1].share + sum(bar.share for bar in compared[-1:]):
        bars, compared = bars[:-1], compared[:-1]
    # What is higher than the highest own bar (new values of the other split, all others together) is cut off.
    tallest = max((bar.share for bar in bars if bar.label != OTHERS), default=0) or 1
    heights = [min(bar.share / tallest, 1) * (height - 2) for bar in bars]
    step = width / max(len(bars), 1)
    parts = []
    for place, (bar, tall) in enumerate(zip(bars, heights, strict=True)):
        tip = el("title", f"{bar.label}: {percent(bar.share)}")
        x, wide = place * step, max(step - 1, 0.5)
        parts.append(el("rect", tip, x=x, y=height - tall, width=wide, height=max(tall, 0.6), class_="column"))
    if compared:
        places = [
            (i * step + step / 2, height - min(bar.share / tallest, 1) * (height - 2)) for i, bar in enumerate(compared)
        ]
        parts.append(el("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places), class_="over"))
    return el("svg", el("title", title), parts, viewBox=f"0 0 {width:g} {height:g}", role="img", class_="spark")


def columns(title: str, bars: Sequence[tuple[str, float, int]]) -> Markup:
    """Named upright bars: (name, rows, series colour)."""
    frame = Frame(
        (0, len(bars)), (0, max((rows for _, rows, _ in bars), default=1) * 1.1), 560, 170, left=52, right=4, bottom=26
    )
    step = (frame.width - frame.left - frame.right) / max(len(bars), 1)
    wide = min(step * 0.72, 64)
    every = math.ceil(len(bars) / 12) or 1
    parts = []
    for place, (name, rows, index) in enumerate(bars):
        middle, top = frame.at_x(place + 0.5), frame.at_y(rows)
        tall = frame.height - frame.bottom - top
        shape = el(
            "rect",
            el("title", f"{name}: {count(rows)} rows"),
            x=middle - wide / 2,
            y=top,
            width=wide,
            height=tall,
            rx=2,
        )
        parts.append(el("g", shape, style=f"fill:{colour(index)}"))
        if place % every == 0:
            parts.append(el("text", name, x=middle, y=frame.height - 8, class_="tick middle"))
    y_ticks = {value: general(value) for value in ticks(0, frame.y[1], wanted=3)}
    return _drawing(frame, title, _grid(frame, {}, y_ticks), parts)
