"""Two controls on one database: the one that leads detects on the traffic of both, and counts nothing twice."""

from __future__ import annotations

import pytest

from gateway.control.other_nodes import OtherNodes
from gateway.detect.baseline import Baseline
from gateway.detect.open_minute import HardFailure
from gateway.domain.histogram import bin_of
from gateway.domain.incident import Place
from gateway.domain.traffic import BucketKey, Tally
from gateway.domain.window import Window
from gateway.store import migrate
from gateway.store.buckets import Buckets, add_to_rows
from gateway.store.engine import open_store

pytestmark = pytest.mark.anyio
MINUTE = 1_700_000_040


class Node:
    """A control's window beside what it reads of the others."""

    def __init__(self, store, name: str, now: float) -> None:
        self.name, self.now, self.window, self.store = name, now, Window(), store
        self.others = OtherNodes(Buckets(store), self.window, name, alone=False, clock=lambda: self.now)

    async def ship(self, minute: int, requests: int, errors: int = 0, target: str = "p1") -> None:
        rows = {
            BucketKey(minute, "pay", "payments", target, "acme", status): Tally(
                requests=count, errors=count if status == 5 else 0, latency={bin_of(30_000): count}
            )
            for status, count in ((2, requests - errors), (5, errors))
            if count
        }
        async with self.store.write() as connection:
            await add_to_rows(connection, self.name, rows)

    def total(self) -> tuple[int, int]:
        sums = self.window.total(MINUTE - 3600, MINUTE + 3600, minutes=True)
        return sums.requests, sums.errors

    def fine(self, start: int, end: int) -> int:
        return self.window.total(start, end).requests


@pytest.fixture
async def pair(postgres_database):
    await migrate.upgrade(postgres_database)
    stores = [open_store(postgres_database) for _ in range(2)]
    yield [Node(store, name, MINUTE + 6.0) for store, name in zip(stores, ("a", "b"), strict=True)]
    for store in stores:
        await store.close()


async def test_what_another_node_adds_to_the_running_minute_lands_in_the_seconds_just_ended(pair):
    a, b = pair
    await a.others.warm(MINUTE - 3600)
    await b.ship(MINUTE, 40)
    await a.others.look()
    await b.ship(MINUTE, 60, errors=10)
    a.now += 5
    await a.others.look()
    assert (a.fine(MINUTE, MINUTE + 5), a.fine(MINUTE + 5, MINUTE + 10)) == (40, 60)
    assert a.total() == (100, 10)


async def test_nothing_counts_twice_and_ones_own_is_left_out(pair):
    a, b = pair
    await b.ship(MINUTE - 60, 30)
    await a.ship(MINUTE - 60, 7)
    await a.others.warm(MINUTE - 3600)
    assert a.total() == (37, 0)
    await a.ship(MINUTE, 1000)  # comes by a's own spool, not from here
    for _ in range(14):
        await a.others.look()
        a.now += 5
    assert a.total() == (37, 0)


async def test_a_late_minute_goes_where_it_belongs(pair):
    a, b = pair
    await a.others.warm(MINUTE - 3600)
    await b.ship(MINUTE - 300, 50)
    for _ in range(13):
        a.now += 5
        await a.others.look()
    assert a.window.total(MINUTE - 300, MINUTE - 240, minutes=True).requests == 50
    assert a.fine(MINUTE - 600, MINUTE + 600) == 0


async def test_a_fault_that_only_the_other_node_sees_is_found_within_fifteen_seconds(pair):
    a, b = pair
    await a.others.warm(MINUTE - 3600)
    found = []
    detector = HardFailure(Baseline())
    for _ in range(3):
        await b.ship(MINUTE, 10, errors=10)
        await a.others.look()
        found = detector.examine(a.window, a.now)
        if found:
            break
        a.now += 5
    assert a.now - MINUTE <= 15 + 6
    assert Place(upstream="payments", target="p1") in {one.place for one in found}


async def test_refusals_stored_by_others_are_no_traffic_of_an_upstream(pair):
    a, b = pair
    async with b.store.write() as connection:
        key = BucketKey(MINUTE, "pay", "payments", "", "acme", 4)
        await add_to_rows(connection, "b", {key: Tally(requests=500)})
    await a.others.warm(MINUTE - 3600)
    (series,) = a.window.sums(MINUTE, MINUTE + 60, by=("error",), minutes=True)
    assert series == ("forbidden",)
