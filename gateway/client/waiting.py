"""Events that wait to be sent: bounded in number and bytes; the oldest make room, and are counted."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Counts(NamedTuple):
    """What became of reported events; ``sent + refused + dropped + waiting`` is how many were reported."""

    sent: int  # stored by the server, or known to it already
    refused: int  # the server will never take them: its log, and ours, say why
    dropped: int  # made room for newer ones, or were left at the end
    waiting: int


class Waiting:
    """A queue of encoded events with one batch of them under way. Not thread-safe: its owner holds a lock.

    Args:
        most_events: waiting at once, the batch under way included.
        most_bytes: of their encoded form.
    """

    def __init__(self, *, most_events: int, most_bytes: int) -> None:
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self.under_way: list[bytes] = []
        self._gap = False  # whether the batch under way begins with a word of our own, which nobody reported
        self.added = self.sent = self.refused = self.dropped = 0

    def __len__(self) -> int:
        return len(self._queue) + len(self.under_way) - self._gap

    @property
    def settled(self) -> int:
        """How many of those added are no longer waiting."""
        return self.sent + self.refused + self.dropped

    @property
    def counts(self) -> Counts:
        """What became of all of them so far."""
        return Counts(self.sent, self.refused, self.dropped, len(self))

    def add(self, event: bytes) -> bool:
        """Let an event wait, in the place of the oldest if there is no room; False if it alone is too large."""
        self.added += 1
        if len(event) > self._most_bytes:
            self.dropped += 1
            return False
        while self._queue and (len(self) >= self._most_events or self._bytes + len(event) > self._most_bytes):
            self._bytes -= len(self._queue.popleft())
            self.dropped += 1
        self._queue.append(event)
        self._bytes += len(event)
        return True

    def begin_with(self, gap: bytes) -> None:
        """Begin the next batch with a word on what was dropped; it is not counted among the events."""
        self.under_way.insert(0, gap)
        self._gap = True

    def take(self, *, most_events: int, most_bytes: int) -> list[bytes]:
        """The next batch, in order; the one under way until it is settled or put back."""
        size = 0
        while self._queue and len(self.under_way) < most_events:
            size += len(self._queue[0]) + 1
            if self.under_way and size > most_bytes:
                break
            event = self._queue.popleft()
            self._bytes -= len(event)
            self.under_way.append(event)
        return self.under_way

    def settle(self, *, refused: int = 0) -> None:
        """The batch under way is over: all of it was taken but for so many."""
        reported = len(self.under_way) - self._gap
        refused = min(refused, reported)  # it may have been given up on in the meantime
        self.sent += reported - refused
        self.refused += refused
        self.under_way, self._gap = [], False

    def put_back(self, *, keep: int) -> None:
        """Let the batch under way, but for its first ``keep`` (one at least), wait at the front again."""
        for event in reversed(self.under_way[keep:]):
            self._queue.appendleft(event)
            self._bytes += len(event)
        self.under_way = self.under_way[:keep]

    def drop_all(self) -> int:
        """Give up on everything that waits; how many these were."""
        given_up = len(self)
        self.dropped += given_up
        self.under_way, self._gap = [], False
        self._queue.clear()
        self._bytes = 0
        return given_up
