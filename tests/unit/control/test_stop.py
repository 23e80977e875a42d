"""The switch that stops all actions."""

from __future__ import annotations

import pytest

from gateway.control.stop import StopSwitch
from gateway.domain.stop import Stop
from gateway.errors import StoreUnavailableError
from gateway.store.journal import Journal

pytestmark = pytest.mark.anyio


class Store:
    """One row for every node; ``away`` as a database can be."""

    def __init__(self) -> None:
        self.row = Stop()
        self.away = False

    async def turn(self, stop: Stop) -> None:
        if self.away:
            raise StoreUnavailableError("the store is away")
        if stop.at >= self.row.at:
            self.row = stop

    async def read(self) -> Stop:
        if self.away:
            raise StoreUnavailableError("the store is away")
        return self.row


def switch(store, journal, now=1000.0):
    return StopSwitch(store, journal, lambda: now)


async def test_what_one_node_turns_every_node_sees(tmp_path):
    store = Store()
    one, other = (switch(store, Journal(tmp_path / name)) for name in ("one", "other"))
    await one.turn(on=True, by="user ana", why="moving the database")
    assert await other.look() == Stop(on=True, by="user ana", at=1000.0, why="moving the database")


async def test_who_was_first_stays_when_it_is_turned_on_again(tmp_path):
    one = switch(Store(), Journal(tmp_path / "journal"))
    await one.turn(on=True, by="user ana", why="")
    assert (await one.turn(on=True, by="user ben", why="")).by == "user ana"


async def test_it_is_turned_while_the_store_is_away_and_carried_over(tmp_path):
    store, journal = Store(), Journal(tmp_path / "journal")
    one = switch(store, journal)
    store.away = True
    await one.turn(on=True, by="cli root", why="")
    assert (await one.look()).on
    store.away = False
    assert await journal.carry_over()
    assert store.row.by == "cli root"


async def test_a_control_that_starts_while_the_store_is_away_still_knows_what_was_turned_before(tmp_path):
    store, path = Store(), tmp_path / "journal"
    store.away = True
    await switch(store, Journal(path)).turn(on=True, by="cli root", why="")
    assert (await switch(store, Journal(path)).look()).on


async def test_a_clock_that_is_behind_turns_it_all_the_same(tmp_path):
    store = Store()
    await switch(store, Journal(tmp_path / "a"), now=2000.0).turn(on=True, by="user ana", why="")
    await switch(store, Journal(tmp_path / "b"), now=1000.0).turn(on=False, by="user ben", why="")
    assert not store.row.on
