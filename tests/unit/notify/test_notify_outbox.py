"""A message arrives once: through failures, restarts, and a store that is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from gateway.domain.incident import IncidentState, Severity
from gateway.domain.policy import NotifyChannel
from gateway.errors import DeliveryError
from gateway.notify.message import Message, What, of_incident, trial_message
from gateway.notify.outbox import GIVE_UP_AFTER_S, LEASE_S, Outbox
from tests.unit.notify.incidents import NOW, incident
from tests.unit.notify.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

PAGER = NotifyChannel(name="pager", kind="slack", severities=(Severity.P1,))
TEAM = NotifyChannel(name="team", kind="webhook")


class FakeChannel:
    """Takes messages, or fails as told."""

    def __init__(self, name: str, kind: str = "slack") -> None:
        self.name = name
        self.kind = kind
        self.draws_together = kind == "slack"
        self.took: list[Message] = []
        self.failures: list[Exception] = []
        self.tries = 0
        self.gate: asyncio.Event | None = None

    async def deliver(self, message: Message, now: float) -> None:
        self.tries += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.took.append(message)


class Bench:
    """An outbox with a clock of its own, which can be restarted."""

    def __init__(self) -> None:
        self.now = NOW
        self.store = MemoryStore()
        self.pager, self.team = FakeChannel("pager"), FakeChannel("team", "webhook")
        self.counted: Counter[tuple[str, str]] = Counter()
        self.restart()

    def restart(self) -> None:
        self.outbox = Outbox(
            self.store,
            (PAGER, TEAM),
            {"pager": self.pager, "team": self.team},
            clock=lambda: self.now,
            jitter=lambda: 1.0,
            count=lambda kind, outcome: self.counted.update([(kind, outcome)]),
        )

    async def opened(self, severity: Severity = Severity.P1) -> int:
        return await self.outbox.post(of_incident(incident(severity=severity), What.OPENED, self.now))

    async def deliver(self, after_s: float = 0.0) -> None:
        self.now += after_s
        await self.outbox.deliver_due(self.now)


async def until(true: Callable[[], bool]) -> None:
    """Wait for it, at most five seconds."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what is awaited is a plain value of a fake
            await asyncio.sleep(0.001)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_message_reaches_every_channel_it_is_for(bench: Bench) -> None:
    assert await bench.opened() == 2
    await bench.deliver()
    assert [len(bench.pager.took), len(bench.team.took)] == [1, 1]
    assert bench.counted == {("slack", "delivered"): 1, ("webhook", "delivered"): 1}


async def test_the_same_news_is_never_told_twice(bench: Bench) -> None:
    await bench.opened()
    await bench.deliver()
    assert await bench.opened() == 0
    bench.restart()
    assert await bench.opened() == 0
    await bench.deliver(after_s=LEASE_S * 2)
    assert bench.pager.tries == 1


async def test_a_failure_is_tried_again_later_and_later(bench: Bench) -> None:
    bench.pager.failures = [DeliveryError("no") for _ in range(3)]
    await bench.opened()
    await bench.deliver()
    for pause, tries in ((4.9, 1), (0.2, 2), (9.9, 2), (0.2, 3), (19.9, 3), (0.2, 4)):
        await bench.deliver(after_s=pause)
        assert bench.pager.tries == tries
    assert len(bench.pager.took) == 1
    assert bench.counted["slack", "retried"] == 3
    assert len(bench.team.took) == 1


async def test_retry_after_is_honoured(bench: Bench) -> None:
    bench.pager.failures = [DeliveryError("slow down", retry_after_s=120.0)]
    await bench.opened()
    await bench.deliver()
    await bench.deliver(after_s=119)
    assert bench.pager.tries == 1
    await bench.deliver(after_s=2)
    assert len(bench.pager.took) == 1


async def test_what_cannot_work_is_given_up_at_once_and_counted(bench: Bench) -> None:
    bench.pager.failures = [DeliveryError("gone", retryable=False)]
    await bench.opened()
    await bench.deliver()
    await bench.deliver(after_s=3600)
    assert bench.pager.tries == 1
    assert bench.counted["slack", "given_up"] == 1
    assert bench.store.rows["incident:i-1:opened:1@pager"].error == "gone"


async def test_after_a_day_it_is_given_up(bench: Bench) -> None:
    bench.pager.failures = [DeliveryError("no") for _ in range(200)]
    await bench.opened()
    for _ in range(110):
        await bench.deliver(after_s=900)
    row = bench.store.rows["incident:i-1:opened:1@pager"]
    assert row.state == "given_up"
    assert bench.now > NOW + GIVE_UP_AFTER_S
    assert bench.pager.tries <= 100


async def test_what_was_claimed_by_a_process_that_died_is_sent_after_the_lease(bench: Bench) -> None:
    await bench.opened()
    await bench.store.due(bench.now, 10, LEASE_S)
    bench.restart()
    await bench.deliver(after_s=LEASE_S - 1)
    assert bench.pager.tries == 0
    await bench.deliver(after_s=2)
    assert len(bench.pager.took) == 1


