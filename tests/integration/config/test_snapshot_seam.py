"""Control publishes, workers notice: over real files."""

from __future__ import annotations

import asyncio
import gc
import stat

import pytest
from structlog.testing import capture_logs

from gateway.config import snapshot_file
from gateway.config.checking import load
from gateway.config.publisher import Publisher
from gateway.config.snapshot_file import SnapshotWatcher
from gateway.domain.access import ApiKey
from gateway.domain.snapshot import Directive, DirectiveKind
from gateway.errors import ConflictError, CorruptSnapshotError, InvalidInputError, SnapshotWriteError
from gateway.settings import Settings

TEXT = """
[[upstreams]]
name = "orders"
targets = ["http://127.0.0.1:9000", "http://127.0.0.1:9001"]
[[routes]]
name = "orders"
match = { path = "/*" }
upstream = "orders"
"""


def configuration(text=TEXT):
    return load(text, "sentinel.toml", Settings())


def directive(identifier="d-1", *, target="127.0.0.1:9001", expires_at=200.0, fence=0):
    return Directive(
        id=identifier,
        kind=DirectiveKind.EJECT_TARGET,
        upstream="orders",
        target=target,
        share=0.0,
        issued_at=100.0,
        expires_at=expires_at,
        fence=fence,
        source="incident",
        reason="errors",
    )


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "snapshot"


@pytest.fixture
def publisher(path, clock):
    return Publisher(path, configuration(), clock=clock)


def test_what_was_written_is_read_back(path, publisher):
    key = ApiKey(digest=b"\x00\xff" * 16, id="k1", tenant="acme", subject="ana", scopes=frozenset({"a", "b"}))
    publisher.set_keys([key])
    publisher.revoke("jti-1")
    publisher.set_open_incidents({"orders": "inc-1"})
    publisher.issue_directive(directive(fence=3))
    read = snapshot_file.read(path)
    assert read == publisher.snapshot
    assert (read.keys, read.revoked, read.fence) == ((key,), frozenset({"jti-1"}), 3)


def test_only_the_owner_may_read_the_file_and_nothing_is_left_beside_it(path, publisher):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["snapshot"]


def test_every_flipped_byte_is_noticed(publisher, path):
    content = path.read_bytes()
    for index in range(0, len(content), 7):
        damaged = content[:index] + bytes([content[index] ^ 0x40]) + content[index + 1 :]
        with pytest.raises(CorruptSnapshotError):
            snapshot_file.decode(damaged)


def test_every_truncation_is_noticed(publisher, path):
    content = path.read_bytes()
    for length in range(0, len(content), 11):
        with pytest.raises(CorruptSnapshotError):
            snapshot_file.decode(content[:length])


def test_another_format_version_is_refused_by_number(publisher, path):
    content = path.read_bytes()
    with pytest.raises(CorruptSnapshotError, match=f"format 99, this program reads {snapshot_file.VERSION}"):
        snapshot_file.decode(content[:8] + b"\x63\x00" + content[10:])


def test_the_revision_counts_configurations_and_created_at_rises_with_every_file(publisher, clock):
    first = publisher.snapshot
    second = publisher.revoke("x")
    clock.now = 50.0  # a clock that was set back
    third = publisher.set_document(configuration(TEXT.replace("/*", "/orders")), 2)
    assert (first.revision, second.revision, third.revision) == (1, 1, 2)
    assert first.created_at < second.created_at < third.created_at
    assert third.routes[0].path == "/orders"


def test_an_expired_directive_is_pruned(publisher, path, clock):
    publisher.issue_directive(directive("d-1", expires_at=150.0))
    publisher.issue_directive(directive("d-2", expires_at=250.0))
    clock.now = 160.0
    assert publisher.prune()
    assert [one.id for one in snapshot_file.read(path).directives] == ["d-2"]
    assert not publisher.prune()


def test_a_directive_can_be_replaced_and_withdrawn(publisher):
    publisher.issue_directive(directive(expires_at=150.0))
    publisher.issue_directive(directive(expires_at=170.0))
    assert [one.expires_at for one in publisher.snapshot.directives] == [170.0]
    assert publisher.withdraw_directive("d-1")
    assert not publisher.withdraw_directive("d-1")
    assert publisher.snapshot.directives == ()


