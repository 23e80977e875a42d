"""Lines over time as inline SVG. Pure: numbers in, markup out; colours come from the page's style sheet."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 640, 180
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 12, 24
TICKS = 4
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


class Line(NamedTuple):
    """One line: its name, a class of the style sheet, and a value (None: a gap) for each point in time."""

    name: str
    style: str
    values: Sequence[float | None]


def chart(title: str, times_s: Sequence[float], lines: Sequence[Line]) -> str:
    """The chart, with its title and legend. Without points, a sentence that says so."""
    if not times_s:
        return f'<p class="quiet">{escape(title)}: nothing was seen.</p>'
    top = nice(max((value for line in lines for value in line.values if value is not None), default=0.0))
    first, last = times_s[0], max(times_s[-1], times_s[0] + 1)

    def x(at_s: float) -> float:
        return LEFT + (at_s - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = []
    for number in range(TICKS + 1):
        value = top * number / TICKS
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for at_s in (first, (first + last) / 2, last):
        anchor = "end" if at_s == last else "middle" if at_s > first else "start"
        parts.append(f'<text x="{x(at_s):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{at_s:g} s</text>')
    for line in lines:
        for points in _runs(times_s, line.values):
            path = " ".join(f"{x(at_s):.1f},{y(value):.1f}" for at_s, value in points)
            parts.append(f'<polyline class="{escape(line.style)}" points="{path}"/>')
            parts += [
                f'<circle class="{escape(line.style)}" cx="{x(at_s):.1f}" cy="{y(value):.1f}" r="2"/>'
                for at_s, value in points
                if len(points) == 1
            ]
    keys = " ".join(f'<span class="key {escape(line.style)}">{escape(line.name)}</span>' for line in lines)
    return (
        f"<figure><figcaption>{escape(title)} {keys}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def nice(highest: float) -> float:
    """The end of an axis that holds ``highest``: 1, 2, 2.5 or 5 times a power of ten."""
    if highest <= 0:
        return 1.0
    power = 1.0
    while power * 10 < highest:
        power *= 10
    while power >= highest:
        power /= 10
    return next((step * power for step in _STEPS if step * power >= highest), power * 10)


def _runs(times_s: Sequence[float], values: Sequence[float | None]) -> list[list[tuple[float, float]]]:
    points = list(zip(times_s, values, strict=True))
    starts = [0, *(index + 1 for index, (a, b) in enumerate(pairwise(points)) if (a[1] is None) != (b[1] is None))]
    runs = [points[start:end] for start, end in pairwise([*starts, len(points)])]
    return [[(at_s, value) for at_s, value in run if value is not None] for run in runs if run[0][1] is not None]
