"""Alerts of other monitoring that are not lost to an outage: their senders tell some of them only once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from gateway.domain.incident import ExternalAlert
from gateway.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.domain.paging import Page
    from gateway.store.external_alerts import ExternalAlerts
    from gateway.store.journal import Journal

_decode = msgspec.json.Decoder(ExternalAlert).decode


class JournaledAlerts:
    """The store of alerts; what it cannot take waits in the journal."""

    def __init__(self, inner: ExternalAlerts, journal: Journal) -> None:
        self._inner = inner
        self._journal = journal
        journal.register("alert", self._carry)

    async def save(self, alerts: Sequence[ExternalAlert]) -> None:
        """Keep these; in the journal while the database is away."""
        try:
            await self._inner.save(alerts)
        except StoreUnavailableError:
            for alert in alerts:
                self._journal.add("alert", alert.fingerprint, msgspec.json.encode(alert))
        else:
            await self._journal.carry_over()

    async def known(self, since: float) -> Sequence[ExternalAlert]:
        """Those that fire, and those that ended after that time; what waits counts where it was heard later."""
        await self._journal.carry_over()
        found = {alert.fingerprint: alert for alert in await self._inner.known(since)}
        for waiting in self._waiting():
            stored = found.get(waiting.fingerprint)
            if stored is None or stored.heard_at < waiting.heard_at:
                found[waiting.fingerprint] = waiting
        return tuple(found.values())

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[ExternalAlert]:
        """The latest heard of first."""
        return await self._inner.page(limit=limit, cursor=cursor)

    async def purge(self, now: float) -> None:
        """Forget what ended long ago."""
        await self._inner.purge(now)

    def _waiting(self) -> list[ExternalAlert]:
        found = []
        for body in self._journal.of_kind("alert"):
            with contextlib.suppress(msgspec.MsgspecError):  # of another version: carrying over sets it aside
                found.append(_decode(body))
        return found

    async def _carry(self, body: bytes) -> None:
        await self._inner.save([_decode(body)])
