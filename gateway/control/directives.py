"""Directives in force: published to this node's workers at once, kept in the store for other nodes and for restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.domain.snapshot import Directive, DirectiveKind
from gateway.errors import ConflictError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.config.publisher import Publisher
    from gateway.domain.upstreams import Target

HEALTH_TTL_S = 60.0  # an ejection by health check dies with the control that would renew it
HEALTH_RENEW_S = 20.0

_log = logs.get("control")


class DirectiveStore(Protocol):
    """Where directives are kept for other nodes."""

    async def save(self, directive: Directive) -> None:
        """One with the same id is replaced, unless its fence is higher."""
        ...

    async def withdraw(self, directive_id: str) -> None:
        """Unknown ids are fine."""
        ...

    async def active(self, now: float) -> Sequence[Directive]:
        """Everything that has not expired."""
        ...


class Board:
    """The board that executors put directives up on.

    Acting must not wait for a database: a directive is published first and kept afterwards; what could not be kept is
    kept by :meth:`sync`, later.
    """

    def __init__(self, publisher: Publisher, store: DirectiveStore, *, clock: Callable[[], float]) -> None:
        self._publisher = publisher
        self._store = store
        self._clock = clock
        self._unsaved: dict[str, Directive | None] = {}
        self.leading = True

    async def issue(self, directive: Directive) -> None:
        """Put it in force everywhere; one with the same id is replaced. Raises ConflictError for a stale fence."""
        self._publisher.issue_directive(directive)
        self._unsaved[directive.id] = directive
        await self._save()

    async def withdraw(self, directive_id: str) -> None:
        """Take it out of force; unknown ids are fine."""
        self._publisher.withdraw_directive(directive_id)
        self._unsaved[directive_id] = None
        await self._save()

    def active(self) -> tuple[Directive, ...]:
        """Every directive in force, of incidents and of health checks."""
        now = self._clock()
        return tuple(one for one in self._publisher.snapshot.directives if one.expires_at > now)

    def fence(self) -> int:
        """The leader's fencing token."""
        return self._publisher.snapshot.fence

    async def sync(self) -> None:
        """Keep what could not be kept; follow the leader's directives where another node leads; drop expired ones."""
        await self._save()
        if not self.leading:
            await self._follow()
        self._publisher.prune()

    async def health_changed(self, upstream: str, target: str, healthy: bool, reason: str) -> None:  # noqa: FBT001 - the prober's callback
        """Take a target that fails its health check out of this node's rotation, or put it back."""
        identity = f"h-{upstream}-{target}"
        if healthy:
            self._publisher.withdraw_directive(identity)
            return
        others = [one.name for one in self._targets(upstream) if one.name != target]
        out = {one.target for one in self._ejections() if one.upstream == upstream}
        if all(name in out for name in others):
            _log.warning("health.last_target_kept", upstream=upstream, target=target, reason=reason)
            return
        now = self._clock()
        self._publisher.issue_directive(
            Directive(
                id=identity,
                kind=DirectiveKind.EJECT_TARGET,
                upstream=upstream,
                target=target,
                share=0.0,
                issued_at=now,
                expires_at=now + HEALTH_TTL_S,
                fence=self.fence(),
                source="health",
                reason=reason,
            )
        )

    def renew_health(self) -> None:
        """Prolong the ejections by health check that are still in force; called more often than they expire."""
        now = self._clock()
        for one in self.active():
            if one.source == "health":
                self._publisher.issue_directive(msgspec.structs.replace(one, expires_at=now + HEALTH_TTL_S))

    def states(self) -> dict[tuple[str, str], str]:
        """Every configured target and whether it is ok, ejected, on trial or unhealthy."""
        states = {
            (upstream.name, target.name): "ok"
            for upstream in self._publisher.snapshot.upstreams
            for target in upstream.targets
        }
        for one in self._ejections():
            if (one.upstream, one.target) in states:
                word = "unhealthy" if one.source == "health" else "trial" if one.share else "ejected"
                states[one.upstream, one.target] = word
        return states

    def _ejections(self) -> Iterator[Directive]:
        kind = DirectiveKind.EJECT_TARGET
        return (one for one in self.active() if one.kind is kind and one.share < 1)

    async def _save(self) -> None:
        while self._unsaved:
            directive_id, directive = next(iter(self._unsaved.items()))
            try:
                if directive is None:
                    await self._store.withdraw(directive_id)
                else:
                    await self._store.save(directive)
            except StoreUnavailableError as error:
                _log.warning("directive.not_kept_yet", waiting=len(self._unsaved), reason=str(error))
                return
            if self._unsaved.get(directive_id) is directive:
                del self._unsaved[directive_id]

    async def _follow(self) -> None:
        wanted = {one.id: one for one in await self._store.active(self._clock())}
        for one in self.active():
            if one.source != "health" and one.id not in wanted:
                self._publisher.withdraw_directive(one.id)
        known = {one.id: one for one in self.active()}
        for one in wanted.values():
            if known.get(one.id) != one:
                try:
                    self._publisher.issue_directive(one)
                except ConflictError as error:
                    _log.warning("directive.refused", directive=one.id, reason=str(error))

    def _targets(self, upstream: str) -> tuple[Target, ...]:
        found = self._publisher.snapshot.upstream(upstream)
        return found.targets if found else ()
