"""The overview in figures: what flows, how well, where, and who runs into limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.admin.dashboard import wording
from gateway.admin.dashboard.models.spark import Spark, spark
from gateway.domain.histogram import quantile
from gateway.domain.traffic import ErrorKind, Tally
from gateway.domain.window import FINE_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.domain.snapshot import Snapshot
    from gateway.domain.window import Where, Window

MINUTE_S = 60
SPARK_S = 900  # what the window keeps in five-second cells
SPARK_STEP = 3  # cells per point: 15 s are enough for a shape and steady the p95
ALARMING_SHARE = 0.05  # error share from which the figure itself turns to the colour of harm
_SHARE_CEILING = 0.02  # an error share below 2 % draws as a low line, not as a peak

# (sign, word, look) per state of a target: the sign and the word carry it, the look only helps.
STATES: dict[str, tuple[str, str, str]] = {
    "ok": ("✓", "ok", ""),
    "ejected": ("✕", "ejected", "out"),
    "trial": ("◐", "on trial", "trial"),
    "unhealthy": ("!", "unhealthy", "out"),
}
_UNKNOWN_STATE = ("?", "unknown", "")


class Figure(msgspec.Struct, frozen=True):
    """One number at the top of the page."""

    name: str
    value: str
    note: str
    spark: Spark
    bad: bool = False


class Tile(msgspec.Struct, frozen=True):
    """One target of an upstream over the last minute."""

    target: str
    sign: str
    word: str
    look: str
    line: str
    reason: str = ""  # of the directive or probe that took it out
    until: float = 0.0  # when the directive ends by itself


class UpstreamTiles(msgspec.Struct, frozen=True):
    """An upstream, its targets, and how many of them serve."""

    name: str
    summary: str
    tiles: tuple[Tile, ...]


class Limited(msgspec.Struct, frozen=True):
    """One tenant refused by a route's limit."""

    tenant: str
    route: str
    refused: int
    refused_share: float


def last_whole_cell(now: float) -> int:
    """Where the five-second cell that is still filling begins: everything before it is whole."""
    return int(now) // FINE_S * FINE_S


def grouped(cells: Iterable[tuple[int, Tally]], size: int) -> list[tuple[int, Tally]]:
    """Every ``size`` neighbouring cells added into one, keeping the first one's instant."""
    out: list[tuple[int, Tally]] = []
    for place, (at, tally) in enumerate(cells):
        if place % size == 0:
            out.append((at, Tally()))
        out[-1][1].add(tally)
    return out


def figures(window: Window, now: float, where: Where | None = None) -> tuple[Figure, ...]:
    """Requests per second, error share and p95 of the last minute, each with its last quarter of an hour."""
    end = last_whole_cell(now)
    begun = window.started_at if window.started_at is not None else end
    covered_s = max(FINE_S, min(MINUTE_S, end - begun))
    minute = window.total(end - MINUTE_S, end, where=where)
    points = grouped(window.series(max(end - SPARK_S, begun), end, where=where), SPARK_STEP)
    p95 = quantile(minute.latency, 0.95)
    tallies = [tally for _, tally in points]
    return (
        Figure(
            name="Requests",
            value=wording.rate(minute.requests / covered_s),
            note=f"{wording.count(minute.requests)} in the last minute",
            spark=spark([tally.requests for tally in tallies]),
        ),
        Figure(
            name="Errors",
            value=wording.share(minute.error_share if minute.requests else None),
            note=f"{wording.count(minute.errors)} failed",
            spark=spark([tally.error_share for tally in tallies], ceiling=_SHARE_CEILING),
            bad=minute.error_share >= ALARMING_SHARE,
        ),
        Figure(
            name="Latency p95",
            value=wording.latency(p95),
            note=f"median {wording.latency(quantile(minute.latency, 0.5))}",
            spark=spark([quantile(tally.latency, 0.95) or 0.0 for tally in tallies]),
        ),
    )


def traffic_line(tally: Tally | None) -> str:
    """A minute of one target in one line."""
    if tally is None or not tally.requests:
        return "no requests in the last minute"
    return (
        f"{wording.rate(tally.requests / MINUTE_S)} · {wording.share(tally.error_share)} errors · "
        f"p95 {wording.latency(quantile(tally.latency, 0.95))}"
    )


def upstreams(
    snapshot: Snapshot, states: Mapping[tuple[str, str], str], window: Window, now: float, where: Where | None = None
) -> tuple[UpstreamTiles, ...]:
    """Every upstream with a tile per target."""
    end = last_whole_cell(now)
    sums = window.sums(end - MINUTE_S, end, by=("upstream", "target"), where=where)
    orders = {
        (order.upstream, order.target): order
        for order in snapshot.directives
        if order.target and order.expires_at > now
    }
    out = []
    for upstream in snapshot.upstreams:
        tiles = []
        for target in upstream.targets:
            place = (upstream.name, target.name)
            sign, word, look = STATES.get(states.get(place, "ok"), _UNKNOWN_STATE)
            order = orders.get(place)
            tiles.append(
                Tile(
                    target=target.name,
                    sign=sign,
                    word=word,
                    look=look,
                    line=traffic_line(sums.get(place)),
                    reason=order.reason if order else "",
                    until=order.expires_at if order else 0.0,
                )
            )
        serving = sum(1 for tile in tiles if not tile.look)
        summary = (
            wording.plural(serving, "target") if serving == len(tiles) else f"{serving} of {len(tiles)} targets serve"
        )
        out.append(UpstreamTiles(name=upstream.name, summary=summary, tiles=tuple(tiles)))
    return tuple(out)


def limited(window: Window, now: float, where: Where | None = None, top: int = 6) -> tuple[Limited, ...]:
    """Who was refused most in the last quarter of an hour, and how much of their traffic that was."""
    end = last_whole_cell(now)
    sums = window.sums(end - SPARK_S, end, by=("tenant", "route", "error"), where=where)
    asked: dict[tuple[str, str], int] = {}
    refused: dict[tuple[str, str], int] = {}
    for (tenant, route, error), tally in sums.items():
        place = (str(tenant), str(route))
        asked[place] = asked.get(place, 0) + tally.requests
        if error == ErrorKind.RATE_LIMITED:
            refused[place] = refused.get(place, 0) + tally.requests
    worst: Sequence[tuple[tuple[str, str], int]] = sorted(refused.items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(
        Limited(tenant=place[0], route=place[1], refused=number, refused_share=number / asked[place])
        for place, number in worst[:top]
        if number
    )