async def test_two_senders_at_once_send_one_message(bench: Bench) -> None:
    await bench.opened()
    first = bench.outbox
    bench.restart()
    await asyncio.gather(first.deliver_due(bench.now), bench.outbox.deliver_due(bench.now))
    assert [bench.pager.tries, bench.team.tries] == [1, 1]


async def test_a_channel_that_crashes_harms_no_other(bench: Bench) -> None:
    bench.pager.failures = [RuntimeError("bug")]
    await bench.opened()
    await bench.deliver()
    assert len(bench.team.took) == 1
    await bench.deliver(after_s=6)
    assert len(bench.pager.took) == 1


async def test_a_channel_that_was_taken_out_of_the_configuration_is_given_up(bench: Bench) -> None:
    await bench.opened()
    bench.outbox = Outbox(bench.store, (TEAM,), {"team": bench.team}, clock=lambda: bench.now)
    await bench.deliver()
    assert "no longer configured" in bench.store.rows["incident:i-1:opened:1@pager"].error


async def test_a_stored_message_nobody_can_read_is_given_up(bench: Bench) -> None:
    await bench.store.enqueue("k", "team", "{}", bench.now)
    await bench.deliver()
    assert bench.store.rows["k"].state == "given_up"


async def test_people_are_paged_while_the_store_is_away_and_not_again_when_it_is_back(bench: Bench) -> None:
    bench.store.away = True
    assert await bench.opened() == 2
    for _ in range(2):
        with pytest.raises(Exception, match="away"):
            await bench.deliver(after_s=1)
    assert [bench.pager.tries, bench.team.tries] == [1, 1]
    bench.store.away = False
    await bench.deliver(after_s=LEASE_S * 2)
    bench.restart()
    assert await bench.opened() == 0
    await bench.deliver(after_s=LEASE_S * 2)
    assert [bench.pager.tries, bench.team.tries] == [1, 1]


async def test_what_could_not_be_sent_meanwhile_goes_on_from_the_store(bench: Bench) -> None:
    bench.store.away = True
    bench.pager.failures = [DeliveryError("no")]
    await bench.opened()
    with pytest.raises(Exception, match="away"):
        await bench.deliver()
    bench.store.away = False
    await bench.deliver(after_s=1)
    assert [len(bench.pager.took), len(bench.team.took)] == [1, 1]
    assert bench.team.tries == 1


async def test_a_store_that_goes_away_during_a_delivery_causes_no_second_page(bench: Bench) -> None:
    await bench.opened()
    bench.pager.gate = bench.team.gate = asyncio.Event()
    sending = asyncio.create_task(bench.outbox.deliver_due(bench.now))
    await until(lambda: bench.pager.tries + bench.team.tries == 2)
    bench.store.away = True
    bench.pager.gate.set()
    await sending
    bench.store.away = False
    await bench.deliver(after_s=LEASE_S * 2)
    assert [bench.pager.tries, bench.team.tries] == [1, 1]
    assert {row.state for row in bench.store.rows.values()} == {"delivered"}


async def test_the_same_news_kept_by_the_store_is_not_held_again_when_the_store_goes(bench: Bench) -> None:
    await bench.opened()
    await bench.deliver()
    bench.store.away = True
    assert await bench.opened() == 0


async def test_memory_is_bounded_while_the_store_is_away(bench: Bench) -> None:
    bench.store.away = True
    for number in range(1_100):
        await bench.outbox.post(of_incident(incident(id=f"i-{number}", severity=Severity.P4), What.OPENED, bench.now))
    assert bench.outbox.dropped == 100


async def test_the_end_goes_where_the_beginning_went(bench: Bench) -> None:
    await bench.opened(Severity.P1)
    closed = incident(severity=Severity.P4, state=IncidentState.CLOSED, closed_at=bench.now)
    assert await bench.outbox.post(of_incident(closed, What.CLOSED, bench.now)) == 2
    unknown = incident(id="i-9", severity=Severity.P1, state=IncidentState.CLOSED, closed_at=bench.now)
    assert await bench.outbox.post(of_incident(unknown, What.CLOSED, bench.now)) == 0


async def test_the_loop_delivers_what_is_posted_without_waiting_for_the_poll(bench: Bench) -> None:
    running = asyncio.create_task(bench.outbox.run(poll_s=60))
    await asyncio.sleep(0)
    await bench.outbox.post(trial_message(bench.now))
    await until(lambda: bool(bench.team.took))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_stopping_finishes_the_delivery_under_way(bench: Bench) -> None:
    bench.pager.gate = asyncio.Event()
    await bench.opened()
    running = asyncio.create_task(bench.outbox.run())
    await until(lambda: bench.pager.tries == 1)
    running.cancel()
    await asyncio.sleep(0)
    bench.pager.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {row.state for row in bench.store.rows.values()} == {"delivered"}


async def test_the_loop_outlives_a_store_that_is_away(bench: Bench) -> None:
    bench.store.away = True
    await bench.opened()
    running = asyncio.create_task(bench.outbox.run(poll_s=0.001))
    await until(lambda: bool(bench.pager.took))
    bench.store.away = False
    await until(lambda: len(bench.store.rows) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
