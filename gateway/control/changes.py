"""What was changed on purpose lately, for "what changed just before": revisions of the configuration, and deploys.

Both are read from the store, so a restart between a change and its consequence loses nothing.
"""

from __future__ import annotations

import tomllib
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from gateway.config import difference
from gateway.domain.incident import Change, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.domain.audit import ConfigRevision
    from gateway.domain.deploy import Deploy
    from gateway.domain.snapshot import Snapshot

MOST_CHANGES = 100
_MOST_DEPLOYS = 50
CONFIG, DEPLOY = "config", "deploy"
_REVISIONS = 20  # texts read back at a start; each may be some hundred kilobytes
_BACK_S = 7200.0  # as far as the window of traffic reaches
_AHEAD_S = 300.0  # the clocks of pipelines


class DeployReader(Protocol):
    """Deploys."""

    async def between(self, start: float, end: float, *, limit: int = 100) -> Sequence[Deploy]:
        """The latest of a stretch of time, newest first. Raises StoreUnavailableError."""
        ...


class RevisionReader(Protocol):
    """The configuration's history."""

    async def history(self, *, limit: int = 50) -> Sequence[ConfigRevision]:
        """Newest first. Raises StoreUnavailableError."""
        ...


class ChangeLog:
    """Changes by what they are: one counts once, however often and on whatever way it became known."""

    def __init__(self) -> None:
        self._changes: dict[tuple[str, str], Change] = {}

    def __call__(self) -> tuple[Change, ...]:
        """Every change that is remembered, oldest first."""
        return tuple(sorted(self._changes.values(), key=lambda change: change.at))

    def revision_applied(self, revision: ConfigRevision, summary: list[str]) -> None:
        """A configuration came into force."""
        self.load([_of_revision(revision, summary)])

    def load(self, changes: Iterable[Change]) -> None:
        """Remember these; the oldest go where there are too many."""
        self._changes |= {(change.kind, change.reference): change for change in changes}
        for old in sorted(self._changes, key=lambda key: -self._changes[key].at)[MOST_CHANGES:]:
            del self._changes[old]

    def knows(self, kind: str, reference: str) -> bool:
        """Whether that change is remembered."""
        return (kind, reference) in self._changes

    def replace(self, kind: str, changes: Iterable[Change]) -> None:
        """Of that kind, exactly these."""
        self._changes = {key: change for key, change in self._changes.items() if key[0] != kind}
        self.load(changes)


class StoredChanges:
    """Brings the log up to the store.

    Args:
        log: what diagnosis looks at.
        deploys: what was put into service elsewhere.
        revisions: what was in force here.
        snapshot: what workers run on, for the names that deploys may mean.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        log: ChangeLog,
        deploys: DeployReader,
        revisions: RevisionReader,
        snapshot: Callable[[], Snapshot],
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._deploys = deploys
        self._revisions = revisions
        self._snapshot = snapshot
        self._clock = clock
        self._read_back = False

    async def refresh(self) -> None:
        """Learn of deploys, and after a start of the revisions before it. Raises StoreUnavailableError."""
        now, snapshot = self._clock(), self._snapshot()
        deploys = await self._deploys.between(now - _BACK_S, now + _AHEAD_S, limit=_MOST_DEPLOYS)
        self._log.replace(DEPLOY, (_of_deploy(one, snapshot) for one in deploys))
        if self._read_back:
            return
        history = await self._revisions.history(limit=_REVISIONS)
        for revision, before in pairwise(history):
            if not self._log.knows(CONFIG, str(revision.revision)):
                self._log.revision_applied(revision, _summary(before.text, revision.text))
        self._read_back = True


def _of_revision(revision: ConfigRevision, summary: list[str]) -> Change:
    return Change(
        at=revision.at,
        kind=CONFIG,
        title=f"configuration revision {revision.revision}" + (f": {'; '.join(summary[:3])}" if summary else ""),
        reference=str(revision.revision),
        actor=revision.actor,
        diff="\n".join(summary),
    )


def _of_deploy(deploy: Deploy, snapshot: Snapshot) -> Change:
    return Change(
        at=deploy.at,
        kind=DEPLOY,
        title=f"{deploy.version} of {deploy.service}",
        reference=deploy.id,
        actor=deploy.actor,
        place=place_of(deploy.service, snapshot),
    )


def place_of(service: str, snapshot: Snapshot) -> Place:
    """The upstream or route of that name; nothing where none is configured, or two differ only in their case."""
    upstreams, routes = (named(service, [one.name for one in many]) for many in (snapshot.upstreams, snapshot.routes))
    return Place(upstream=upstreams) if upstreams else Place(route=routes)


def named(word: str, names: Sequence[str]) -> str:
    """The name that is meant: exactly it, or the only one that differs in case alone; empty where there is none."""
    meant = [name for name in names if name == word] or [name for name in names if name.lower() == word.lower()]
    return meant[0] if len(meant) == 1 else ""


def _summary(before: str, after: str) -> list[str]:
    try:
        return difference.summary(before, after)
    except tomllib.TOMLDecodeError:  # of a version that read another notation
        return []
