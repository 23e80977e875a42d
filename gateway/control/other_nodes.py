"""What other nodes saw, so that whoever leads detects on the traffic of all.

Every node ships its minute rows within a second, adding to the running minute again and again. Here the rows of the
others are read every five seconds, and what came to them since the last look is put into the five seconds that have
just ended. So the open minute of other nodes is known five seconds later than one's own at most; whole minutes are
exact, also when a node ships some minutes late. Every control does this, so that a new leader knows all from the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway import logs
from gateway.domain.traffic import Tally
from gateway.domain.window import COARSE_S, FINE_S
from gateway.errors import StoreUnavailableError
from gateway.store.buckets import add_to_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.domain.traffic import BucketKey
    from gateway.domain.window import Cell, Window

_RECENT_S = 180  # rows still growing …
_LATE_S = 900  # … and once a minute those of a node that could not ship for a while
_LATE_EVERY = 12  # looks
_SETTLE_S = 1.0  # a look comes so long after the end of five seconds

_log = logs.get("control")


class BucketReader(Protocol):
    """Stored minute rows."""

    async def read(self, start: float, end: float, *, but: str) -> Sequence[tuple[BucketKey, Tally]]:
        """Rows of all nodes but one, added up."""
        ...

    async def recent_minutes(self, since: float, until: float, *, node: str = "") -> Sequence[tuple[int, Cell]]:
        """Whole minutes as cells, of all nodes or of one."""
        ...


class OtherNodes:
    """Feeds the window with what others stored.

    Args:
        buckets: stored rows.
        window: recent traffic, into which this node's own goes by itself.
        node: this node's name.
        alone: nobody else can be there: the database is a file of this node.
        clock: seconds since the epoch.
    """

    def __init__(
        self, buckets: BucketReader, window: Window, node: str, *, alone: bool, clock: Callable[[], float]
    ) -> None:
        self._buckets = buckets
        self._window = window
        self._node = node
        self._alone = alone
        self._clock = clock
        self._seen: dict[BucketKey, Tally] = {}
        self._looks = 0
        self._began = False  # what is there at the first look happened before

    async def warm(self, since: float) -> None:
        """Give detection the minutes that were stored before this process started: its baseline."""
        cut = (self._clock() - _RECENT_S) // COARSE_S * COARSE_S
        far = float(1 << 40)
        try:
            if self._alone:
                minutes = await self._buckets.recent_minutes(since, far)
            else:
                minutes = [
                    *await self._buckets.recent_minutes(since, cut),
                    *await self._buckets.recent_minutes(cut, far, node=self._node),
                ]
                await self._take(cut)
        except StoreUnavailableError as error:
            _log.warning("window.cold", reason=str(error))
            return
        for minute, cell in minutes:
            self._window.add_minute(minute, cell)

    async def look(self) -> None:
        """Add what came to the rows of others since the last look. Raises StoreUnavailableError."""
        if self._alone:
            return
        self._looks += 1
        span = _LATE_S if self._looks % _LATE_EVERY == 0 and self._began else _RECENT_S
        await self._take((self._clock() - span) // COARSE_S * COARSE_S)

    async def _take(self, since: float) -> None:
        rows = await self._buckets.read(since, float(1 << 40), but=self._node)
        now = self._clock()
        for key, tally in rows:
            grown = _since(tally, self._seen.get(key))
            self._seen[key] = tally
            if grown.requests <= 0:
                continue
            cell: Cell = {}
            add_to_cell(cell, key, grown)
            at = _bin(key.minute, now)
            if at is None or not self._began:
                self._window.add_minute(key.minute, cell)
            else:
                self._window.add(at, cell)
        self._began = True
        oldest = now - 2 * _LATE_S
        for key in [key for key in self._seen if key.minute < oldest]:
            del self._seen[key]


def _bin(minute: int, now: float) -> int | None:
    """The five seconds of that minute that have just ended; None for a minute that lies too far back."""
    at = int(now - _SETTLE_S - FINE_S / 2) // FINE_S * FINE_S
    if at >= minute + 2 * COARSE_S:
        return None
    return max(minute, min(at, minute + COARSE_S - FINE_S))


def _since(tally: Tally, before: Tally | None) -> Tally:
    """What was added to a row."""
    if before is None:
        return tally
    return Tally(
        requests=tally.requests - before.requests,
        errors=tally.errors - before.errors,
        bytes_in=tally.bytes_in - before.bytes_in,
        bytes_out=tally.bytes_out - before.bytes_out,
        duration_us=tally.duration_us - before.duration_us,
        latency={
            index: count - before.latency.get(index, 0)
            for index, count in tally.latency.items()
            if count > before.latency.get(index, 0)
        },
    )
