"""Control's end of the snapshot seam: holds all that workers need and writes one new file at every change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway import logs
from gateway.config import snapshot_file
from gateway.errors import ConflictError, CorruptSnapshotError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from gateway.config.checking import Configuration
    from gateway.domain.access import ApiKey
    from gateway.domain.snapshot import Directive, Snapshot

_log = logs.get("config")

MOST_DIRECTIVES = 10_000  # in force at once; beyond it something issues them in a loop
MOST_REVOKED = 100_000


class Publisher:
    """Every change compiles and writes one snapshot, synchronously, before the method returns.

    ``Snapshot.revision`` counts configurations only; ``created_at`` rises with every file. A write that fails leaves
    file and memory as they were and raises SnapshotWriteError, so what was not published did not happen.
    """

    def __init__(
        self,
        path: Path,
        configuration: Configuration,
        *,
        clock: Callable[[], float],
        revision: int = 1,
        keys: Iterable[ApiKey] = (),
        revoked: Iterable[str] = (),
        directives: Iterable[Directive] = (),
        fence: int = 0,
        key_sets: Mapping[str, str] | None = None,
    ) -> None:
        """Write the first snapshot. ``clock`` gives seconds since the epoch."""
        self._path = path
        self._clock = clock
        self._configuration = configuration
        now = clock()
        self._snapshot = msgspec.structs.replace(
            configuration.compiled,
            revision=revision,
            created_at=now,
            key_sets=_in_use(key_sets or {}, configuration.compiled),
            keys=tuple(keys),
            revoked=frozenset(revoked),
            directives=tuple(directive for directive in directives if directive.expires_at > now),
            fence=fence,
        )
        snapshot_file.write(path, self._snapshot)

    @classmethod
    def resumed(cls, path: Path, configuration: Configuration, *, clock: Callable[[], float]) -> Publisher:
        """Go on from the snapshot that lies there: its keys, revocations, directives and fence, this configuration.

        Raises:
            FileNotFoundError: there is none.
            CorruptSnapshotError: it cannot be read.
        """
        before = snapshot_file.read(path)
        return cls(
            path,
            configuration,
            clock=clock,
            revision=before.revision,
            keys=before.keys,
            revoked=before.revoked,
            directives=before.directives,
            fence=before.fence,
            key_sets=before.key_sets,
        )

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot in force."""
        return self._snapshot

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self._configuration

    def set_document(self, configuration: Configuration, revision: int) -> Snapshot:
        """Put another configuration in force. Directives for what is gone are dropped with them."""
        compiled = configuration.compiled
        snapshot = self._publish(
            revision=revision,
            routes=compiled.routes,
            upstreams=compiled.upstreams,
            policy=compiled.policy,
            jwt=compiled.jwt,
            key_sets=_in_use(self._snapshot.key_sets, compiled),
            plans=compiled.plans,
            tenant_plans=compiled.tenant_plans,
            directives=tuple(one for one in self._snapshot.directives if not _unknown(one, compiled)),
        )
        self._configuration = configuration
        return snapshot

    def set_keys(self, keys: Iterable[ApiKey]) -> Snapshot:
        """Put another set of API keys in force."""
        return self._publish(keys=tuple(keys))

    def set_key_set(self, url: str, text: str) -> Snapshot:
        """Put the JSON Web Key Set of that URL in force, if it is another one and some issuer still uses it."""
        used = any(policy.jwks_url == url for policy in self._snapshot.jwt)
        if not used or self._snapshot.key_sets.get(url) == text:
            return self._snapshot
        return self._publish(key_sets={**self._snapshot.key_sets, url: text})

    def revoke(self, identifier: str) -> Snapshot:
        """Refuse that key id or token id (``jti``) from now on.

        Raises:
            InvalidInputError: empty, or there are 100,000 already: change the secret then, which revokes all.
        """
        if not identifier:
            raise InvalidInputError("there is no id to revoke", field="id")
        if identifier in self._snapshot.revoked:
            return self._snapshot
        if len(self._snapshot.revoked) >= MOST_REVOKED:
            raise InvalidInputError(
                f"{MOST_REVOKED} ids are revoked already", field="id", remedy="change the signing secret instead"
            )
        return self._publish(revoked=self._snapshot.revoked | {identifier})

    def set_revoked(self, identifiers: Iterable[str]) -> Snapshot:
        """Put another set of revoked ids in force, as the store knows them."""
        return self._publish(revoked=frozenset(identifiers))

    def issue_directive(self, directive: Directive) -> Snapshot:
        """Give an order to the edge; one of the same id is replaced.

        Raises:
            ConflictError: from a leader that was followed by another, for what is not configured, or one too many.
        """
        now = self._clock()
        if directive.fence < self._snapshot.fence:
            raise ConflictError(
                f"directive {directive.id} has fence {directive.fence}, {self._snapshot.fence} was already seen"
            )
        if why := _unknown(directive, self._snapshot):
            raise ConflictError(why)
        others = tuple(one for one in self._live(now) if one.id != directive.id)
        if len(others) >= MOST_DIRECTIVES:
            raise ConflictError(f"{MOST_DIRECTIVES} directives are in force already")
        return self._publish(directives=(*others, directive), fence=directive.fence)

    def withdraw_directive(self, directive_id: str) -> bool:
        """Take an order back before it expires; False when it is no longer in force."""
        left = tuple(one for one in self._snapshot.directives if one.id != directive_id)
        if len(left) == len(self._snapshot.directives):
            return False
        self._publish(directives=left)
        return True

    def set_open_incidents(self, by_route: Mapping[str, str]) -> Snapshot:
        """Which open incident each route's problem documents name. Nothing is written when nothing changed."""
        if dict(by_route) == self._snapshot.open_incidents:
            return self._snapshot
        return self._publish(open_incidents=dict(by_route))

    def set_fence(self, fence: int) -> Snapshot:
        """Note the token of a new leader; it never falls."""
        return self._snapshot if fence <= self._snapshot.fence else self._publish(fence=fence)

    def prune(self) -> bool:
        """Drop directives that have expired; call it now and then. True when a new snapshot was written."""
        if len(self._live(self._clock())) == len(self._snapshot.directives):
            return False
        self._publish()
        return True

    def _live(self, now: float) -> tuple[Directive, ...]:
        return tuple(directive for directive in self._snapshot.directives if directive.expires_at > now)

    def _publish(self, **changes: object) -> Snapshot:
        """Write the snapshot with these changes, then make it the one in force."""
        now = self._clock()
        # Two files within a clock tick, or a clock set back, still differ and stay in order.
        created_at = max(now, self._snapshot.created_at + 1e-6)
        changed: Snapshot = msgspec.structs.replace(
            self._snapshot, **{"directives": self._live(now), **changes, "created_at": created_at}
        )
        snapshot_file.write(self._path, changed)
        self._snapshot = changed
        _log.debug("snapshot.published", revision=changed.revision, changed=sorted(changes))
        return changed


