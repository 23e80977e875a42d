"""The switch, and what begins an action once, are kept alike on both databases."""

from __future__ import annotations

import pytest

from gateway.domain.plan import ActionState
from gateway.domain.stop import Stop
from gateway.store.actions import Actions
from gateway.store.leases import Leases
from gateway.store.switches import Switches
from gateway.store.tables import actions

pytestmark = pytest.mark.anyio


async def approved(store, name="a-1") -> Actions:
    async with store.write() as connection:
        row = {"id": name, "incident_id": "in-1", "state": str(ActionState.APPROVED), "stage": 1, "updated_at": 0.0}
        await connection.execute(actions.insert().values(**row))
    return Actions(store)


async def test_of_two_turns_the_later_one_stays(store):
    switches = Switches(store)
    assert await switches.read() == Stop()
    late = Stop(on=True, by="user ana", at=2000.0, why="why")
    await switches.turn(late)
    await switches.turn(Stop(on=False, by="user ben", at=1000.0))
    assert await switches.read() == late


async def test_an_action_is_begun_once_by_whoever_leads(store):
    lease = await Leases(store).acquire("leader", "one", 15.0)
    kept = await approved(store)
    assert [await kept.begin("a-1", lease.fence) for _ in range(3)] == [True, False, False]
    assert await kept.state("a-1") is ActionState.RUNNING


async def test_a_leader_that_was_replaced_begins_nothing(store):
    first = await Leases(store).acquire("leader", "one", 0.0)
    second = await Leases(store).acquire("leader", "two", 15.0)
    kept = await approved(store)
    assert second.fence > first.fence
    assert not await kept.begin("a-1", first.fence)
    assert await kept.begin("a-1", second.fence)
