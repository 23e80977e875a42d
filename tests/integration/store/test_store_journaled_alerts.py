"""Alerts told while the database is away are not lost: their senders tell some of them only once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from gateway.errors import StoreUnavailableError
from gateway.store.external_alerts import ExternalAlerts
from gateway.store.journal import Journal
from gateway.store.journaled_alerts import JournaledAlerts
from tests.integration.store.test_store_outside import NOW, alert

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.domain.incident import ExternalAlert

pytestmark = pytest.mark.anyio


class Fickle(ExternalAlerts):
    """The store, until it is away."""

    away = False

    async def save(self, alerts: Sequence[ExternalAlert]) -> None:
        self._ask()
        await super().save(alerts)

    async def known(self, since: float) -> Sequence[ExternalAlert]:
        self._ask()
        return await super().known(since)

    def _ask(self) -> None:
        if self.away:
            raise StoreUnavailableError("away")


async def test_an_end_told_during_an_outage_is_kept_by_the_journal_and_arrives_later(store, tmp_path: Path):
    inner = Fickle(store)
    journaled = JournaledAlerts(inner, Journal(tmp_path / "journal"))
    await journaled.save([alert("a"), alert("b")])
    inner.away = True
    await journaled.save([msgspec.structs.replace(alert("a"), heard_at=NOW + 9, ended_at=NOW + 9, resolved=True)])
    with pytest.raises(StoreUnavailableError):
        await journaled.known(NOW)
    # Control dies and begins again with the same run folder; then the database is back.
    after = JournaledAlerts(Fickle(store), Journal(tmp_path / "journal"))
    assert {one.fingerprint: one.resolved for one in await after.known(NOW)} == {"a": True, "b": False}
    assert [one.fingerprint for one in await ExternalAlerts(store).known(NOW + 60)] == ["b"]
