"""What the streaming detector learned outlives a restart and a change of leader, on both databases."""

from __future__ import annotations

import pytest

from gateway.control.detector_memory import DetectorMemory
from gateway.detect.unlike_itself import Watched
from gateway.detect.watched_state import VERSION
from gateway.domain.incident import Place
from gateway.store.detector_states import DetectorStates, KeptState

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0
PLACES = [Place(route="orders"), Place(upstream="orders")]


def watched_for(minutes: int) -> Watched:
    watched = Watched()
    for place in PLACES:
        assert watched.add(place)
        for series in watched.places[place]:
            for minute in range(minutes):
                series.feed(int(NOW) - 60 * (minutes - minute), float(minute % 7))
    return watched


class Node:
    """One control's part of it; ``led_since`` is None while another one leads."""

    def __init__(self, store, watched, led_since=1.0, *, gone=()):
        self.led_since = led_since
        self.now = NOW
        self.watched = watched
        self.states = DetectorStates(store)
        self.memory = DetectorMemory(
            self.states, watched, lambda place: place not in gone, lambda: self.led_since, lambda: self.now
        )

    async def rounds(self, count=3):
        for _ in range(count):
            await self.memory.look()


def known(watched):
    return {place: [series.streaming.state() for series in pair] for place, pair in watched.places.items()}


async def test_who_leads_next_goes_on_with_what_was_kept(store):
    before = watched_for(90)
    await Node(store, before).rounds()
    after = Watched()
    await Node(store, after).rounds(1)
    assert known(after) == known(before)


async def test_who_does_not_lead_neither_keeps_nor_takes_up_anything(store):
    node = Node(store, watched_for(90), led_since=None)
    await node.rounds()
    assert await node.states.read(VERSION, 10) == []


async def test_a_lead_that_is_won_back_takes_up_what_the_other_one_watched_longer(store):
    first, second = Node(store, watched_for(30)), Node(store, watched_for(90))
    await second.rounds()
    await first.rounds(1)
    assert known(first.watched) == known(second.watched)
    first.led_since = None
    await first.rounds()
    first.led_since = 2.0
    await first.rounds(1)
    assert known(first.watched) == known(second.watched)


async def test_what_is_too_old_unreadable_or_of_another_version_is_learned_anew(store):
    states = DetectorStates(store)
    await Node(store, watched_for(60)).rounds()
    await states.keep(KeptState("", "orders", VERSION, NOW, b"no series"))
    await states.keep(KeptState("search", "", VERSION + 1, NOW, b"of a later program"))
    node = Node(store, Watched())
    await node.rounds(1)
    assert set(node.watched.places) == {PLACES[0]}
    late = Node(store, Watched())
    late.now = NOW + 8 * 86_400
    await late.rounds(1)
    assert late.watched.places == {}
    await late.memory.purge()
    assert await states.read(VERSION, 10) == []


async def test_a_route_that_is_no_longer_configured_is_not_missed(store):
    await Node(store, watched_for(60)).rounds()
    node = Node(store, Watched(), gone=[PLACES[0]])
    await node.rounds(1)
    assert set(node.watched.places) == {PLACES[1]}
