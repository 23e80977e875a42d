"""From the news to the receiver, over real HTTP and both real databases."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from gateway.domain.incident import IncidentState, Severity
from gateway.domain.policy import NotifyChannel
from gateway.notify.channels import build
from gateway.notify.http_post import Poster
from gateway.notify.message import What, of_incident
from gateway.notify.outbox import LEASE_S, Outbox
from gateway.store.outbox import Outbox as StoredOutbox
from tests.integration.notify import receiver as http
from tests.unit.notify.incidents import NOW, incident

if TYPE_CHECKING:
    from gateway.notify.outbox import OutboxStore
    from gateway.store.engine import Store
    from tests.integration.notify.receiver import Receiver

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def outbox(store: Store, receiver: Receiver, poster: Poster, clock: Clock) -> Outbox:
    kept: OutboxStore = StoredOutbox(store)
    configured = (
        NotifyChannel(name="pager", kind="slack", url_env="PAGER", severities=(Severity.P1,)),
        NotifyChannel(name="hook", kind="webhook", url=receiver.url("/hook")),
    )
    channels = build(configured, {"PAGER": receiver.url("/pager")}.get, poster)
    return Outbox(kept, configured, channels, clock=clock, jitter=lambda: 1.0)


def kinds(receiver: Receiver) -> list[str]:
    return sorted(request.target for request in receiver.received)


async def test_an_incident_is_told_from_opening_to_end_once_each(store: Store, receiver: Receiver) -> None:
    clock = Clock()
    async with Poster() as poster:
        first = outbox(store, receiver, poster, clock)
        assert await first.post(of_incident(incident(), What.OPENED, NOW)) == 2
        assert await first.deliver_due(NOW) == 2
        second = outbox(store, receiver, poster, clock)  # another control, or the same one restarted
        assert await second.post(of_incident(incident(), What.OPENED, NOW)) == 0
        over = incident(severity=Severity.P4, state=IncidentState.CLOSED, closed_at=NOW + 60)
        assert await second.post(of_incident(over, What.CLOSED, NOW)) == 2
        assert await second.deliver_due(NOW + 1) == 2
        assert await second.deliver_due(NOW + LEASE_S * 2) == 0
    assert kinds(receiver) == ["/hook", "/hook", "/pager", "/pager"]


async def test_two_controls_at_once_page_once(store: Store, receiver: Receiver) -> None:
    clock = Clock()
    async with Poster() as poster:
        boxes = [outbox(store, receiver, poster, clock) for _ in range(4)]
        await asyncio.gather(*(box.post(of_incident(incident(), What.OPENED, NOW)) for box in boxes))
        await asyncio.gather(*(box.deliver_due(NOW) for box in boxes))
    assert kinds(receiver) == ["/hook", "/pager"]


async def test_an_outage_of_the_receiver_delays_and_does_not_repeat(store: Store, receiver: Receiver) -> None:
    receiver.answers = [http.BROKEN, http.BUSY, http.OK]
    clock = Clock()
    async with Poster() as poster:
        box = outbox(store, receiver, poster, clock)
        await box.post(of_incident(incident(severity=Severity.P2), What.OPENED, NOW))
        for after_s, received in ((0, 1), (4, 1), (6, 2), (30, 2), (60, 3), (1000, 3)):
            clock.now = NOW + after_s
            await box.deliver_due(clock.now)
            assert len(receiver.received) == received, after_s
    assert {json.loads(request.body)["key"] for request in receiver.received} == {"incident:i-1:opened:1"}
    assert {request.headers["idempotency-key"] for request in receiver.received} == {"incident:i-1:opened:1"}
    assert await StoredOutbox(store).counts() == {"waiting": 0, "delivered": 1, "given_up": 0}


async def test_a_channel_that_is_gone_is_given_up_and_seen(store: Store, receiver: Receiver) -> None:
    receiver.answers = [http.MISSING]
    clock = Clock()
    async with Poster() as poster:
        box = outbox(store, receiver, poster, clock)
        await box.post(of_incident(incident(severity=Severity.P2), What.OPENED, NOW))
        await box.deliver_due(NOW)
    assert await StoredOutbox(store).counts() == {"waiting": 0, "delivered": 0, "given_up": 1}
