"""Simulated traffic for detector tests: Poisson arrivals, binomial errors, log-normal latency, one fault at a time."""

from __future__ import annotations

import random
from math import exp, log, sqrt
from typing import TYPE_CHECKING, NamedTuple

from gateway.domain.histogram import bin_of
from gateway.domain.traffic import SeriesKey, Tally
from gateway.domain.window import FINE_S, Window

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_700_000_040  # a whole minute
_MENU_SIZE = 512


class Flow(NamedTuple):
    """A stream of requests to one target."""

    route: str
    upstream: str
    target: str
    rate: float  # requests per second
    errors: float = 0.002  # share
    latency_ms: float = 30.0  # median
    spread: float = 0.5  # sigma of the logarithm
    tenant: str = "acme"
    method: str = "GET"


Fault = "Callable[[Flow, float], Flow]"


class Traffic:
    """Feeds a Window bin by bin; ``fault(flow, at)`` changes a flow at a time."""

    def __init__(self, flows: list[Flow], seed: int = 1, fault: Callable[[Flow, float], Flow] | None = None) -> None:
        self.random = random.Random(seed)
        self.flows = flows
        self.fault = fault
        self.window = Window()
        self._menus: dict[tuple[float, float], list[int]] = {}

    def bin(self, at: int, seconds: float = FINE_S) -> None:
        """Add one five-second bin, or the first ``seconds`` of it."""
        cell: dict[SeriesKey, Tally] = {}
        for flow in self.flows:
            shown = self.fault(flow, at) if self.fault else flow
            self._fill(cell, shown, self.poisson(shown.rate * seconds))
        self.window.add(at, cell)

    def run(self, start: int, end: int) -> None:
        for at in range(start, end, FINE_S):
            self.bin(at)

    def _fill(self, cell: dict[SeriesKey, Tally], flow: Flow, requests: int) -> None:
        bad = self.binomial(requests, flow.errors)
        menu = self._menus.get((flow.latency_ms, flow.spread))
        if menu is None:
            menu = self._menus[flow.latency_ms, flow.spread] = [
                int(1000 * flow.latency_ms * exp(self.random.gauss(0, flow.spread))) for _ in range(_MENU_SIZE)
            ]
        for status, count in ((200, requests - bad), (502, bad)):
            if not count:
                continue
            error = "upstream_unavailable" if status == 502 else ""
            key = SeriesKey(flow.route, flow.upstream, flow.target, flow.tenant, flow.method, status, error)
            tally = cell.setdefault(key, Tally())
            tally.requests += count
            tally.errors += count if status >= 500 else 0
            for _ in range(count):
                us = menu[int(self.random.random() * _MENU_SIZE)]
                tally.duration_us += us
                index = bin_of(us)
                tally.latency[index] = tally.latency.get(index, 0) + 1

    def poisson(self, mean: float) -> int:
        if mean > 60:
            return max(0, round(self.random.gauss(mean, sqrt(mean))))
        count, product, limit = 0, self.random.random(), exp(-mean)
        while product > limit:
            count += 1
            product *= self.random.random()
        return count

    def binomial(self, n: int, p: float) -> int:
        if p <= 0 or n == 0:
            return 0
        if p >= 1:
            return n
        # Waiting times between hits: cheap for the rare errors of healthy traffic.
        hits, position = 0, 0
        while True:
            position += int(log(1.0 - self.random.random()) / log(1 - p)) + 1
            if position > n:
                return hits
            hits += 1
