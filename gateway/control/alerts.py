"""The desk for alerts of other monitoring: takes them in, knows which fire, and keeps what it could not read."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.domain.dead_letter import MOST_CHARACTERS, DeadLetter
from gateway.domain.incident import AlertSource, ExternalAlert
from gateway.domain.sources import Received
from gateway.domain.topology import Topology
from gateway.errors import InvalidInputError, NotFoundError, StoreUnavailableError
from gateway.ingest import alerts as bodies
from gateway.ingest.placing import merged, placed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from gateway.domain.incident import Place
    from gateway.domain.paging import Page
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.sources import AlertSettings
    from gateway.ingest.reported import Body, Wrong

MOST_KNOWN = 2000
REMEMBERED_S = 3600.0  # after their end, so that an incident learns of it
_LONGEST_FIELD = 200
_log = logs.get("control")


class AlertStore(Protocol):
    """Where alerts are kept; a wrapper journals them while the database is away."""

    async def save(self, alerts: Sequence[ExternalAlert]) -> None:
        """What was heard last of each counts."""
        ...

    async def known(self, since: float) -> Sequence[ExternalAlert]:
        """Those that fire, and those that ended after that time. Raises StoreUnavailableError."""
        ...

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[ExternalAlert]:
        """The latest heard of first."""
        ...

    async def purge(self, now: float) -> None:
        """Forget what ended long ago."""
        ...


class Letters(Protocol):
    """Where bodies that could not be read are kept."""

    async def add(self, letter: DeadLetter) -> None:
        """Keep one. Raises StoreUnavailableError."""
        ...


class Alerts:
    """Alerts of other monitoring.

    Args:
        store: where they are kept.
        letters: where bodies go that could not be read.
        settings: how alerts are taken by the configuration in force; None: they are not.
        snapshot: what workers run on, for the names that may be meant.
        alone: whether no other node writes to the store.
        count: raises a counter.
        gauge: sets all label sets of a gauge.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: AlertStore,
        letters: Letters,
        *,
        settings: Callable[[], AlertSettings | None],
        snapshot: Callable[[], Snapshot],
        alone: bool,
        count: Callable[..., None],
        gauge: Callable[[str, Mapping[tuple[str, ...], float]], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._letters = letters
        self._settings = settings
        self._snapshot = snapshot
        self._alone = alone
        self._count = count
        self._gauge = gauge
        self._clock = clock
        self._known: dict[str, ExternalAlert] = {}
        self._read_back = False
        self._show()

    async def receive(self, source: str, raw: bytes) -> Received:
        """Take in what a webhook sent. The good alerts of a body are taken beside wrong ones.

        Raises:
            NotFoundError: alerts are not taken here, or there is no such kind.
            InvalidInputError: something in the body is wrong; it is kept as a dead letter.
            StoreUnavailableError: it is not known yet what fires; the sender tries again.
        """
        settings = self._settings()
        if settings is None:
            raise NotFoundError("alerts are not taken here", remedy="Add [sources.alerts] to sentinel.toml.")
        if source not in bodies.KINDS:
            kinds = ", ".join(bodies.KINDS)
            raise NotFoundError("there is no such kind of alert", remedy=f"One of {kinds}.")
        kind = AlertSource(source)
        await self._learn()  # the alert that ends here may have begun on another node
        body = bodies.read(kind, raw)
        received = await self._take(kind, body, settings)
        if body.wrong:
            await self._bury(kind, raw, body)
        return received

    async def refresh(self) -> None:
        """Learn what other nodes were told, and end what nothing was heard of for too long.

        Raises StoreUnavailableError while nothing was ever read back; later, what is known stays.
        """
        await self._learn()
        now = self._clock()
        settings = self._settings()
        silent_since = now - settings.lapse_s if settings is not None else now
        lapsed = [
            msgspec.structs.replace(alert, ended_at=now, heard_at=max(now, alert.heard_at))
            for alert in self._known.values()
            if alert.ended_at is None
            and alert.heard_at < silent_since
            and alert.source in bodies.KINDS  # what was found by ourselves, whoever found it ends
        ]
        if lapsed:
            _log.info("alerts.lapsed", count=len(lapsed))
            await self._keep(lapsed)
        self._forget(now)
        self._show()

    async def _learn(self) -> None:
        """What the store holds. Raises StoreUnavailableError while nothing was ever read."""
        if self._alone and self._read_back:
            return
        try:
            found = await self._store.known(self._clock() - REMEMBERED_S)
        except StoreUnavailableError:
            if not self._read_back:
                raise
            return
        for alert in found:
            mine = self._known.get(alert.fingerprint)
            # Told within one moment on two nodes, the end came last.
            if mine is None or _standing(mine) < _standing(alert):
                self._known[alert.fingerprint] = alert
        self._read_back = True

    async def note(self, alerts: Sequence[ExternalAlert]) -> None:
        """Keep what was found by ourselves in figures of others. Raises StoreUnavailableError."""
        await self._learn()
        await self._keep(alerts)
        self._show()

    def known(self) -> Mapping[str, ExternalAlert] | None:
        """By fingerprint, what fires and what ended lately; None until it was read back after a start."""
        return self._known if self._read_back else None

    def firing(self) -> list[ExternalAlert]:
        """Those that fire."""
        return [alert for alert in self._known.values() if alert.ended_at is None]

    def speaking(self) -> list[ExternalAlert]:
        """Those that fire and were not set aside."""
        return [alert for alert in self.firing() if not alert.set_aside]

    async def set_aside(self, places: Collection[Place]) -> None:
        """What fires at these places says no more until it ends and fires anew: somebody closed its incident."""
        known = [alert for alert in self.speaking() if alert.place in places]
        if known:
            now = self._clock()
            _log.info("alerts.set_aside", count=len(known))
            await self._keep(
                [msgspec.structs.replace(one, set_aside=True, heard_at=max(now, one.heard_at)) for one in known]
            )

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[ExternalAlert]:
        """All that are kept, the latest heard of first."""
        return await self._store.page(limit=limit, cursor=cursor)

    async def purge(self, now: float) -> None:
        """Forget what ended long ago."""
        await self._store.purge(now)

    async def _take(self, source: AlertSource, body: Body, settings: AlertSettings) -> Received:
        now, topology = self._clock(), Topology.of(self._snapshot())
        outcomes: Counter[str] = Counter()
        changed: dict[str, ExternalAlert] = {}
        firing = len(self.firing())
        for reported in body.alerts:
            told = placed(reported, source, settings, topology, now)
            known = changed.get(told.fingerprint) or self._known.get(told.fingerprint)
            after, outcome = merged(known, told)
            if outcome == "firing":
                outcome = "dropped" if firing >= MOST_KNOWN else outcome
                firing += 1
            outcomes[outcome] += 1
            if after is not None and outcome != "dropped":
                changed[after.fingerprint] = after
                outcomes["unplaced"] += after.ended_at is None and not str(after.place.upstream or after.place.route)
        unplaced = outcomes.pop("unplaced", 0)
        for outcome, amount in outcomes.items():
            self._count("sentinel_alerts_received_total", str(source), outcome, amount=amount)
        if body.alerts:
            _log.info("alerts.received", source=str(source), **outcomes)
        await self._keep(list(changed.values()))
        self._show()
        return Received(**outcomes, unplaced=unplaced)

    async def _keep(self, alerts: Sequence[ExternalAlert]) -> None:
        self._known |= {alert.fingerprint: alert for alert in alerts}
        await self._store.save(alerts)

    def _forget(self, now: float) -> None:
        for key in [key for key, one in self._known.items() if (one.ended_at or now) < now - REMEMBERED_S]:
            del self._known[key]

    def _show(self) -> None:
        by_source = Counter(str(alert.source) for alert in self.firing())
        self._gauge("sentinel_alerts_firing", {(source,): float(by_source[source]) for source in AlertSource})

    async def _bury(self, source: AlertSource, raw: bytes, body: Body) -> None:
        """Keep the body, and say what is wrong with it. Raises InvalidInputError, always."""
        first = body.wrong[0]
        letter = DeadLetter(
            id=f"dl-{secrets.token_hex(4)}",
            at=self._clock(),
            source=str(source),
            field=first.field[:_LONGEST_FIELD],
            reason=first.reason,
            size_bytes=len(raw),
            body=raw[: 4 * MOST_CHARACTERS].decode(errors="replace")[:MOST_CHARACTERS],
        )
        self._count("sentinel_dead_letters_total", str(source))
        _log.warning("alerts.unreadable", source=str(source), field=letter.field, reason=letter.reason)
        remedy = f"The body is kept: sentinel dead-letters show {letter.id}"
        try:
            await self._letters.add(letter)
        except StoreUnavailableError as error:
            _log.warning("dead_letter.not_kept", source=str(source), reason=str(error))
            remedy = "The store is away, so the body could not be kept."
        raise InvalidInputError(_said(first, body.wrong, len(body.alerts)), field=letter.field, remedy=remedy)


def _standing(alert: ExternalAlert) -> tuple[float, bool]:
    return alert.heard_at, alert.ended_at is not None


def _said(first: Wrong, wrong: Iterable[Wrong], taken: int) -> str:
    others = len(tuple(wrong)) - 1
    more = f"; {others} more of its alerts are wrong" if others else ""
    beside = f"; the {taken} good ones beside it were taken" if taken else ""
    return f"{first.field[:_LONGEST_FIELD] or 'the body'}: {first.reason}{more}{beside}"
