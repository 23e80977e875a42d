"""How a configuration comes into force, from the API and from the file on disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.config import reading, snapshot_file
from gateway.config.checking import check, load
from gateway.config.file_watcher import ConfigFileWatcher
from gateway.config.publisher import Publisher
from gateway.config.revisions import Revisions
from gateway.config.starter import quick_start
from gateway.domain.audit import ConfigRevision
from gateway.domain.identity import SYSTEM, Actor
from gateway.errors import ConfigError, ConflictError, NotFoundError, StoreUnavailableError
from gateway.settings import Settings
from gateway.store import migrate
from gateway.store.engine import open_store
from gateway.store.revisions import Revisions as StoredRevisions

if TYPE_CHECKING:
    from pathlib import Path

ANA = Actor(kind="user", name="ana@example.org")
A, B, C = (quick_start(f"http://127.0.0.1:{port}") for port in (9001, 9002, 9003))

GONE_AND_NEW = ((9001, "removed"), (9002, "added"))


class Store:
    """Keeps revisions in memory; ``away`` makes every call fail."""

    def __init__(self, *texts: tuple[str, str]):
        self.kept = [
            ConfigRevision(revision=number, at=0.0, actor=actor, text=text)
            for number, (actor, text) in enumerate(texts, 1)
        ]
        self.away = False
        self.busy = 0  # so many further calls of ``add`` lose against another node

    def _reach(self):
        if self.away:
            raise StoreUnavailableError("away")

    async def add(self, text, actor, note, at):
        self._reach()
        if self.busy:
            self.busy -= 1
            raise ConflictError("another was recorded meanwhile")
        number = max((kept.revision for kept in self.kept), default=0) + 1
        self.kept.append(ConfigRevision(revision=number, at=at, actor=actor, text=text, note=note))
        return self.kept[-1]

    async def latest(self):
        self._reach()
        return max(self.kept, key=lambda kept: kept.revision, default=None)

    async def get(self, revision):
        self._reach()
        found = next((kept for kept in self.kept if kept.revision == revision), None)
        if found is None:
            raise NotFoundError("there is no such revision")
        return found

    async def history(self, *, limit=50):
        self._reach()
        return sorted(self.kept, key=lambda kept: -kept.revision)[:limit]


class Control:
    """The part of control that these tests are about."""

    def __init__(self, folder: Path, text: str, store: Store):
        self.snapshot_path = folder / "snapshot"
        self.store = store
        self.applied = []
        self.changed = asyncio.Event()
        self.publisher = Publisher(self.snapshot_path, load(text, "sentinel.toml", Settings()), clock=lambda: 1000.0)
        self.revisions = Revisions(
            publisher=self.publisher,
            store=store,
            settings=Settings(),
            source="sentinel.toml",
            clock=lambda: 1000.0,
            on_applied=self.note,
        )

    def note(self, revision, changes):
        self.applied.append((revision.revision, changes))
        self.changed.set()

    def in_force(self):
        """Revision and target of the snapshot on disk."""
        snapshot = snapshot_file.read(self.snapshot_path)
        return snapshot.revision, snapshot.upstreams[0].targets[0].port

    def recorded(self):
        return [(kept.revision, kept.actor, kept.text) for kept in self.store.kept]


@pytest.mark.anyio
async def test_an_applied_text_is_published_and_recorded(tmp_path):
    control = Control(tmp_path, A, Store())
    await control.revisions.start()
    revision = await control.revisions.apply(B, ANA, "more room")
    assert control.in_force() == (2, 9002)
    assert control.recorded() == [(1, "system", A), (2, "user ana@example.org", B)]
    assert (revision.revision, revision.note, revision.at) == (2, "more room", 1000.0)
    changes = [f"upstream upstream: target http://127.0.0.1:{port} {what}" for port, what in GONE_AND_NEW]
    assert control.applied == [(2, changes)]
    assert control.revisions.text() == B


@pytest.mark.anyio
async def test_a_bad_text_changes_nothing(tmp_path):
    control = Control(tmp_path, A, Store())
    await control.revisions.start()
    with pytest.raises(ConfigError) as caught:
        await control.revisions.apply(A + "port = 1\n", ANA)
    assert list(caught.value.problems) == control.revisions.check(A + "port = 1\n")
    assert control.in_force() == (1, 9001)
    assert len(control.recorded()) == 1


@pytest.mark.anyio
async def test_with_the_store_away_a_text_applies_and_is_recorded_later(tmp_path):
    control = Control(tmp_path, A, Store())
    await control.revisions.start()
    control.store.away = True
    await control.revisions.apply(B, ANA)
    await control.revisions.apply(C, ANA)
    assert control.in_force() == (3, 9003)
    control.store.away = False
    assert await control.revisions.record_missing() == 0
    assert [number for number, _, _ in control.recorded()] == [1, 2, 3]


@pytest.mark.anyio
async def test_a_number_that_another_node_took_is_passed_over(tmp_path):
    control = Control(tmp_path, A, Store())
    await control.revisions.start()
    control.store.away = True
    await control.revisions.apply(B, ANA)
    control.store.away = False
    await control.store.add(C, "cli", "", 0.0)
    control.store.busy = 2
    await control.revisions.record_missing()
    assert control.in_force() == (3, 9002)
    assert [number for number, _, _ in control.recorded()] == [1, 2, 3]


@pytest.mark.anyio
async def test_a_start_with_an_unchanged_file_leaves_the_newest_revision_in_force(tmp_path):
    control = Control(tmp_path, A, Store(("system", A), ("user ana@example.org", B)))
    await control.revisions.start()
    assert control.in_force() == (2, 9002)
    assert len(control.recorded()) == 2


@pytest.mark.anyio
async def test_a_start_with_a_changed_file_imports_it(tmp_path):
    control = Control(tmp_path, C, Store(("system", A), ("user ana@example.org", B)))
    await control.revisions.start()
    assert control.in_force() == (3, 9003)
    assert control.recorded()[-1] == (3, "system", C)


@pytest.mark.anyio
async def test_a_file_put_back_to_an_older_text_is_a_change(tmp_path):
    control = Control(tmp_path, A, Store(("system", A), ("system", B)))
    await control.revisions.start()
    assert control.in_force() == (3, 9001)


@pytest.mark.anyio
async def test_a_newest_revision_that_no_longer_checks_gives_way_to_the_file(tmp_path):
    control = Control(tmp_path, A, Store(("system", A), ("cli", "[server]\nport = 0\n")))
    with capture_logs() as logged:
        await control.revisions.start()
    assert control.in_force() == (1, 9001)
    assert "config.newest_refused" in [entry["event"] for entry in logged]


@pytest.mark.anyio
async def test_fifty_applies_at_once_are_fifty_revisions_in_a_row(tmp_path):
    control = Control(tmp_path, A, Store())
    await control.revisions.start()
    texts = [quick_start(f"http://127.0.0.1:{9100 + number}") for number in range(50)]
    await asyncio.gather(*(control.revisions.apply(text, ANA) for text in texts))
    assert sorted(number for number, _, _ in control.recorded()) == list(range(1, 52))
    newest = await control.store.latest()
    assert (newest.revision, newest.text) == (control.in_force()[0], control.revisions.text())


@pytest.mark.anyio
async def test_a_change_that_needs_a_restart_is_said(tmp_path):
    control = Control(tmp_path, A, Store())
    with capture_logs() as logged:
        await control.revisions.apply(A + "[server]\nport = 8008\n", ANA)
    assert [entry["keys"] for entry in logged if entry["event"] == "config.restart_needed"] == [["server.port"]]


@pytest.mark.anyio
async def test_a_revision_of_another_node_is_followed(tmp_path):
    control = Control(tmp_path, A, Store())
    await control.revisions.start()
    assert not await control.revisions.follow()
    await control.store.add(B, "cli", "", 5.0)
    assert await control.revisions.follow()
    assert control.in_force() == (2, 9002)
    assert [number for number, _ in control.applied] == [2]
    assert not await control.revisions.follow()


@pytest.mark.anyio
async def test_a_revision_of_another_node_that_does_not_check_here_is_logged_once(tmp_path):
    control = Control(tmp_path, A, Store())
    await control.revisions.start()
    await control.store.add("[auth.jwt]\n", "cli", "", 5.0)
    with capture_logs() as logged:
        assert not await control.revisions.follow()
        assert not await control.revisions.follow()
    assert [entry["event"] for entry in logged] == ["config.newest_refused"]
    assert control.in_force() == (1, 9001)
    await control.revisions.apply(C, ANA)
    assert control.in_force() == (3, 9003)


@pytest.mark.anyio
async def test_revisions_live_in_the_real_store(tmp_path):
    url = f"sqlite:///{tmp_path}/sentinel.db"
    await migrate.upgrade(url)
    store = open_store(url)
    try:
        control = Control(tmp_path, A, StoredRevisions(store))
        await control.revisions.start()
        await control.revisions.apply(B, ANA, "more room")
        again = Control(tmp_path, A, StoredRevisions(store))
        await again.revisions.start()
        assert again.in_force() == (2, 9002)
        assert [kept.note for kept in await again.revisions.history()] == ["more room", "read at start"]
    finally:
        await store.close()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sentinel.toml"
    path.write_text(A)
    return path


@pytest.mark.anyio
async def test_a_changed_file_is_applied(tmp_path, file):
    control = Control(tmp_path, A, Store())
    await control.revisions.start()
    watcher = ConfigFileWatcher(file, control.revisions)
    assert not await watcher.look()
    file.write_text(B + "# longer\n")
    assert await watcher.look()
    assert control.in_force() == (2, 9002)
    assert not await watcher.look()


@pytest.mark.anyio
async def test_a_file_with_errors_is_logged_with_its_lines_and_the_old_stays(tmp_path, file):
    control = Control(tmp_path, A, Store())
    watcher = ConfigFileWatcher(file, control.revisions)
    file.write_text("[server]\nprot = 1\n")
    with capture_logs() as logged:
        assert not await watcher.look()
    problem = 'sentinel.toml:2:1: unknown key "prot" in [server]; did you mean "port"?'
    assert [entry["problems"] for entry in logged if entry["event"] == "config.refused"] == [[problem]]
    assert control.in_force() == (1, 9001)


@pytest.mark.anyio
async def test_a_file_that_vanishes_keeps_the_configuration(tmp_path, file):
    control = Control(tmp_path, A, Store())
    watcher = ConfigFileWatcher(file, control.revisions)
    file.unlink()
    assert not await watcher.look()
    assert control.in_force() == (1, 9001)


@pytest.mark.anyio
async def test_a_poke_reads_the_file_again_at_once(tmp_path, file):
    control = Control(tmp_path, B, Store())
    await control.revisions.start()
    watcher = ConfigFileWatcher(file, control.revisions, interval_s=60.0)
    task = asyncio.create_task(watcher.run())
    watcher.poke()
    await asyncio.wait_for(control.changed.wait(), 5)
    task.cancel()
    assert control.in_force() == (2, 9001)


def test_a_missing_file_is_an_error_with_a_remedy(tmp_path):
    result = check(tmp_path / "none.toml", {})
    assert "there is no such file; sentinel init writes one" in str(result.errors[0])


def test_a_file_that_is_no_utf8_is_an_error_with_its_place(tmp_path):
    (tmp_path / "s.toml").write_bytes(b'[server]\nhost = "\xff"\n')
    assert ":2:9: this is not UTF-8" in str(check(tmp_path / "s.toml", {}).errors[0])


@pytest.mark.parametrize(
    ("text", "overrides", "folder"),
    [
        ('[server]\nrun_dir = "/var/x"\nport = "wrong"\n', {}, "/var/x"),
        ("not toml", {}, "run"),
        (None, {}, "run"),
        ('[server]\nrun_dir = "/var/x"\n', {"SENTINEL_SERVER__RUN_DIR": "/var/y"}, "/var/y"),
    ],
)
def test_the_run_folder_is_found_whatever_else_the_file_says(tmp_path, text, overrides, folder):
    path = tmp_path / "s.toml"
    if text is not None:
        path.write_text(text)
    assert str(reading.run_dir(str(path), Settings.from_environ(overrides))) == folder


@pytest.mark.anyio
async def test_an_earlier_text_comes_back_as_a_new_revision(tmp_path):
    control = Control(tmp_path, A, Store())
    await control.revisions.start()
    await control.revisions.apply(B, ANA)
    made = await control.revisions.rollback(1, ANA)
    assert (made.revision, made.note, made.text) == (3, "back to revision 1", A)
    assert control.in_force() == (3, 9001)


@pytest.mark.anyio
async def test_a_revision_that_waits_for_the_store_can_be_gone_back_to(tmp_path):
    store = Store()
    control = Control(tmp_path, A, store)
    await control.revisions.start()
    store.away = True
    await control.revisions.apply(B, ANA)
    await control.revisions.apply(C, ANA)
    await control.revisions.rollback(2, ANA)
    assert control.in_force() == (4, 9002)


@pytest.mark.anyio
async def test_going_back_to_what_is_in_force_is_refused(tmp_path):
    control = Control(tmp_path, A, Store())
    await control.revisions.start()
    with pytest.raises(ConflictError):
        await control.revisions.rollback(1, ANA)
    with pytest.raises(NotFoundError):
        await control.revisions.rollback(9, ANA)
    assert len(control.recorded()) == 1


@pytest.mark.anyio
async def test_going_back_to_a_text_that_does_not_check_any_more_changes_nothing(tmp_path):
    gone = A + '[auth.jwt]\nsecret_env = "VARIABLE_OF_OLD"\n'
    control = Control(tmp_path, A, Store((SYSTEM.kind, gone), (SYSTEM.kind, A)))
    await control.revisions.start()
    with pytest.raises(ConfigError):
        await control.revisions.rollback(1, ANA)
    assert control.revisions.text() == A


@pytest.mark.anyio
async def test_a_difference_changes_nothing_and_says_what_would_change(tmp_path):
    control = Control(tmp_path, A, Store())
    found = await control.revisions.difference(B + "[server]\nport = 9\n")
    changes = [f"upstream upstream: target http://127.0.0.1:{port} {what}" for port, what in GONE_AND_NEW]
    assert list(found.changes) == [*changes, "server.port (default) → 9"]
    assert found.restart == ("server.port",)
    assert "+port = 9" in found.unified
    assert control.revisions.text() == A


@pytest.mark.anyio
async def test_a_difference_from_a_bad_text_is_its_problems(tmp_path):
    control = Control(tmp_path, A, Store())
    found = await control.revisions.difference("[server]\nprot = 1\n")
    assert found.problems == ('sentinel.toml:2:1: unknown key "prot" in [server]; did you mean "port"?',)
    assert (found.changes, found.unified) == ((), "")
