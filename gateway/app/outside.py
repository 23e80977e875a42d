"""What control is made of where signals come from others: alerts, the bodies nobody could read, and deploys."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.config import compile_sources
from gateway.control.alerts import Alerts
from gateway.control.changes import ChangeLog, StoredChanges
from gateway.control.dead_letters import DeadLetters
from gateway.control.deploys import Deploys
from gateway.store.dead_letters import DeadLetters as DeadLetterStore
from gateway.store.deploys import Deploys as DeployStore
from gateway.store.external_alerts import ExternalAlerts
from gateway.store.journaled_alerts import JournaledAlerts
from gateway.store.revisions import Revisions as RevisionStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.admin.exposition import Meters
    from gateway.config.publisher import Publisher
    from gateway.store.engine import Store
    from gateway.store.journal import Journal


class Outside(NamedTuple):
    """What others tell."""

    alerts: Alerts
    letters: DeadLetters
    changes: ChangeLog
    stored_changes: StoredChanges
    deploys: Deploys

    def learn(self) -> dict[str, Callable[[], Awaitable[object]]]:
        """What every round learns, by name."""
        return {
            "alerts": self.alerts.refresh,
            "dead_letters": self.letters.refresh,
            "changes": self.stored_changes.refresh,
        }

    async def purge(self, now: float, deploys_s: float) -> None:
        """Forget what is old."""
        await self.alerts.purge(now)
        await self.letters.forget(now)
        await self.deploys.purge(now - deploys_s)


def outside(
    store: Store, journal: Journal, publisher: Publisher, meters: Meters, clock: Callable[[], float]
) -> Outside:
    """All of it, over one store."""
    letters = DeadLetters(DeadLetterStore(store))
    alerts = Alerts(
        JournaledAlerts(ExternalAlerts(store), journal),
        letters,
        settings=lambda: compile_sources.alert_settings(publisher.configuration.document),
        snapshot=lambda: publisher.snapshot,
        alone=store.is_sqlite,
        count=meters.count,
        gauge=meters.set_all,
        clock=clock,
    )
    deploys = DeployStore(store)
    changes = ChangeLog()
    stored = StoredChanges(changes, deploys, RevisionStore(store), lambda: publisher.snapshot, clock)
    return Outside(alerts, letters, changes, stored, Deploys(deploys, stored))
