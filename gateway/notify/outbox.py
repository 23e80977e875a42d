"""The outbox: a message is kept before it is sent, tried until it arrives or is a day old, and sent once.

Kept in the store under a unique key, claimed under a lease. While the store is away, messages are held in memory and
sent from there, then entered as sent when it is back: people are paged during an outage of the database too.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.domain.outbox import OutboxEntry
from gateway.errors import DeliveryError, StoreUnavailableError
from gateway.notify import routing
from gateway.notify.held import HeldMessages
from gateway.notify.message import Message
from gateway.notify.pace import MOST_IN_ONE, Pace, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.domain.policy import NotifyChannel
    from gateway.notify.channels import Channel
    from gateway.notify.routing import Send

_log = logs.get("notify")

GIVE_UP_AFTER_S = 86_400.0  # a page of yesterday helps nobody
MOST_ATTEMPTS = 100
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 900.0
DELIVERY_S = 40.0  # wall clock; three calls of ten seconds, where a channel wants so many
# Longer than any delivery may take, so a lease never ends under a living sender.
LEASE_S = 60.0
_MOST_SEEN = 10_000
_ERROR_LENGTH = 500


class OutboxStore(Protocol):
    """Messages that wait, satisfied by the store.

    An entry is due at its ``next_at`` (first: when enqueued) and no more once delivered or given up. All times are
    seconds since the epoch. Every method may raise StoreUnavailableError.
    """

    async def enqueue(
        self, dedup_key: str, channel: str, payload: str, now: float, *, due_at: float = 0.0, thread: str = ""
    ) -> bool:
        """Keep a message, due at once or at ``due_at``; False, and nothing changes, when ``dedup_key`` is known."""
        ...

    async def told(self, key_prefix: str) -> frozenset[str]:
        """The channels of all entries, in whatever state, whose ``dedup_key`` begins with ``key_prefix``."""
        ...

    async def due(self, now: float, limit: int, lease_s: float, *, drawn_from: str = "") -> Sequence[OutboxEntry]:
        """Claim at most ``limit`` due entries, oldest due time first, each thread of a channel in its order.

        With ``drawn_from`` everything due of that channel, in whatever thread.

        Claiming raises ``attempts`` and moves ``next_at`` to ``now + lease_s`` in one transaction, so nobody else is
        handed the same entry meanwhile, and one whose claimer died comes back by itself.
        """
        ...

    async def delivered(self, entry_id: str, now: float) -> None:
        """The channel took it: never due again."""
        ...

    async def delivered_key(self, dedup_key: str, now: float) -> None:
        """The same, told by key: for what was delivered while the store was away."""
        ...

    async def failed(self, entry_id: str, error: str, next_at: float) -> None:
        """Not this time: due again at ``next_at``; ``error`` is shown to people, at most 500 characters."""
        ...

    async def given_up(self, entry_id: str, error: str, now: float) -> None:
        """Never due again, kept for people to see."""
        ...


class Outbox:
    """Posts messages to the channels they are for, and sees to it that they arrive.

    Args:
        store: where messages are kept.
        configured: the channels as the operator wrote them, for routing.
        channels: by name, how to deliver to each.
        clock: seconds since the epoch.
        jitter: a random number in 0..1, so that many outboxes do not knock at once after an outage.
        count: told (kind of channel, "delivered" | "retried" | "given_up" | "held_back") for the metrics.
        watch: told (channel, why not) after every try; empty: it arrived.
        concurrency: deliveries at a time.
    """

    def __init__(
        self,
        store: OutboxStore,
        configured: Sequence[NotifyChannel],
        channels: Mapping[str, Channel],
        *,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        count: Callable[[str, str], None] = lambda _kind, _outcome: None,
        watch: Callable[[str, str], None] = lambda _channel, _error: None,
        concurrency: int = 8,
    ) -> None:
        self._store = store
        self._configured = tuple(configured)
        self._channels = channels
        self._clock = clock
        self._jitter = jitter
        self._count = count
        self._watch = watch
        self._concurrency = concurrency
        self._wake = asyncio.Event()
        self._stopping = False
        self._store_away = False
        self._held = HeldMessages()
        self._paces = {
            entry.name: Pace(entry.per_hour)
            for entry in self._configured
            if entry.name in channels and channels[entry.name].draws_together
        }
        self._seen: dict[str, None] = {}  # keys posted by this process, oldest first
        self._unmarked: dict[str, OutboxEntry] = {}  # delivered, but the store does not know yet

    @property
    def dropped(self) -> int:
        """Messages lost since the start, because the store was away and memory full."""
        return self._held.dropped

    async def post(self, message: Message, *, only: frozenset[str] | None = None) -> int:
        """Keep the message for every channel it is for; how many were new. Never raises for an absent store.

        ``only`` names the channels where the message is not for whoever it concerns.
        """
        told = await self._told(message)
        posted = 0
        for send in routing.sends(self._configured, message, told, self._clock(), only=only):
            posted += await self._keep(f"{message.key}@{send.channel.name}", send, message)
        if posted:
            self._wake.set()
        return posted

    async def run(self, *, poll_s: float = 1.0) -> None:
        """Deliver what is due, until cancelled; deliveries under way are then finished, for at most ten seconds.

        One broken off after it arrived would be sent again.
        """
        self._stopping = False
        while True:
            self._wake.clear()
            work = asyncio.create_task(self._pass())
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                self._stopping = True
                await work
                raise
            try:
                async with asyncio.timeout(poll_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def deliver_due(self, now: float) -> int:
        """One pass: everything due is tried once; how many were tried.

        Raises:
            StoreUnavailableError: after what is held in memory was tried.
        """
        try:
            await self._carry_over(now)
        except StoreUnavailableError:
            await self._deliver_held(now)
            raise
        tried = 0
        while entries := await self._store.due(now, self._concurrency, LEASE_S):
            async with asyncio.TaskGroup() as group:
                alone, many = self._paced(entries)
                for entry in alone:
                    group.create_task(self._deliver_stored(entry))
                for name, crowd in many.items():
                    group.create_task(self._draw_together(crowd, self._channels[name], self._paces[name]))
            tried += len(entries)
            if self._stopping or self._unmarked:
                break
        return tried

    async def _pass(self) -> None:
        try:
            await self.deliver_due(self._clock())
            self._store_away = False
        except StoreUnavailableError as error:
            if not self._store_away:  # once per outage, not once per pass
                _log.warning("outbox.store_unavailable", why=str(error))
            self._store_away = True
        except Exception:  # noqa: BLE001 - the border of the task: the loop outlives any single pass
            _log.exception("outbox.failed")

    async def _told(self, message: Message) -> frozenset[str] | None:
        if not message.incident_id:
            return frozenset()
        prefix = f"incident:{message.incident_id}:"
        try:
            return self._held.told(prefix) | await self._store.told(prefix)
        except StoreUnavailableError:
            return None

    async def _keep(self, key: str, send: Send, message: Message) -> bool:
        if key in self._seen:
            return False
        now, payload = self._clock(), msgspec.json.encode(message).decode()
        try:
            new = await self._store.enqueue(
                key, send.channel.name, payload, now, due_at=send.due_at, thread=message.incident_id
            )
        except StoreUnavailableError:
            entry = OutboxEntry(key, key, send.channel.name, payload, now, 0, send.due_at)
            new = self._held.add(entry, max(now, send.due_at))
        self._seen[key] = None
        while len(self._seen) > _MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        return new

    async def _carry_over(self, now: float) -> None:
        for entry in tuple(self._unmarked.values()):
            await self._store.delivered(entry.id, now)
            self._unmarked.pop(entry.id, None)
        for held in self._held.all():
            key = held.entry.dedup_key
            # What was sent is entered as due only in a while, so that nobody claims it before it is marked.
            due_at = now + LEASE_S if held.sent else held.entry.due_at
            await self._store.enqueue(
                key,
                held.entry.channel,
                held.entry.payload,
                held.entry.created_at,
                due_at=due_at,
                thread=_thread_of(held.entry.payload),
            )
            if held.sent:
                await self._store.delivered_key(key, now)
            self._held.forget(key)

    async def _deliver_held(self, now: float) -> None:
        for held in self._held.due(now):
            held.entry = msgspec.structs.replace(held.entry, attempts=held.entry.attempts + 1)
            error = await self._deliver(held.entry)
            if error is None:
                held.sent = True
            else:
                held.next_at, held.over = self._next_try(held.entry, error)

    async def _deliver_stored(self, entry: OutboxEntry) -> None:
        if entry.id in self._unmarked:
            return  # it arrived; the store learns of it with the next pass
        await self._mark((entry,), await self._deliver(entry))

    def _paced(self, entries: Sequence[OutboxEntry]) -> tuple[list[OutboxEntry], dict[str, list[OutboxEntry]]]:
        """What goes out by itself, and by channel what is more than the channel is to be told in an hour."""
        alone: list[OutboxEntry] = []
        many: dict[str, list[OutboxEntry]] = {}
        now = self._clock()
        for entry in entries:
            pace, message = self._paces.get(entry.channel), _message_of(entry)
            if pace is None or message is None or entry.id in self._unmarked or pace.take(message, now):
                alone.append(entry)
            else:
                many.setdefault(entry.channel, []).append(entry)
        return alone, many

    async def _draw_together(self, entries: Sequence[OutboxEntry], channel: Channel, pace: Pace) -> None:
        """Hold messages back until a digest is due, then tell all that waits for the channel in one."""
        now = self._clock()
        try:
            if (at := pace.next_digest(now)) > now:
                for entry in entries:
                    await self._store.failed(entry.id, "held back, because there are many; it comes in a digest", at)
                    self._count(channel.kind, "held_back")
                return
            pace.digested(now)
            entries = (*entries, *await self._store.due(now, MOST_IN_ONE, LEASE_S, drawn_from=channel.name))
        except StoreUnavailableError as away:  # what is claimed comes back after its lease
            _log.warning("outbox.store_unavailable", why=str(away))
            return
        messages = [found for entry in entries if (found := _message_of(entry)) is not None]
        one = messages[0] if len(messages) == 1 else digest(messages, now)
        await self._mark(entries, await self._send(channel, one, f"{one.key}@{channel.name}", entries[0].attempts))

    async def _mark(self, entries: Sequence[OutboxEntry], error: DeliveryError | None) -> None:
        """Tell the store what became of entries that shared one delivery."""
        for entry in entries:
            try:
                if error is None:
                    await self._store.delivered(entry.id, self._clock())
                    continue
                next_at, over = self._next_try(entry, error)
                text = str(error)[:_ERROR_LENGTH]
                if over:
                    await self._store.given_up(entry.id, text, self._clock())
                else:
                    await self._store.failed(entry.id, text, next_at)
            except StoreUnavailableError as away:
                _log.warning("outbox.store_unavailable", why=str(away))
                if error is None:
                    self._unmarked[entry.id] = entry  # bounded by what was claimed before the store went

    async def _deliver(self, entry: OutboxEntry) -> DeliveryError | None:
        channel = self._channels.get(entry.channel)
        if channel is None:
            return DeliveryError(f"the channel {entry.channel} is no longer configured", retryable=False)
        try:
            message = msgspec.json.decode(entry.payload, type=Message)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return DeliveryError(f"the stored message cannot be read: {error}", retryable=False)
        return await self._send(channel, message, entry.dedup_key, entry.attempts)

    async def _send(self, channel: Channel, message: Message, key: str, attempts: int) -> DeliveryError | None:
        error = await self._try(channel, message, key, attempts)
        self._watch(channel.name, str(error) if error is not None else "")
        return error

    async def _try(self, channel: Channel, message: Message, key: str, attempts: int) -> DeliveryError | None:
        try:
            async with asyncio.timeout(DELIVERY_S):
                await channel.deliver(message, self._clock())
        except TimeoutError:
            return DeliveryError(f"{channel.name} did not take it within {DELIVERY_S:g} s")
        except DeliveryError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the border of one delivery: a channel's fault stays its own
            _log.exception("notification.crashed", channel=channel.name)
            return DeliveryError(f"{type(error).__name__} in the channel itself")
        self._count(channel.kind, "delivered")
        _log.info("notification.delivered", channel=channel.name, key=key, attempts=attempts)
        return None

    def _next_try(self, entry: OutboxEntry, error: DeliveryError) -> tuple[float, bool]:
        """When to try again, and whether that makes no sense any more."""
        now = self._clock()
        kind = self._channels[entry.channel].kind if entry.channel in self._channels else "unknown"
        pause = max(backoff_s(entry.attempts, self._jitter()), error.retry_after_s)
        over = (
            not error.retryable
            or entry.attempts >= MOST_ATTEMPTS
            or now + pause > max(entry.created_at, entry.due_at) + GIVE_UP_AFTER_S
        )
        self._count(kind, "given_up" if over else "retried")
        log = _log.error if over else _log.warning
        log(
            "notification.given_up" if over else "notification.retried",
            channel=entry.channel,
            key=entry.dedup_key,
            attempts=entry.attempts,
            why=str(error),
        )
        return now + pause, over


def _message_of(entry: OutboxEntry) -> Message | None:
    try:
        return msgspec.json.decode(entry.payload, type=Message)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None  # said where it is delivered


def _thread_of(payload: str) -> str:
    try:
        return msgspec.json.decode(payload, type=Message).incident_id
    except (msgspec.DecodeError, msgspec.ValidationError):
        return ""


def backoff_s(attempts: int, jitter: float) -> float:
    """The pause after so many failed tries: 5 s doubling up to 15 min, of which half is left to chance (0..1)."""
    whole = min(_FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 20), _LONGEST_PAUSE_S)
    return whole * (0.5 + 0.5 * jitter)
