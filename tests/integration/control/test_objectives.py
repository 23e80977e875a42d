"""Objectives are counted from the stored buckets of all nodes, on both databases, and from memory in an outage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.control.objectives import Objectives
from gateway.domain.histogram import bin_of
from gateway.domain.objectives import Objective
from gateway.domain.traffic import BucketKey, SeriesKey, Tally
from gateway.domain.window import Window
from gateway.errors import StoreUnavailableError
from gateway.store.buckets import add_to_rows
from gateway.store.objective_counts import ObjectiveCounts

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1_700_000_040.0
AVAILABLE = Objective("available", route="orders", objective=0.99)
FAST = Objective("fast", upstream="orders", objective=0.9, latency_s=0.3)


def tally(requests: int, errors: int = 0, slow: int = 0) -> Tally:
    quick = requests - slow
    latency = {bin_of(20_000): quick} | ({bin_of(900_000): slow} if slow else {})
    return Tally(requests=requests, errors=errors, latency=latency)


def bucket(back_min: int, status: int = 2, target: str = "a:1", route: str = "orders") -> BucketKey:
    return BucketKey(int(NOW) // 60 * 60 - back_min * 60, route, "orders", target, "acme", status)


async def put(store, node: str, rows: Mapping[BucketKey, Tally]) -> None:
    async with store.write() as connection:
        await add_to_rows(connection, node, rows)


def objectives(counts, *wanted: Objective, window: Window | None = None) -> tuple[Objectives, dict[str, Mapping]]:
    gauges: dict[str, Mapping] = {}
    made = Objectives(counts, window or Window(), lambda: wanted, set_gauges=gauges.__setitem__, clock=lambda: NOW)
    return made, gauges


@pytest.mark.anyio
async def test_all_nodes_add_up_and_what_was_refused_does_not_count(store):
    rows = {bucket(1): tally(90), bucket(1, 5): tally(10, errors=10), bucket(1, 4, target=""): tally(500)}
    await put(store, "node-a", rows)
    await put(store, "node-b", {bucket(1): tally(100), bucket(1, 5, target=""): tally(5, errors=5)})
    made, gauges = objectives(ObjectiveCounts(store), AVAILABLE)
    await made.once()
    (state,) = made.states()
    assert (state.requests, state.bad) == (205, 15)
    assert gauges["sentinel_slo_error_budget_remaining"]["available",] == state.remaining
    assert gauges["sentinel_slo_burn_rate"]["available", "1h"] == pytest.approx(15 / 205 / 0.01)


@pytest.mark.anyio
async def test_a_latency_counts_slow_and_failed_requests_as_bad(store):
    await put(store, "node-a", {bucket(2): tally(100, slow=20), bucket(2, 5): tally(5, errors=5)})
    made, _ = objectives(ObjectiveCounts(store), FAST)
    await made.once()
    (state,) = made.states()
    assert (state.requests, state.bad) == (105, 25)


@pytest.mark.anyio
async def test_days_that_lie_back_are_in_the_budget_and_a_late_minute_is_counted_once(store):
    await put(store, "node-a", {bucket(20 * 1440): tally(1000, errors=7), bucket(5): tally(50)})
    made, _ = objectives(ObjectiveCounts(store), AVAILABLE)
    await made.once()
    await put(store, "node-b", {bucket(5): tally(50, errors=1)})
    await made.once()
    await made.once()
    (state,) = made.states()
    assert (state.requests, state.bad) == (1100, 8)


class Away:
    async def read(self, *_: object) -> Mapping:
        raise StoreUnavailableError("away")


@pytest.mark.anyio
async def test_while_the_store_is_away_the_nodes_own_traffic_counts():
    window = Window()
    key = SeriesKey("orders", "orders", "a:1", "acme", "GET", 502, "upstream_unavailable")
    refused = SeriesKey("orders", "orders", "", "acme", "GET", 429, "rate_limited")
    window.add(int(NOW) // 60 * 60 - 60, {key: tally(30, errors=30), refused: tally(70)})
    made, _ = objectives(Away(), AVAILABLE, window=window)
    await made.once()
    (state,) = made.states()
    assert (state.requests, state.bad) == (30, 30)
    assert [burn.long_s for burn in state.firing][:1] == [3600]


@pytest.mark.anyio
async def test_an_objective_taken_out_of_the_file_is_forgotten(store):
    wanted = [AVAILABLE]
    made = Objectives(
        ObjectiveCounts(store), Window(), lambda: tuple(wanted), set_gauges=lambda *_: None, clock=lambda: NOW
    )
    await made.once()
    wanted.clear()
    await made.once()
    assert made.states() == ()
