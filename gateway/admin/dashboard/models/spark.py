"""A sparkline as SVG paths, so that it shows without JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 100, 30
_HEADROOM = 2  # keeps the stroke of the highest point inside the box


class Spark(msgspec.Struct, frozen=True):
    """Path data in a box of 100 × 30; ``fill`` is the area under ``line``. Both empty when there is nothing to draw."""

    line: str = ""
    fill: str = ""


def spark(values: Sequence[float], *, ceiling: float = 0.0) -> Spark:
    """Draw ``values`` left to right from a floor of zero.

    Args:
        values: one per step of time.
        ceiling: the top of the scale is at least this, so that noise near zero does not look like a mountain.
    """
    if len(values) < 2:  # noqa: PLR2004 - one point is no line
        return Spark()
    top = max(*values, ceiling) or 1.0
    step = WIDTH / (len(values) - 1)
    usable = HEIGHT - _HEADROOM
    points = [f"{i * step:.1f},{HEIGHT - value / top * usable:.1f}" for i, value in enumerate(values)]
    line = "M" + " L".join(points)
    return Spark(line=line, fill=f"{line} L{WIDTH},{HEIGHT} L0,{HEIGHT} Z")
