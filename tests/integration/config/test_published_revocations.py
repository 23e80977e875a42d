"""What the store holds as revoked is what workers refuse."""

from __future__ import annotations

import pytest

from gateway.config import snapshot_file
from gateway.config.checking import load
from gateway.config.publisher import Publisher
from gateway.control.revocations import PublishedRevocations
from gateway.domain.paging import Page
from gateway.domain.revocation import Revocation
from gateway.settings import Settings

pytestmark = pytest.mark.anyio
TEXT = '[[upstreams]]\nname = "a"\ntargets = ["http://127.0.0.1:9"]\n'


class Kept:
    """A RevocationStore in memory."""

    def __init__(self):
        self.rows = {}

    async def save(self, revocation):
        self.rows[revocation.id] = revocation

    async def page(self, now, *, limit=50, cursor=""):
        return Page(tuple(row for row in self.rows.values() if row.expires_at > now)[:limit], None)

    async def lift(self, revoked_id):
        del self.rows[revoked_id]

    async def in_force(self, now):
        return frozenset(row.id for row in self.rows.values() if row.expires_at > now)


@pytest.fixture
def world(tmp_path):
    class World:
        now = 1000.0

    configuration = load(TEXT, "sentinel.toml", Settings.from_environ({}))
    World.publisher = Publisher(tmp_path / "snapshot", configuration, clock=lambda: World.now)
    World.revocations = PublishedRevocations(Kept(), World.publisher, lambda: World.now)
    World.file = tmp_path / "snapshot"
    return World


async def test_a_revocation_is_in_the_next_snapshot_and_gone_when_it_is_lifted(world):
    await world.revocations.revoke(Revocation(id="4f1c", created_at=1000.0, expires_at=2000.0))
    assert snapshot_file.read(world.file).revoked == {"4f1c"}
    await world.revocations.lift("4f1c")
    assert snapshot_file.read(world.file).revoked == frozenset()


async def test_a_round_drops_what_has_expired_and_writes_nothing_else(world):
    await world.revocations.revoke(Revocation(id="4f1c", created_at=1000.0, expires_at=2000.0))
    before = world.publisher.snapshot
    await world.revocations.publish()
    assert world.publisher.snapshot is before
    world.now = 2000.0
    await world.revocations.publish()
    assert snapshot_file.read(world.file).revoked == frozenset()
