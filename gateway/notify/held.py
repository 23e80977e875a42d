"""Messages held in memory while the store is away, at most a thousand."""

from __future__ import annotations

import msgspec

from gateway import logs
from gateway.domain.outbox import OutboxEntry

_log = logs.get("notify")
_MOST = 1_000  # a few megabytes; an outage with more news than this has been noticed


class Held(msgspec.Struct):
    """A message the store has not taken yet."""

    entry: OutboxEntry
    next_at: float
    sent: bool = False
    over: bool = False  # given up


class HeldMessages:
    """Held messages by key. Not thread-safe: one event loop owns it."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self.dropped = 0

    def add(self, entry: OutboxEntry, now: float) -> bool:
        """Hold one more; False, and counted, when memory is full."""
        if len(self._held) >= _MOST:
            # What was sent already is only remembered; losing that is the smaller harm.
            sent = next((key for key, one in self._held.items() if one.sent), None)
            if sent is None:
                self.dropped += 1
                _log.error("notification.dropped", channel=entry.channel, key=entry.dedup_key)
                return False
            del self._held[sent]
        self._held[entry.dedup_key] = Held(entry=entry, next_at=now)
        return True

    def told(self, key_prefix: str) -> frozenset[str]:
        """The channels of what is held under keys that begin so."""
        return frozenset(one.entry.channel for key, one in self._held.items() if key.startswith(key_prefix))

    def all(self) -> tuple[Held, ...]:
        """Everything held, oldest first."""
        return tuple(self._held.values())

    def due(self, now: float) -> tuple[Held, ...]:
        """What should be tried now."""
        return tuple(one for one in self._held.values() if not (one.sent or one.over) and one.next_at <= now)

    def forget(self, key: str) -> None:
        """The store has it."""
        self._held.pop(key, None)
