"""The event log keeps each event once, finds it by any filter and forgets it in time, alike on both databases."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.event import Event, EventFilter, EventSeverity
from gateway.store import events as module
from gateway.store.events import Events

pytestmark = pytest.mark.anyio


def one(name="e-1", *, at=1000.0, **more):
    event = Event(
        id=name,
        agent_id="web-1",
        kind="deploy.finished",
        severity=EventSeverity.INFO,
        at=at,
        received_at=at + 1,
        message='said "\x00" of \U0001f600',
        fields={"revision": 57, "share": 0.5, "ok": True, "who": "ana", "none": None},
    )
    return msgspec.structs.replace(event, **more)


async def ids(events, **wanted):
    return [event.id for event in (await events.page(EventFilter("web-1", **wanted))).items]


async def test_an_event_comes_back_as_it_was_sent_but_for_what_no_database_holds(store):
    events = Events(store)
    assert await events.add([one()]) == 1
    (found,) = (await events.page(EventFilter("web-1"))).items
    assert found == one(message='said "\ufffd" of \U0001f600')


async def test_the_same_event_is_kept_once_and_the_new_ones_beside_it_are_counted(store):
    events = Events(store)
    await events.add([one()])
    assert await events.add([one(message="again"), one("e-2"), one("e-2")]) == 1
    assert await events.add([one(agent_id="web-2"), one(tenant="acme")]) == 2
    assert await ids(events, tenant="") == ["e-2", "e-1"]
    assert await events.add([]) == 0


async def test_every_filter_narrows(store):
    events = Events(store)
    await events.add(
        [
            one("a", at=1.0, kind="deploy.begun", severity=EventSeverity.DEBUG),
            one("b", at=2.0, severity=EventSeverity.WARNING, tenant="acme"),
            one("c", at=3.0, kind="deployed", severity=EventSeverity.CRITICAL, trace_id="0" * 31 + "1"),
        ]
    )
    assert await ids(events) == ["c", "b", "a"]
    assert await ids(events, kind="deploy.") == ["b", "a"]
    assert await ids(events, kind="deployed") == ["c"]
    assert await ids(events, kind="%") == []
    assert await ids(events, severity=EventSeverity.WARNING) == ["c", "b"]
    assert await ids(events, since=2.0, until=3.0) == ["b"]
    assert await ids(events, trace_id="0" * 31 + "1") == ["c"]
    assert await ids(events, tenant="acme") == ["b"]


async def test_a_cursor_goes_on_where_it_was_whatever_arrives_meanwhile(store):
    events = Events(store)
    await events.add([one(f"e-{number}", at=float(number // 2)) for number in range(10)])
    first = await events.page(EventFilter("web-1", limit=4))
    await events.add([one("newer", at=99.0), one("same-moment", at=4.0)])
    second = await events.page(EventFilter("web-1", limit=4, cursor=first.next))
    third = await events.page(EventFilter("web-1", limit=4, cursor=second.next))
    assert [event.id for page in (first, second, third) for event in page.items] == [
        f"e-{number}" for number in range(9, -1, -1)
    ]
    assert third.next is None


async def test_retention_goes_by_when_it_arrived_and_works_in_bounded_steps(store, monkeypatch):
    monkeypatch.setattr(module, "PURGE_ROWS", 2)
    events = Events(store)
    await events.add([one(f"old-{number}", at=5.0 + number) for number in range(5)])
    await events.add([one("told-late", at=5.0, received_at=900.0)])
    assert await events.purge(500.0) == 5
    assert await ids(events) == ["told-late"]


async def test_agents_are_listed_with_what_they_reported_since_then(store):
    events = Events(store)
    await events.add([one("a", at=100.0), one("b", at=200.0), one("c", at=300.0, agent_id="web-2", tenant="acme")])
    assert [(one.agent_id, one.tenant, one.events, one.last_at) for one in await events.agents(0.0)] == [
        ("web-2", "acme", 1, 301.0),
        ("web-1", "", 2, 201.0),
    ]
    assert [one.agent_id for one in await events.agents(150.0, tenant="")] == ["web-1"]
    assert [one.events for one in await events.agents(150.0, tenant="")] == [1]
