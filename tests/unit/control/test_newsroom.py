"""What is silenced is told late or not at all, and an end is told to whoever heard of the beginning."""

from __future__ import annotations

import msgspec
import pytest

from gateway.casebook import Casebook
from gateway.domain.incident import Incident, IncidentState, Place, Severity, Signal
from gateway.newsroom import Newsroom
from gateway.notify.message import What

pytestmark = pytest.mark.anyio
NOW = 1_700_000_000.0


class Store:
    async def save(self, incident):
        self.last = incident

    async def open_ones(self):
        return ()


class World:
    """A newsroom with a switch for silence, and what came out of it."""

    def __init__(self) -> None:
        self.why = ""
        self.said: list[What] = []
        self.book = Casebook(Store(), on_open=lambda _: None, on_action=lambda _: None)
        self.news = Newsroom(self, self.book, lambda *_: self.why, lambda: NOW)

    async def tell(self, incident, what, action=None):
        self.said.append(what)

    async def open(self) -> Incident:
        incident = Incident(
            id="in-1",
            dedup_key="payments:latency",
            state=IncidentState.ANALYZING,
            severity=Severity.P2,
            signal=Signal.LATENCY,
            place=Place(upstream="payments"),
            title="",
            opened_at=NOW,
            onset=NOW,
            updated_at=NOW,
        )
        await self.news.announce(await self.book.save(incident), NOW)
        return self.book["in-1"]


async def test_what_nothing_keeps_quiet_is_told_at_once():
    world = World()
    assert (await world.open()).untold == ""
    assert world.said == [What.OPENED]


async def test_a_silenced_incident_exists_says_why_and_nobody_is_told_from_beginning_to_end():
    world = World()
    world.why = "silenced by ana"
    incident = await world.open()
    assert incident.timeline[-1].kind == "incident.silenced"
    for what in (What.RAISED, What.DIAGNOSED, What.CLOSED):
        await world.news.tell(incident, what)
    assert world.said == []


async def test_people_are_told_when_the_silence_ends_before_the_incident():
    world = World()
    world.why = "silenced by ana"
    await world.open()
    await world.news.reconsider(NOW + 5)
    assert world.said == []
    world.why = ""
    await world.news.reconsider(NOW + 10)
    await world.news.reconsider(NOW + 15)
    await world.news.tell(world.book["in-1"], What.CLOSED)
    assert world.said == [What.OPENED, What.CLOSED]


async def test_an_end_is_told_through_a_silence_when_the_beginning_was_told():
    world = World()
    incident = await world.open()
    world.why = "silenced by ana"
    await world.news.tell(incident, What.RAISED)
    await world.news.tell(incident, What.CLOSED)
    assert world.said == [What.OPENED, What.CLOSED]


async def test_another_leader_tells_nothing_of_what_is_silenced():
    world = World()
    world.why = "silenced by ana"
    incident = await world.open()
    world.why = ""
    await world.news.tell_again(msgspec.structs.replace(incident, untold="silenced by ana"))
    assert world.said == []
