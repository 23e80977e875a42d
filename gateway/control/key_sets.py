"""Issuers' keys from their URLs: fetched in the background, judged, and published to the workers.

Workers never talk to an identity provider: what they verify with stands in the snapshot. A failed fetch changes nothing
that is in force. A token that names an unknown key brings the next fetch forward, at most once a minute per URL.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway import logs
from gateway.errors import ConfigError, KeySetError, SnapshotWriteError
from gateway.jwk import from_set, public_members

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.domain.snapshot import Snapshot

REFRESH_S = 300.0  # providers announce a key longer than that before they sign with it
UNKNOWN_S = 60.0  # between two fetches that tokens with unknown keys asked for
SETTLE_S = 5.0  # a worker's count comes up to three seconds late, and may be of the time before the last fetch
FIRST_RETRY_S = 5.0  # doubled up to REFRESH_S
SPREAD = 0.2  # of every wait, drawn at random: nodes that started together do not ask together
LOOK_S = 1.0
UNKNOWN_KEYS = "sentinel_unknown_keys_total"

_log = logs.get("control")


class Fetcher(Protocol):
    """Where sets come from."""

    async def fetch(self, url: str) -> bytes:
        """The set's text; raises KeySetError."""
        ...


class SetPublisher(Protocol):
    """Where sets go."""

    @property
    def snapshot(self) -> Snapshot:
        """What is in force."""
        ...

    def set_key_set(self, url: str, text: str) -> Snapshot:
        """Put a set in force; raises SnapshotWriteError."""
        ...


@dataclass(frozen=True, slots=True)
class KeySetStatus:
    """How it stands with one URL. Times are seconds since the epoch; 0 for never. ``error`` is of the last fetch."""

    url: str
    keys: int = 0
    fetched_at: float = 0.0
    error: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(slots=True)
class _Plan:
    next_at: float = 0.0
    asked_at: float = float("-inf")
    failures: int = 0


class KeySets:
    """Keeps the snapshot's key sets fresh.

    Args:
        publisher: the snapshot in force.
        fetcher: fetches one URL.
        count: raises a counter.
        clock: seconds since the epoch.
        random: draws from 0 to 1.
    """

    def __init__(
        self,
        publisher: SetPublisher,
        fetcher: Fetcher,
        *,
        count: Callable[[str, str], object],
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._publisher = publisher
        self._fetcher = fetcher
        self._count = count
        self._clock = clock
        self._random = random
        self._plans: dict[str, _Plan] = {}
        self._status: dict[str, KeySetStatus] = {}

    async def run(self) -> None:
        """Look once a second until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - the border of this task: the next look must come whatever this one met
                _log.exception("key_set.crashed")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Fetch what is due, all at once; returns when every fetch is over, so no URL is asked twice at a time."""
        urls = {policy.jwks_url for policy in self._publisher.snapshot.jwt if policy.jwks_url}
        self._plans = {url: self._plans.get(url, _Plan()) for url in urls}
        self._status = {url: self._status.get(url, self._known(url)) for url in sorted(urls)}
        now = self._clock()
        # A clock that was set back must not put a fetch off for longer than its own wait.
        due = [url for url, plan in self._plans.items() if not now < plan.next_at <= now + REFRESH_S * (1 + SPREAD)]
        await asyncio.gather(*(self._refresh(url) for url in due))

    def on_counters(self, counters: Mapping[str, float]) -> None:
        """A worker's counters: whether tokens named keys that are not in a set."""
        for name in counters:
            if name.startswith(UNKNOWN_KEYS):
                self._ask(name.removeprefix(UNKNOWN_KEYS).removeprefix("|"))

    def status(self) -> tuple[KeySetStatus, ...]:
        """How it stands with every URL in use."""
        return tuple(self._status.values())

    def _ask(self, url: str) -> None:
        plan, now = self._plans.get(url), self._clock()
        # A URL that fails already has its next try set; asking sooner would undo the wait.
        if plan is None or plan.failures or 0 <= now - plan.asked_at < UNKNOWN_S:
            return
        if 0 <= now - self._status[url].fetched_at < SETTLE_S:
            return
        plan.asked_at = plan.next_at = now

    def _known(self, url: str) -> KeySetStatus:
        text = self._publisher.snapshot.key_sets.get(url, "")
        try:
            return KeySetStatus(url, keys=len(from_set(text, url).keys)) if text else KeySetStatus(url)
        except ConfigError as error:
            return KeySetStatus(url, error=str(error))

    async def _refresh(self, url: str) -> None:
        plan, before = self._plans[url], self._status[url]
        try:
            body = await self._fetcher.fetch(url)
            text = public_members(body, url)
            found = from_set(body, url)
            changed = text != self._publisher.snapshot.key_sets.get(url)
            self._publisher.set_key_set(url, text)
        except (KeySetError, ConfigError, SnapshotWriteError) as error:
            plan.failures += 1
            reason = "; ".join((str(error), *getattr(error, "problems", ())))
            self._status[url] = KeySetStatus(url, before.keys, before.fetched_at, reason, before.left_out)
            plan.next_at = self._later(min(FIRST_RETRY_S * 2 ** min(plan.failures - 1, 10), REFRESH_S))
            self._count("sentinel_key_set_fetches_total", "failed")
            _log.warning("key_set.not_fetched", url=url, reason=reason, keys_in_force=before.keys)
            return
        plan.failures = 0
        plan.next_at = self._later(REFRESH_S)
        self._status[url] = KeySetStatus(url, len(found.keys), self._clock(), "", found.left_out)
        self._count("sentinel_key_set_fetches_total", "fetched")
        if changed or before.error:
            _log.info("key_set.fetched", url=url, keys=len(found.keys), left_out=list(found.left_out))

    def _later(self, wait_s: float) -> float:
        return self._clock() + wait_s * (1 - SPREAD / 2 + SPREAD * self._random())
