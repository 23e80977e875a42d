"""The report on a part of the gateway itself: what is known is in the findings, what to do stands here. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.domain.diagnosis import Claim, Confidence, Diagnosis, Evidence, Report
from gateway.domain.own_health import Part

if TYPE_CHECKING:
    from gateway.domain.incident import Anomaly, Incident

# In the order a person does it. What the gateway itself does meanwhile is said in the finding.
_STEPS: dict[str, tuple[str, ...]] = {
    Part.REDIS: (
        "Run `sentinel doctor`: it says whether Redis refuses, is slow, or lacks a permission.",
        "Start Redis, or mend SENTINEL_REDIS__URL; workers find out by themselves within a second.",
        "If it stays away, decide with limit_unavailable what each route does meanwhile: local, open or closed.",
    ),
    Part.STORE: (
        "Run `sentinel doctor`: it says whether the database refuses, is full, or lacks migrations.",
        "Bring the database back; what waits in spool and journal is carried over by itself.",
        "Watch sentinel_spool_bytes: once the spool is full the oldest records are dropped.",
    ),
    Part.SPOOL: (
        "Look at the database: shipping waits for it (sentinel_ship_seconds).",
        "Raise [log] spool_max if the disk has room and the outage will last.",
    ),
    Part.DISK: (
        "Free space where [server] run_dir lies: old logs and backups first.",
        "Shorten [store] retention, or move [server] run_dir to a larger disk.",
    ),
    Part.KEY_SET: (
        "Fetch the issuer's jwks_url from this machine: network, DNS, TLS and the answer itself.",
        "Ask the issuer whether it rotates keys now: tokens of new keys are refused until they are learnt.",
    ),
    Part.MODEL: (
        "Run `sentinel doctor`, and look at model.fell_back in the log for the reason.",
        "Check the key, the budget and the address of [diagnose].",
    ),
    Part.NOTIFY: (
        "Run `sentinel notify test`: it says what the channel answers.",
        "Mend the channel's address, token or permissions; what waits goes out by itself.",
    ),
    Part.CLOCK: (
        "Switch time synchronisation on for every node and server: `timedatectl set-ntp true`.",
        "Look at tokens refused since then: callers with a right clock may have met 401.",
    ),
    Part.CERTIFICATE: (
        "Renew the certificate and put it in the place of the file; it is taken up within a second.",
        "If it was renewed already, look at certificate.refused in the log: key and certificate must belong together.",
    ),
    Part.WORKERS: (
        "Look for worker.ended in the log: memory, open files, or a crash.",
        "Run `sentinel check`: a worker that cannot start says why at once.",
    ),
    Part.CONTROL: (
        "Look in the log for how control ended: memory, or a crash with its trace.",
        "Read the traffic of that time by hand; what went wrong in it was not detected as it happened.",
    ),
    Part.NAMES: (
        "Resolve the name on this machine: `getent hosts NAME`; then /etc/resolv.conf and the resolver it names.",
        "Write the addresses of the targets for the time being.",
    ),
}
_ELSE = ("Run `sentinel doctor`: it looks at every part and names the remedy.",)


def steps_of(part: str) -> tuple[str, ...]:
    """What a person does about a part, in order."""
    return _STEPS.get(part.partition(":")[0], _ELSE)


def evidence(incident: Incident) -> tuple[Evidence, ...]:
    """The latest finding of each trouble the incident is about."""
    return tuple(
        Evidence(
            f"e{number}",
            "self",
            f"{anomaly.reason}.",
            {
                "observed": round(anomaly.observed, 3),
                "expected": round(anomaly.expected, 3),
                "so_far": anomaly.requests,
            },
            "/api/v1/health/parts",
        )
        for number, anomaly in enumerate(_latest(incident), 1)
    )


def diagnosis(incident: Incident, known: tuple[Evidence, ...], now: float) -> Diagnosis:
    """The whole diagnosis.

    Args:
        incident: about a part of the gateway.
        known: :func:`evidence`, perhaps with what runbooks and past incidents say behind it.
        now: seconds since the epoch.
    """
    findings = _latest(incident)
    said, _, effect = findings[-1].reason.partition(": ")
    began = datetime.fromtimestamp(incident.onset, UTC).strftime("%H:%M:%S UTC")
    report = Report(
        source="rules",
        title=incident.title,
        summary=f"{said} since {began}. What it means: {effect}.",
        root_cause=f"{said}.",
        inconclusive=False,
        confidence=Confidence.HIGH,
        confidence_score=1.0,
        affected=tuple(dict.fromkeys(str(one.place) for one in findings)),
        claims=tuple(Claim(one.statement, (one.id,)) for one in known),
        steps=steps_of(incident.place.part),
    )
    return Diagnosis(now, known, (), report)


def _latest(incident: Incident) -> tuple[Anomaly, ...]:
    return tuple(sorted(incident.anomalies, key=lambda one: one.seen_at))
