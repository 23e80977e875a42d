"""How our own parts are: gathered every few seconds from what control knows already, and from a few looks of its own.

One set of facts serves readiness, ``GET /api/v1/health``, ``sentinel doctor`` and the incidents about ourselves.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from gateway import logs
from gateway.control import own_looks
from gateway.detect.own_parts import symptoms
from gateway.domain.own_health import (
    AWAY_S,
    SKEW_S,
    AwayFacts,
    ChannelFacts,
    ClockFacts,
    DiskFacts,
    KeySetFacts,
    ModelFacts,
    OwnFacts,
    RedisFacts,
    SpoolFacts,
    StoreFacts,
    WorkerFacts,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.control.key_sets import KeySetStatus
    from gateway.detect.own_parts import Symptom
    from gateway.domain.own_health import CertificateFacts, NameFacts
    from gateway.domain.snapshot import Snapshot
    from gateway.run_folder import RunFolder

LOOK_S = 5.0
SELDOM = 12  # looks: certificates and the database's clock once a minute
_UNKNOWN_KEYS = "sentinel_unknown_keys_total"

_log = logs.get("control")


class Journal(Protocol):
    """What waits for the store."""

    @property
    def waiting(self) -> int:
        """Entries not carried over yet."""
        ...

    @property
    def dropped(self) -> int:
        """Entries lost because it was full."""
        ...


class OwnHealth:
    """Gathers facts; :attr:`facts` are the latest.

    Args:
        folder: the run folder.
        redis_url: empty without Redis.
        snapshot: what is in force.
        value: the level of one of our metrics (name, labels).
        store_up: whether the store answered last.
        journal: what waits for it.
        key_sets: how it stands with the issuers' keys.
        workers: how many live; None where nobody keeps count.
        wanted_workers: how many there are to be.
        channels: name and kind of every channel.
        spool_bound: bytes the spool may take.
        provider: who writes reports; empty without a model.
        store_clock: the database's clock, None where it is this machine's; raises SentinelError.
        publish: given the metric and its levels by part.
        clock: seconds since the epoch.
        monotonic: seconds of a clock that never jumps.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        redis_url: str,
        snapshot: Callable[[], Snapshot],
        value: Callable[..., float],
        store_up: Callable[[], bool],
        journal: Journal,
        key_sets: Callable[[], Sequence[KeySetStatus]],
        workers: Callable[[], int | None],
        wanted_workers: int,
        channels: Mapping[str, str],
        spool_bound: Callable[[], int],
        provider: str,
        store_clock: Callable[[], Awaitable[float | None]],
        publish: Callable[[str, Mapping[tuple[str, ...], float]], None],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._snapshot = snapshot
        self._value = value
        self._store_up = store_up
        self._journal = journal
        self._key_sets = key_sets
        self._workers = workers
        self._wanted_workers = wanted_workers
        self._channels = {name: ChannelFacts(name, kind) for name, kind in channels.items()}
        self._spool_bound = spool_bound
        self._model = ModelFacts(provider) if provider else None
        self._store_clock = store_clock
        self._publish = publish
        self._clock = clock
        self._monotonic = monotonic
        self._node = folder.node()
        self._alive = folder.path / "control.alive"
        self._looks = 0
        self._before: tuple[float, float] | None = None
        self._jump = ClockFacts()
        self._skew_s: dict[str, float] = {}
        self._certificates: tuple[CertificateFacts, ...] = ()
        self._lookups_failed = 0.0
        self._names: tuple[NameFacts, ...] = ()
        self._away = self._was_away()
        self._said: set[str] = set()
        self.facts = OwnFacts(node=self._node)

    async def run(self) -> None:
        """Look every five seconds until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - the border of this task: the next look must come whatever this one met
                _log.exception("own_health.crashed")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Gather everything anew."""
        now = self._clock()
        snapshot = self._snapshot()
        self._jumped(now)
        redis = None
        if self._redis_url:
            error, ahead_s = await own_looks.ask_redis(self._redis_url)
            redis = RedisFacts(error, int(self._value("sentinel_limiter_fallback_total")))
            self._skewed("Redis", None if error else ahead_s)
        if self._looks % SELDOM == 0:
            self._certificates = await asyncio.to_thread(
                own_looks.certificates, snapshot.policy.tls, snapshot.upstreams
            )
            await self._ask_store_clock()
        await self._ask_names(snapshot)
        self._looks += 1
        waiting = int(self._value("sentinel_spool_bytes"))
        self.facts = OwnFacts(
            at=now,
            node=self._node,
            redis=redis,
            limited=own_looks.limited_routes(snapshot.routes),
            store=StoreFacts(self._store_up(), waiting, self._journal.waiting, self._journal.dropped),
            spool=SpoolFacts(waiting, self._spool_bound(), int(self._value("sentinel_records_total", "dropped"))),
            disk=self._disk(),
            key_sets=tuple(self._key_set(one) for one in self._key_sets()),
            model=self._model,
            channels=tuple(self._channels.values()),
            clock=ClockFacts(self._jump.jumped_s, self._jump.jumped_at, dict(self._skew_s)),
            certificates=self._certificates,
            workers=self._worker_facts(),
            away=self._away,
            names=self._names,
        )
        self._tell(now)
        self._touch()

    def symptoms(self) -> list[Symptom]:
        """What is amiss by the latest facts."""
        return symptoms(self.facts, self._clock())

    def delivered(self, channel: str, error: str) -> None:
        """A channel took a message, or (with an error) did not."""
        known = self._channels.get(channel)
        if known is not None:
            failures = known.failures + 1 if error else 0
            self._channels[channel] = ChannelFacts(known.name, known.kind, failures, self._clock())

    def reported(self, why_not: str) -> None:
        """A model wrote a report, or (with a reason) did not."""
        if self._model is not None:
            failures = self._model.failures + 1 if why_not else 0
            self._model = ModelFacts(self._model.provider, failures, self._clock())

    def rest(self) -> None:
        """Control ends in order: whoever starts next has nothing to make up for."""
        self._alive.unlink(missing_ok=True)

    def _tell(self, now: float) -> None:
        """The log and the metrics hear of every trouble, wherever incidents are kept and whoever leads."""
        found = {one.name: one for one in symptoms(self.facts, now)}
        for name in found.keys() - self._said:
            one = found[name]
            _log.warning("own.trouble", part=name, severity=str(one.severity), said=one.said, effect=one.effect)
        for name in self._said - found.keys():
            _log.info("own.well", part=name)
        self._said = set(found)
        levels: dict[tuple[str, ...], float] = {}
        for one in found.values():
            levels[str(one.part),] = levels.get((str(one.part),), 0.0) + 1.0
        self._publish("sentinel_own_trouble", levels)

    def _jumped(self, now: float) -> None:
        steady = self._monotonic()
        if self._before is not None:
            jump = (now - self._before[0]) - (steady - self._before[1])
            if abs(jump) > SKEW_S:
                self._jump = ClockFacts(jump, now)
        self._before = (now, steady)

    def _skewed(self, what: str, ahead_s: float | None) -> None:
        if ahead_s is None:
            self._skew_s.pop(what, None)
        else:
            self._skew_s[what] = round(ahead_s, 1)

    async def _ask_store_clock(self) -> None:
        if not self._store_up():
            self._skewed("the database", None)
            return
        begun = self._clock()
        try:
            theirs = await self._store_clock()
        except Exception as error:  # noqa: BLE001 - a look of many: the store's own trouble is told elsewhere
            _log.debug("own_health.no_store_clock", reason=type(error).__name__)
            theirs = None
        # Between asking and hearing: half the way is theirs.
        self._skewed("the database", None if theirs is None else (begun + self._clock()) / 2 - theirs)

    async def _ask_names(self, snapshot: Snapshot) -> None:
        """Only where workers failed to look one up, or one was lost at the last look."""
        failed = self._value("sentinel_name_lookups_total", "failed")
        if failed > self._lookups_failed or self._names:
            self._names = await own_looks.unresolved(snapshot.upstreams)
        self._lookups_failed = failed

    def _key_set(self, status: KeySetStatus) -> KeySetFacts:
        unknown = int(self._value(_UNKNOWN_KEYS, status.url))
        return KeySetFacts(urlsplit(status.url).hostname or "", status.error, status.keys, unknown)

    def _worker_facts(self) -> WorkerFacts | None:
        alive = self._workers()
        return None if alive is None else WorkerFacts(alive, self._wanted_workers)

    def _disk(self) -> DiskFacts | None:
        try:
            usage = shutil.disk_usage(self._folder.path)
        except OSError:
            return None
        return DiskFacts(usage.free, usage.total, str(self._folder.path))

    def _was_away(self) -> AwayFacts | None:
        """When another control was last alive, if it did not end in order."""
        now = self._clock()
        try:
            last = self._alive.stat().st_mtime
            waiting = sum(file.stat().st_size for file in self._folder.spool.glob("*.seg"))
        except OSError:
            return None
        return AwayFacts(last, now, waiting) if now - last > AWAY_S else None

    def _touch(self) -> None:
        try:
            self._alive.touch()
        except OSError as error:  # a full disk is told as such
            _log.debug("own_health.not_touched", reason=type(error).__name__)