def _unknown(directive: Directive, snapshot: Snapshot) -> str:
    """What a directive is about that is not configured, as a sentence; empty when all of it is."""
    upstream = snapshot.upstream(directive.upstream)
    if directive.upstream and upstream is None:
        return f"there is no upstream {directive.upstream}"
    if directive.target and (upstream is None or all(one.name != directive.target for one in upstream.targets)):
        return f"upstream {directive.upstream} has no target {directive.target}"
    if directive.route and all(route.name != directive.route for route in snapshot.routes):
        return f"there is no route {directive.route}"
    return ""


def _in_use(key_sets: Mapping[str, str], compiled: Snapshot) -> dict[str, str]:
    """Of the key sets, those that some issuer still names."""
    urls = {policy.jwks_url for policy in compiled.jwt}
    return {url: text for url, text in key_sets.items() if url in urls}


def first_snapshot(path: Path, configuration: Configuration, *, clock: Callable[[], float]) -> None:
    """What workers begin with: this configuration, with the keys and directives of the snapshot before it.

    Control replaces it as soon as it has asked the store; until then nothing that was revoked works again.
    """
    try:
        Publisher.resumed(path, configuration, clock=clock)
    except (FileNotFoundError, CorruptSnapshotError):
        Publisher(path, configuration, clock=clock)
