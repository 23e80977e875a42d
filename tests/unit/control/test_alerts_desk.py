"""The desk for alerts: what a delivery changes, what falls silent, and what could not be read."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from gateway.control import alerts as desk
from gateway.control.alerts import Alerts
from gateway.control.dead_letters import DeadLetters
from gateway.domain.incident import Place
from gateway.domain.sources import AlertSettings
from gateway.errors import InvalidInputError, NotFoundError, StoreUnavailableError
from tests.admin_fakes import Clock, FakeAlertStore, FakeLetterStore, some_snapshot

pytestmark = pytest.mark.anyio
AWAY = StoreUnavailableError("away")


class World:
    """A desk over stores in memory."""

    def __init__(self, *, store: FakeAlertStore | None = None, alone: bool = True) -> None:
        self.clock = Clock()
        self.store = store or FakeAlertStore()
        self.letters = FakeLetterStore()
        self.counted: Counter[tuple[str, ...]] = Counter()
        self.gauges: dict[str, dict[tuple[str, ...], float]] = {}
        self.settings: AlertSettings | None = AlertSettings(lapse_s=600.0)
        self.desk = Alerts(
            self.store,
            DeadLetters(self.letters),
            settings=lambda: self.settings,
            snapshot=some_snapshot,
            alone=alone,
            count=self._count,
            gauge=lambda name, values: self.gauges.update({name: dict(values)}),
            clock=self.clock,
        )

    def _count(self, name: str, *labels: str, amount: float = 1) -> None:
        self.counted[(name, *labels)] += int(amount)

    async def send(self, *alerts: dict[str, object]) -> object:
        return await self.desk.receive("generic", json.dumps({"alerts": alerts}).encode())


def alert(key: str, status: str = "firing", **more: object) -> dict[str, object]:
    return {"id": key, "status": status, "service": "payments", "severity": "critical", **more}


async def test_a_delivery_is_counted_by_what_became_of_each_alert():
    world = World()
    received = await world.send(alert("a"), alert("b", service="nobody"), alert("c", "resolved"), alert("a"))
    assert (received.firing, received.repeated, received.unknown, received.unplaced) == (2, 1, 1, 1)
    assert world.counted["sentinel_alerts_received_total", "generic", "firing"] == 2
    assert world.gauges["sentinel_alerts_firing"]["generic",] == 2
    assert {one.place.upstream for one in world.desk.firing()} == {"payments", ""}


async def test_a_resolved_alert_fires_no_more_and_is_still_known():
    world = World()
    await world.send(alert("a"))
    await world.send(alert("a", "resolved"))
    assert world.desk.firing() == []
    (known,) = world.desk.known().values()
    assert known.resolved
    world.clock.now += desk.REMEMBERED_S + 1
    await world.desk.refresh()
    assert not world.desk.known()


async def test_an_alert_that_nothing_was_heard_of_for_too_long_ends_by_itself():
    world = World()
    await world.send(alert("a"), alert("b"))
    world.clock.now += 500
    await world.send(alert("b"))
    world.clock.now += 200
    await world.desk.refresh()
    assert [one.resolved for one in world.desk.known().values() if one.ended_at is not None] == [False]
    assert len(world.desk.firing()) == 1


async def test_alerts_end_where_they_are_not_taken_any_more():
    world = World()
    await world.send(alert("a"))
    world.settings = None
    world.clock.now += 1
    await world.desk.refresh()
    assert world.desk.firing() == []
    with pytest.raises(NotFoundError):
        await world.send(alert("a"))


async def test_what_fires_is_read_back_after_a_start():
    before = World()
    await before.send(alert("a"))
    after = World(store=before.store)
    assert after.desk.known() is None
    await after.desk.refresh()
    assert len(after.desk.firing()) == 1


async def test_an_alert_whose_incident_was_closed_by_hand_says_no_more_until_it_fires_anew():
    world = World()
    await world.send(alert("a"), alert("b", service="orders"))
    await world.desk.set_aside({Place(upstream="payments")})
    assert [one.place.upstream for one in world.desk.speaking()] == ["orders"]
    world.clock.now += 60
    await world.send(alert("a"))
    assert len(world.desk.speaking()) == 1
    await world.send(alert("a", "resolved"))
    world.clock.now += 60
    await world.send(alert("a"))
    assert len(world.desk.speaking()) == 2


async def test_an_end_told_to_another_node_than_the_beginning_is_no_less_an_end():
    one = World(alone=False)
    other = World(store=one.store, alone=False)
    await other.desk.refresh()
    await one.send(alert("a"))
    assert (await other.send(alert("a", "resolved"))).resolved == 1
    one.clock.now += 1
    await one.desk.refresh()
    assert one.desk.firing() == []


async def test_with_the_store_away_from_the_beginning_senders_are_asked_to_try_again():
    world = World()
    world.store.failure = AWAY
    with pytest.raises(StoreUnavailableError):
        await world.send(alert("a", "resolved"))
    assert world.desk.known() is None


async def test_more_alerts_than_anybody_can_look_at_are_dropped_and_counted(monkeypatch):
    monkeypatch.setattr(desk, "MOST_KNOWN", 2)
    world = World()
    received = await world.send(*(alert(str(number)) for number in range(5)))
    assert (received.firing, received.dropped) == (2, 3)
    assert len(world.desk.firing()) == 2
    assert (await world.send(alert("0", "resolved"), alert("9"))).firing == 0


async def test_a_wrong_body_is_a_dead_letter_and_the_good_alerts_in_it_are_taken():
    world = World()
    with pytest.raises(InvalidInputError) as caught:
        await world.send(alert("a"), {"status": "firing"}, {"id": "x", "status": "what"})
    (letter,) = world.letters.rows.values()
    assert caught.value.field == letter.field == "alerts[1].title"
    assert "the 1 good ones" in str(caught.value)
    assert letter.id in caught.value.remedy
    assert json.loads(letter.body)["alerts"][2]["status"] == "what"
    assert len(world.desk.firing()) == 1
    assert world.counted["sentinel_dead_letters_total", "generic"] == 1


async def test_a_wrong_body_is_answered_although_it_cannot_be_kept():
    world = World()
    world.letters.failure = AWAY
    with pytest.raises(InvalidInputError) as caught:
        await world.desk.receive("datadog", b"no")
    assert "could not be kept" in caught.value.remedy


async def test_an_unknown_kind_is_answered_with_the_known_ones():
    with pytest.raises(NotFoundError) as caught:
        await World().desk.receive("nagios", b"{}")
    assert "alertmanager" in caught.value.remedy
