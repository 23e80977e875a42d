"""How much one channel is told in an hour, and how what is too much becomes one message. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.domain.incident import Severity
from gateway.notify.message import Message, What
from gateway.notify.wording import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

DIGEST_EVERY_S = 300.0
MOST_IN_ONE = 200
_MOST_LINES = 30
_HOUR_S = 3600.0
# What somebody waits for, or asked for, is never drawn into a digest; each happens once or a few times per incident.
_ALONE = frozenset({What.CLOSED, What.PROPOSED, What.UNACKNOWLEDGED, What.REPORT, What.DIGEST, What.TEST})


class Pace:
    """A bucket of messages that refills over an hour, and when the last digest went out."""

    def __init__(self, per_hour: int) -> None:
        self._most = float(per_hour)
        self._left = self._most
        self._at = 0.0
        self._digest_at = -DIGEST_EVERY_S

    def take(self, message: Message, now: float) -> bool:
        """Whether this one goes out by itself."""
        self._left = min(self._most, self._left + max(0.0, now - self._at) * self._most / _HOUR_S)
        self._at = now
        if message.what in _ALONE:
            return True
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def next_digest(self, now: float) -> float:
        """When the next digest may go out."""
        return max(now, self._digest_at + DIGEST_EVERY_S)

    def digested(self, now: float) -> None:
        """One goes out."""
        self._digest_at = now


def digest(messages: Sequence[Message], now: float) -> Message:
    """Many messages as one: the gravest first, each in a line."""
    ordered = sorted(messages, key=lambda one: (one.severity, one.at))
    lines = [plain(f"{one.severity} {one.title}", 200) for one in ordered[:_MOST_LINES]]
    if len(ordered) > _MOST_LINES:
        lines.append(f"… and {len(ordered) - _MOST_LINES} more; the dashboard shows all.")
    return Message(
        key=f"digest:{now:.3f}",
        what=What.DIGEST,
        at=now,
        severity=ordered[0].severity if ordered else Severity.P4,
        title=f"{len(ordered)} messages in one, because there were many",
        lines=tuple(lines),
    )