def test_a_directive_of_a_leader_that_was_followed_is_refused(publisher):
    publisher.set_fence(5)
    with pytest.raises(ConflictError, match="fence 4"):
        publisher.issue_directive(directive(fence=4))
    assert publisher.set_fence(3).fence == 5


def test_a_directive_for_an_unknown_target_is_refused(publisher):
    with pytest.raises(ConflictError, match="no target"):
        publisher.issue_directive(directive(target="127.0.0.1:1"))


def test_a_new_configuration_drops_directives_for_targets_that_are_gone(publisher):
    publisher.issue_directive(directive())
    publisher.set_document(configuration(TEXT.replace(', "http://127.0.0.1:9001"', "")), 2)
    assert publisher.snapshot.directives == ()


def test_an_unchanged_set_of_incidents_writes_nothing(publisher, path):
    publisher.set_open_incidents({"orders": "inc-1"})
    before = path.stat().st_ino, path.stat().st_mtime_ns
    publisher.set_open_incidents({"orders": "inc-1"})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before


def test_nothing_can_be_revoked_without_an_id(publisher):
    with pytest.raises(InvalidInputError):
        publisher.revoke("")


def test_what_could_not_be_written_did_not_happen(publisher, path):
    before = publisher.snapshot
    path.unlink()
    path.mkdir()
    (path / "in the way").touch()
    with pytest.raises(SnapshotWriteError):
        publisher.revoke("x")
    assert publisher.snapshot is before
    assert [entry.name for entry in path.parent.iterdir()] == ["snapshot"]


@pytest.mark.anyio
async def test_a_watcher_hands_on_each_new_snapshot_once(publisher, path):
    seen = []
    watcher = SnapshotWatcher(path, seen.append)
    assert watcher.first() == publisher.snapshot
    assert not await watcher.look()
    publisher.revoke("x")
    assert await watcher.look()
    assert not await watcher.look()
    assert seen == [publisher.snapshot]


@pytest.mark.anyio
async def test_a_bad_file_keeps_the_old_snapshot_and_is_logged_once(publisher, path):
    seen = []
    watcher = SnapshotWatcher(path, seen.append)
    watcher.first()
    path.write_bytes(b"rubbish")
    with capture_logs() as logged:
        await watcher.look()
        await watcher.look()
    assert [entry["event"] for entry in logged] == ["snapshot.refused"]
    publisher.revoke("x")
    assert await watcher.look()
    assert seen == [publisher.snapshot]


@pytest.mark.anyio
async def test_a_missing_file_is_waited_for(path, clock):
    seen = asyncio.get_running_loop().create_future()
    watcher = SnapshotWatcher(path, seen.set_result, interval_s=0.01)
    with pytest.raises(FileNotFoundError):
        watcher.first()
    task = asyncio.create_task(watcher.run())
    await asyncio.sleep(0.03)
    publisher = Publisher(path, configuration(), clock=clock)
    assert await asyncio.wait_for(seen, 5) == publisher.snapshot
    task.cancel()


@pytest.mark.anyio
async def test_a_snapshot_that_cannot_be_taken_in_does_not_end_the_watch(publisher, path):
    def refuse(snapshot):
        raise ValueError("no")

    watcher = SnapshotWatcher(path, refuse)
    with capture_logs() as logged:
        assert not await watcher.look()
    assert [entry["event"] for entry in logged] == ["snapshot.not_applied"]


@pytest.mark.anyio
async def test_a_large_snapshot_is_taken_in_and_the_collector_goes_on_afterwards(path, clock, monkeypatch):
    monkeypatch.setattr(snapshot_file, "_LARGE", 16 * 1024)
    routes = "".join(
        f'[[routes]]\nname = "r{number}"\nmatch = {{ path = "/r/{number}" }}\nupstream = "orders"\n'
        for number in range(400)
    )
    publisher = Publisher(path, configuration(TEXT), clock=clock)
    seen = []
    watcher = SnapshotWatcher(path, seen.append)
    watcher.first()
    publisher.set_document(configuration(TEXT + routes), 2)
    assert await watcher.look()
    assert path.stat().st_size > snapshot_file._LARGE
    assert len(seen[0].routes) == 401
    assert gc.isenabled()
