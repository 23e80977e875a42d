"""What was changed on purpose is known after a restart, once each, and at the place a deploy names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.control.changes import MOST_CHANGES, ChangeLog, StoredChanges, place_of
from gateway.domain.audit import ConfigRevision
from gateway.domain.deploy import Deploy
from gateway.domain.incident import Change, Place
from tests.admin_fakes import NOW, Clock, some_snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio
OLD = '[[routes]]\nname = "orders"\nlimit = "100/s per route"\n'
NEW = OLD.replace("100/s", "50/s")


class Store:
    """Deploys and revisions in memory."""

    def __init__(self) -> None:
        self.deploys = [Deploy("de-1", "payments", "v2.3", NOW - 38, NOW - 30, actor="ana")]
        self.revisions = [
            ConfigRevision(9, NOW - 40, "user ana", NEW),
            ConfigRevision(8, NOW - 900, "system", OLD),
        ]

    async def between(self, start: float, end: float, *, limit: int = 100) -> Sequence[Deploy]:
        return [one for one in self.deploys if start <= one.at <= end][:limit]

    async def history(self, *, limit: int = 50) -> Sequence[ConfigRevision]:
        return self.revisions[:limit]


async def log_of(store: Store) -> tuple[ChangeLog, StoredChanges]:
    log = ChangeLog()
    stored = StoredChanges(log, store, store, some_snapshot, Clock())
    await stored.refresh()
    return log, stored


async def test_a_revision_before_the_start_is_known_with_its_difference():
    log, _ = await log_of(Store())
    revision = next(change for change in log() if change.kind == "config")
    assert (revision.reference, revision.at, revision.actor) == ("9", NOW - 40, "user ana")
    assert revision.diff == 'route orders: limit "100/s per route" → "50/s per route"'


async def test_the_first_revision_of_all_changed_nothing():
    log, _ = await log_of(Store())
    assert [change.reference for change in log() if change.kind == "config"] == ["9"]


async def test_a_revision_counts_once_however_it_became_known():
    store, log = Store(), ChangeLog()
    log.revision_applied(store.revisions[0], ["as it was applied"])
    await StoredChanges(log, store, store, some_snapshot, Clock()).refresh()
    assert [change.diff for change in log() if change.kind == "config"] == ["as it was applied"]


async def test_a_deploy_stands_where_its_service_is_configured():
    log, _ = await log_of(Store())
    deploy = next(change for change in log() if change.kind == "deploy")
    assert (deploy.title, deploy.reference, deploy.place) == ("v2.3 of payments", "de-1", Place(upstream="payments"))
    assert place_of("PAYMENTS", some_snapshot()) == Place(upstream="payments")
    assert place_of("somebody else's", some_snapshot()) == Place()


async def test_a_deploy_that_was_taken_back_is_forgotten():
    store = Store()
    log, stored = await log_of(store)
    store.deploys.clear()
    await stored.refresh()
    assert [change.kind for change in log()] == ["config"]


def test_the_log_is_bounded_and_forgets_the_oldest():
    log = ChangeLog()
    log.load(Change(at=float(number), kind="deploy", title="x", reference=str(number)) for number in range(500))
    assert [change.at for change in log()] == [float(number) for number in range(500 - MOST_CHANGES, 500)]
