"""How a configuration comes into force: validated, published to the workers, recorded as a revision."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.config import checking, difference
from gateway.domain.audit import ConfigDifference, ConfigRevision
from gateway.domain.identity import SYSTEM
from gateway.errors import ConfigError, ConflictError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.config.checking import Configuration
    from gateway.config.publisher import Publisher
    from gateway.domain.identity import Actor
    from gateway.settings import Settings

_log = logs.get("config")

_MOST_UNRECORDED = 100  # revisions that wait for the store in memory; the newest matter
_LONGEST_NOTE = 500
_ATTEMPTS = 5  # against other nodes that record at the same moment
_FILE_LOOKBACK = 200  # revisions searched for the last one that came from the file


class RevisionStore(Protocol):
    """Where revisions are kept."""

    async def add(self, text: str, actor: str, note: str, at: float) -> ConfigRevision:
        """Save one under the next number; ConflictError when another was recorded meanwhile."""
        ...

    async def latest(self) -> ConfigRevision | None:
        """The one with the highest number."""
        ...

    async def get(self, revision: int) -> ConfigRevision:
        """One by its number. Raises NotFoundError."""
        ...

    async def history(self, *, limit: int = 50) -> Sequence[ConfigRevision]:
        """Newest first."""
        ...


class Revisions:
    """The configuration in force and its history. One apply at a time."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        store: RevisionStore,
        settings: Settings,
        source: str,
        clock: Callable[[], float],
        on_applied: Callable[[ConfigRevision, list[str]], None] | None = None,
    ) -> None:
        """``source`` is the file's name in findings; ``on_applied`` gets each revision and its summary of changes."""
        self._publisher = publisher
        self._store = store
        self._settings = settings
        self._source = source
        self._clock = clock
        self._on_applied = on_applied
        self._lock = asyncio.Lock()
        self._refused = 0  # the newest revision of another node that did not check here
        self._unrecorded: deque[ConfigRevision] = deque(maxlen=_MOST_UNRECORDED)

    def text(self) -> str:
        """The text in force."""
        return self._publisher.configuration.text

    def check(self, text: str) -> list[str]:
        """Every error of a text as ``file:line:column: what; how to mend it``; empty when it is good."""
        return [str(error) for error in checking.check_text(text, self._source, self._settings).errors]

    async def difference(self, text: str) -> ConfigDifference:
        """What applying a text would change, judged beside the event loop; a bad text only has problems."""
        return await asyncio.to_thread(self._difference, text, self._publisher.configuration)

    def _difference(self, text: str, before: Configuration) -> ConfigDifference:
        found = checking.check_text(text, self._source, self._settings)
        warnings = tuple(str(warning) for warning in found.warnings)
        if found.configuration is None:
            return ConfigDifference(problems=tuple(str(error) for error in found.errors), warnings=warnings)
        return ConfigDifference(
            warnings=warnings,
            changes=tuple(difference.summary(before.text, text)),
            restart=tuple(difference.needs_restart(before.document, found.configuration.document)),
            unified=difference.unified(before.text, text),
        )

    async def revision(self, number: int) -> ConfigRevision:
        """One that was in force, also while the store has not taken it yet. Raises NotFoundError."""
        waiting = next((one for one in self._unrecorded if one.revision == number), None)
        return waiting or await self._store.get(number)

    async def rollback(self, number: int, actor: Actor, note: str = "") -> ConfigRevision:
        """Put an earlier text in force again, as a new revision.

        Raises:
            NotFoundError: there is no such revision.
            ConflictError: its text is the one in force.
            ConfigError: it does not check any more (a variable or file is missing); nothing was changed.
        """
        found = await self.revision(number)
        if found.text == self.text():
            raise ConflictError(f"the text of revision {number} is the one in force")
        return await self.apply(found.text, actor, note or f"back to revision {number}")

    async def history(self, *, limit: int = 50) -> Sequence[ConfigRevision]:
        """Newest first."""
        return await self._store.history(limit=limit)

    async def apply(self, text: str, actor: Actor, note: str = "") -> ConfigRevision:
        """Validate, publish to every worker, record. A bad text changes nothing.

        With the store away the configuration comes into force all the same; the revision is recorded later, by
        :meth:`record_missing` or the next apply.

        Raises:
            ConfigError: with every error.
            SnapshotWriteError: nothing was published.
        """
        async with self._lock:
            configuration = await asyncio.to_thread(checking.load, text, self._source, self._settings)
            before = self._publisher.configuration
            newest = await self._newest()
            number = max(newest.revision if newest else 0, self._publisher.snapshot.revision) + 1
            revision = self._revision(number, text, actor, note)
            self._publisher.set_document(configuration, number)
            changes = difference.summary(before.text, text)
            _log.info("config.applied", revision=number, actor=revision.actor, changes=changes[:20])
            if restart := difference.needs_restart(before.document, configuration.document):
                _log.warning("config.restart_needed", keys=restart)
            self._unrecorded.append(revision)
            await self._record()
            # Recording may have found the number taken by another node.
            revision = msgspec.structs.replace(revision, revision=self._publisher.snapshot.revision)
            if self._on_applied is not None:
                self._on_applied(revision, changes)
            return revision

    async def start(self) -> None:
        """Settle which configuration rules when control begins: the file it was started with, or the store's newest.

        A file that changed since it was last imported is a new revision. A file that did not change gives way to what
        was applied after it through the API. Without the store the file stands, and is recorded later.
        """
        async with self._lock:
            current = self._publisher.configuration
            history = await self._stored(_FILE_LOOKBACK)
            by_file = next((one for one in history if one.actor == SYSTEM.kind), None)
            if history and by_file is not None and by_file.text == current.text:
                await self._yield_to(history[0])
                return
            number = max(history[0].revision + 1 if history else 1, self._publisher.snapshot.revision)
            self._publisher.set_document(current, number)
            self._unrecorded.append(self._revision(number, current.text, SYSTEM, "read at start"))
            await self._record()

    async def record_missing(self) -> int:
        """Record what the store did not take when it was applied; returns how many still wait."""
        async with self._lock:
            await self._record()
            return len(self._unrecorded)

    async def follow(self) -> bool:
        """Put the store's newest revision in force when another node recorded it; True when this changed anything.

        Call it now and then. A revision that does not check here (a variable is missing) is logged once and left.
        """
        async with self._lock:
            newest = await self._newest()
            known = max(self._publisher.snapshot.revision, self._refused)
            if self._unrecorded or newest is None or newest.revision <= known:
                return False
            before = self._publisher.configuration
            if not await self._yield_to(newest):
                self._refused = newest.revision
                return False
            changes = difference.summary(before.text, newest.text)
            _log.info("config.followed", revision=newest.revision, actor=newest.actor, changes=changes[:20])
            if self._on_applied is not None:
                self._on_applied(newest, changes)
            return True

    def _revision(self, number: int, text: str, actor: Actor, note: str) -> ConfigRevision:
        by = f"{actor.kind} {actor.name}" if actor.kind == "user" else actor.kind
        return ConfigRevision(revision=number, at=self._clock(), actor=by, text=text, note=note[:_LONGEST_NOTE])

    async def _yield_to(self, newest: ConfigRevision) -> bool:
        try:
            configuration = await asyncio.to_thread(checking.load, newest.text, self._source, self._settings)
        except ConfigError as error:
            # Good when it was applied, not here and now (a variable is missing): the file is better than nothing.
            _log.error("config.newest_refused", revision=newest.revision, problems=list(error.problems))
            return False
        self._publisher.set_document(configuration, newest.revision)
        return True

    async def _stored(self, limit: int) -> Sequence[ConfigRevision]:
        try:
            return await self._store.history(limit=limit)
        except StoreUnavailableError as error:
            _log.warning("config.history_unavailable", reason=str(error))
            return ()

    async def _newest(self) -> ConfigRevision | None:
        try:
            return await self._store.latest()
        except StoreUnavailableError:
            return None

    async def _record(self) -> None:
        while self._unrecorded:
            try:
                recorded = await self._add(self._unrecorded[0])
            except StoreUnavailableError as error:
                _log.warning("config.revision_waits", waiting=len(self._unrecorded), reason=str(error))
                return
            self._unrecorded.popleft()
            if not self._unrecorded and recorded.revision != self._publisher.snapshot.revision:
                self._publisher.set_document(self._publisher.configuration, recorded.revision)

    async def _add(self, revision: ConfigRevision) -> ConfigRevision:
        """The revision as recorded. Its number is the store's: other nodes may have recorded theirs meanwhile."""
        for _ in range(_ATTEMPTS):
            newest = await self._store.latest()
            if newest is not None and newest.text == revision.text:
                return newest
            try:
                return await self._store.add(revision.text, revision.actor, revision.note, revision.at)
            except ConflictError as error:
                _log.warning("config.revision_taken", revision=revision.revision, reason=str(error))
        raise StoreUnavailableError("other nodes keep taking the revision number")
