"""What shipping needs from others: a store that takes shipments, and somebody who watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.domain.shipment import Shipment
    from gateway.domain.traffic import BatchHeader, RequestRecord, SpoolPosition
    from gateway.domain.window import Cell


class RecordStore(Protocol):
    """The store as shipping sees it."""

    async def positions(self, node: str) -> Sequence[SpoolPosition]:
        """How far each stream of this node has been stored. Raises StoreUnavailableError."""
        ...

    async def ship(self, shipment: Shipment) -> Sequence[RequestRecord]:
        """Store all of it in one transaction; the records the database refuses, whatever is tried, are returned.

        Raises:
            ConflictError: the streams do not stand where ``before`` says; nothing was stored.
            StoreUnavailableError: the database is away, full or read-only; whether it was stored is unknown.
        """
        ...


class Observer(Protocol):
    """Who hears of traffic as it is read. None of these may block."""

    def on_batch(self, header: BatchHeader, records: Sequence[RequestRecord], cells: dict[int, Cell]) -> None:
        """Once per batch and process life. ``cells`` are sums per five seconds."""
        ...

    def on_lost(self, records: int) -> None:
        """So many records will never be stored: dropped for room, or gone with a killed worker.

        Known by the gap in their numbering, so what a worker says it dropped (``BatchHeader.dropped``) is in here.
        """
        ...

    def on_stored(self, records: int, poisoned: int, seconds: float) -> None:
        """A transaction was committed."""
        ...

    def on_store(self, *, up: bool) -> None:
        """The store went away or came back; called on changes only."""
        ...

    def on_spool(self, waiting_bytes: int) -> None:
        """How large the spool is."""
        ...
