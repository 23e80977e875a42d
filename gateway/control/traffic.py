"""Traffic as control reads it, handed to everybody who watches: the window, the metrics, the live tail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gateway.admin.exposition import Meters
    from gateway.domain.callers import Callers
    from gateway.domain.senders import Senders
    from gateway.domain.traffic import BatchHeader, RequestRecord
    from gateway.domain.window import Cell, Window

LIVE_QUEUE = 1000  # records a slow reader of the live tail may be behind


class LiveTail:
    """Hands records to any number of readers. A slow one loses the oldest and never holds anything up."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[RequestRecord]] = set()

    def publish(self, records: Sequence[RequestRecord]) -> None:
        """Pass records on; costs nothing while nobody reads."""
        for queue in self._readers:
            for record in records[-LIVE_QUEUE:]:
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(record)

    async def subscribe(self) -> AsyncIterator[RequestRecord]:
        """Records from now on."""
        queue: asyncio.Queue[RequestRecord] = asyncio.Queue(LIVE_QUEUE)
        self._readers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._readers.discard(queue)


class Traffic:
    """The shipper's observer.

    Args:
        window: what detection reads.
        meters: what /metrics shows.
        live: who watches requests.
        on_counters: given each batch's counters of a worker.
        callers: who asks for what.
        senders: whose requests ended how.
    """

    def __init__(
        self,
        window: Window,
        meters: Meters,
        live: LiveTail,
        on_counters: Callable[[Mapping[str, float]], None],
        callers: Callers | None = None,
        senders: Senders | None = None,
    ) -> None:
        self._window = window
        self._meters = meters
        self._live = live
        self._on_counters = on_counters
        self._callers = callers
        self._senders = senders
        self.store_up = True
        self.lost = 0

    def on_batch(self, header: BatchHeader, records: Sequence[RequestRecord], cells: dict[int, Cell]) -> None:
        """Once per spool batch, whether or not the store is there."""
        for at, cell in cells.items():
            self._window.add(at, cell)
        self._meters.on_batch(header, records, cells)
        self._live.publish(records)
        if self._callers is not None:
            self._callers.note(records)
        if self._senders is not None:
            self._senders.note(records)
        self._on_counters(header.counters)

    def on_lost(self, records: int) -> None:
        """Records missing from the numbering."""
        self.lost += records
        self._meters.on_lost(records)

    def on_stored(self, records: int, poisoned: int, seconds: float) -> None:
        """A transaction was committed."""
        self._meters.on_stored(records, poisoned, seconds)

    def on_store(self, *, up: bool) -> None:
        """The store went away or came back."""
        self.store_up = up
        self._meters.on_store(up=up)

    def on_spool(self, waiting_bytes: int) -> None:
        """How large the spool is."""
        self._meters.on_spool(waiting_bytes)
