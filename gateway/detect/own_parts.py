"""Which of our own parts are in trouble, and what that means for traffic. Pure: facts in, symptoms out.

Sentences hold numbers, names of the configuration and our own words. What a driver or a server said is in the log.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from gateway.domain.incident import Severity
from gateway.domain.own_health import AWAY_S, DAY_S, LEAST_FREE_BYTES, SKEW_S, SPOOL_FULL, Part, size_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.domain.own_health import CertificateFacts, OwnFacts

# A certificate's last weeks, days and hours, and how urgent each is.
_ENDING = ((1, Severity.P2), (7, Severity.P3), (21, Severity.P4))
_FAR_S = 30.0  # clocks so far apart let tokens in or out that should not be
_TOLD_S = 120.0  # what happened at one moment is spoken of for so long
_SILENT_S = 1800.0  # a channel or model nobody used for so long may be well again
_TWICE = 2
_REFUSES = 3  # deliveries in a row that failed: two may be a receiver that is being restarted
_NAMED = 5


class Symptom(NamedTuple):
    """One part in trouble.

    ``said`` is what is wrong, ``effect`` what it means; ``counted`` is a counter of what it did to requests or records,
    and ``counting`` what is counted: how much it rose since the onset is told with it.
    """

    part: Part
    severity: Severity
    said: str
    effect: str
    about: str = ""  # which of several: a channel, a host, a file
    upstream: str = ""
    counted: int = 0
    counting: str = ""
    observed: float = 1.0
    expected: float = 0.0
    at_once: bool = False  # one look is enough: it cannot be a passing weakness

    @property
    def name(self) -> str:
        """What tells it from other troubles: ``redis``, ``notify:ops``."""
        return f"{self.part}:{self.about}" if self.about else str(self.part)


def symptoms(facts: OwnFacts, now: float) -> list[Symptom]:
    """Everything that is amiss at ``now`` (seconds since the epoch)."""
    return [
        *_redis(facts),
        *_store(facts),
        *_spool(facts),
        *_disk(facts),
        *_key_sets(facts),
        *_model(facts, now),
        *_channels(facts, now),
        *_clock(facts, now),
        *_certificates(facts, now),
        *_processes(facts, now),
        *_names(facts),
    ]


def _redis(facts: OwnFacts) -> Iterator[Symptom]:
    if facts.redis is None or not facts.redis.error:
        return
    limited, effects = facts.limited, []
    if limited.closed:
        effects.append(f"requests to {_routes(limited.closed)} are refused with 503")
    if limited.open:
        effects.append(f"{_routes(limited.open)} go without limits")
    if limited.local:
        effects.append(
            f"limits of {_routes(limited.local)} are counted on each node by itself, and every caller may have its "
            "burst once more"
        )
    severity = Severity.P1 if limited.closed else Severity.P2 if limited.open else Severity.P3
    yield Symptom(
        Part.REDIS,
        severity if effects else Severity.P4,
        f"Our own limiter store does not answer ({facts.redis.error})",
        "; ".join(effects) or "no route has limits, so nothing else changes",
        counted=facts.redis.without,
        counting="limit checks were made without it: at most as many requests passed beyond a limit",
    )


def _store(facts: OwnFacts) -> Iterator[Symptom]:
    store = facts.store
    if not store.up:
        yield Symptom(
            Part.STORE,
            Severity.P2,
            "Our own database does not answer",
            f"traffic is not touched; {size_of(store.waiting_bytes)} of records wait in the spool and "
            f"{store.journal_waiting} entries in the journal, and what people look up is not there",
            observed=float(store.waiting_bytes),
            counted=store.journal_dropped,
            counting="journal entries were dropped",
        )


def _spool(facts: OwnFacts) -> Iterator[Symptom]:
    spool = facts.spool
    share = spool.waiting_bytes / spool.bound_bytes if spool.bound_bytes else 0.0
    if share > SPOOL_FULL:
        yield Symptom(
            Part.SPOOL,
            Severity.P2,
            f"Our own spool is {share:.0%} full ({size_of(spool.waiting_bytes)} of {size_of(spool.bound_bytes)})",
            "records wait longer than usual; beyond the bound the oldest are dropped",
            counted=spool.dropped,
            counting="records were dropped",
            observed=share,
            expected=SPOOL_FULL,
        )


def _disk(facts: OwnFacts) -> Iterator[Symptom]:
    disk = facts.disk
    if disk is not None and disk.free_bytes < LEAST_FREE_BYTES:
        yield Symptom(
            Part.DISK,
            Severity.P2,
            f"Our own disk is almost full: {size_of(disk.free_bytes)} free of {size_of(disk.total_bytes)}",
            "traffic goes on; once it is full, records are dropped and no configuration can be put in force",
            observed=float(disk.free_bytes),
            expected=float(LEAST_FREE_BYTES),
        )


def _key_sets(facts: OwnFacts) -> Iterator[Symptom]:
    for one in facts.key_sets:
        if not one.error:
            continue
        keys = f"{one.keys} key{'' if one.keys == 1 else 's'}"
        yield Symptom(
            Part.KEY_SET,
            Severity.P3 if one.keys else Severity.P1,
            f"The keys of the issuer at {one.host} cannot be fetched",
            f"the {keys} in force go on verifying tokens; new ones are not learnt"
            if one.keys
            else "no key of it is known, so its tokens are refused with 401",
            about=one.host,
            counted=one.unknown,
            counting="tokens named a key that is not known",
        )


def _model(facts: OwnFacts, now: float) -> Iterator[Symptom]:
    model = facts.model
    if model is not None and model.failures and now - model.tried_at < _SILENT_S:
        reports = "report" if model.failures == 1 else "reports in a row"
        yield Symptom(
            Part.MODEL,
            Severity.P4,
            f"The model of {model.provider} did not write the last {model.failures} {reports}",
            "every incident has its report by rules; nothing waits for the model",
            observed=float(model.failures),
            at_once=model.failures >= _TWICE,
        )


def _channels(facts: OwnFacts, now: float) -> Iterator[Symptom]:
    broken = [one for one in facts.channels if one.failures >= _REFUSES and now - one.tried_at < _SILENT_S]
    every = len(broken) == len(facts.channels)
    for one in broken:
        others = "no channel is left: only the dashboard tells" if every else "the other channels are told instead"
        yield Symptom(
            Part.NOTIFY,
            Severity.P2 if every else Severity.P3,
            f"The {one.kind} channel {one.name} takes no messages: the last {one.failures} tries failed",
            f"{others}; what waits is tried again for hours",
            about=one.name,
            observed=float(one.failures),
        )


def _clock(facts: OwnFacts, now: float) -> Iterator[Symptom]:
    clock = facts.clock
    means = "tokens, approvals and actions end by it, and records stand at the wrong time"
    if clock.jumped_s and 0 <= now - clock.jumped_at < _TOLD_S:
        way = "forward" if clock.jumped_s > 0 else "back"
        said = f"Our own clock jumped {way} by {abs(clock.jumped_s):.0f} s"
        yield Symptom(Part.CLOCK, Severity.P3, said, means, observed=clock.jumped_s, at_once=True)
        return
    far = {what: skew for what, skew in clock.skew_s.items() if abs(skew) > SKEW_S}
    if far:
        what, skew = max(far.items(), key=lambda item: abs(item[1]))
        yield Symptom(
            Part.CLOCK,
            Severity.P2 if abs(skew) > _FAR_S else Severity.P3,
            f"Our own clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} that of {what}",
            means,
            observed=skew,
        )


def _certificates(facts: OwnFacts, now: float) -> Iterator[Symptom]:
    for one in facts.certificates:
        left_s = one.expires_at - now
        severity = _urgency(one, left_s)
        if severity is None:
            continue
        ends = (
            f"{datetime.fromtimestamp(one.expires_at, UTC):%Y-%m-%d %H:%M} UTC" if one.expires_at else "no known time"
        )
        if one.problem:
            said = f"The renewed certificate for {one.shown_to} cannot be used"
            effect = f"the one before stays in force until {ends}"
        elif left_s <= 0:
            said = f"The certificate for {one.shown_to} ended {ends}"
            effect = f"{_whoever(one)} refuse the connection"
        else:
            said = f"The certificate for {one.shown_to} ends in {left_s / DAY_S:.0f} days, {ends}"
            effect = f"then {_whoever(one)} refuse the connection; nobody has renewed it yet"
        yield Symptom(
            Part.CERTIFICATE,
            severity,
            said,
            effect,
            about=one.shown_to.partition(" ")[2] or one.shown_to,
            observed=left_s / DAY_S,
            expected=float(_ENDING[-1][0]),
            at_once=True,
        )


def _urgency(one: CertificateFacts, left_s: float) -> Severity | None:
    if one.problem:
        return Severity.P2 if not one.expires_at or left_s < _ENDING[1][0] * DAY_S else Severity.P3
    if left_s <= 0:
        return Severity.P1
    return next((severity for days, severity in _ENDING if left_s <= days * DAY_S), None)


def _whoever(one: CertificateFacts) -> str:
    return "clients" if one.shown_to == "clients" else "its targets"


def _processes(facts: OwnFacts, now: float) -> Iterator[Symptom]:
    workers, away = facts.workers, facts.away
    if workers is not None and workers.alive < workers.wanted:
        yield Symptom(
            Part.WORKERS,
            Severity.P2,
            f"Only {workers.alive} of our own {workers.wanted} workers live",
            "the others carry their traffic; the supervisor starts them again, its log says why they end",
            observed=float(workers.alive),
            expected=float(workers.wanted),
        )
    if away is not None and away.until - away.since > AWAY_S and 0 <= now - away.until < _TOLD_S:
        yield Symptom(
            Part.CONTROL,
            Severity.P3,
            f"Our own control was away for {away.until - away.since:.0f} s",
            f"workers went on with what was in force; nothing was detected or acted on, and "
            f"{size_of(away.waiting_bytes)} of records waited",
            observed=away.until - away.since,
            at_once=True,
        )


def _names(facts: OwnFacts) -> Iterator[Symptom]:
    for one in facts.names:
        yield Symptom(
            Part.NAMES,
            Severity.P2,
            f"{_listed(one.names)} of upstream {one.upstream} cannot be resolved from here",
            "addresses that are known are used on; targets without any get no requests",
            about=one.upstream,
            upstream=one.upstream,
            observed=float(len(one.names)),
        )


def _routes(names: Sequence[str]) -> str:
    return f"route {names[0]}" if len(names) == 1 else f"routes {_listed(names)}"


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more
