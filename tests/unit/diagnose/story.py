"""The demo's story as a Window: orders calls payments through the gateway, two targets each, three tenants."""

from __future__ import annotations

from gateway.detect.detectors import examine_all, in_service
from gateway.detect.grouping import Grouper, Join, Open
from gateway.diagnose.evidence import gather
from gateway.domain.incident import Incident, IncidentState
from gateway.domain.policy import DetectSettings
from gateway.domain.topology import Topology
from tests.unit.detect.traffic_model import START, Flow, Traffic

O1, O2, P1, P2, C1 = "127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9201", "127.0.0.1:9202", "127.0.0.1:9301"
TOPOLOGY = Topology(
    upstream_of={"orders": "orders", "payments": "payments", "catalogue": "catalogue"},
    depends_on={"orders": ("payments",), "payments": (), "catalogue": ()},
    targets={"orders": (O1, O2), "payments": (P1, P2), "catalogue": (C1,)},
)
FAULT = START + 300


def flows(rate=5.0):
    """Every order is one call to payments; some calls reach payments directly."""
    tenants = ("acme", "globex", "initech")
    out = [Flow("catalogue", "catalogue", C1, rate, tenant="acme")]
    for tenant in tenants:
        out += [Flow("orders", "orders", target, rate / 6, tenant=tenant, latency_ms=60.0) for target in (O1, O2)]
        out += [Flow("payments", "payments", target, rate / 5, tenant=tenant, latency_ms=20.0) for target in (P1, P2)]
    return out


class Told:
    """What a run of the story came to."""

    def __init__(self):
        self.opened_after_s = None
        self.incidents: list[Incident] = []
        self.decisions = []


def tell(fault, *, seed=1, seconds=60, rate=5.0):
    """Run until ``seconds`` after FAULT with a detection pass every five seconds; ``fault(flow) -> flow``."""
    traffic = Traffic(flows(rate), seed, lambda flow, at: fault(flow) if at >= FAULT else flow)
    detectors = in_service(DetectSettings())
    grouper = Grouper(1800)
    told = Told()
    told.traffic = traffic
    for at in range(START, FAULT + seconds, 5):
        traffic.bin(at)
        now = at + 5.4
        decisions = grouper.decide(examine_all(detectors, traffic.window, now), told.incidents, TOPOLOGY, now)
        told.decisions += decisions
        for decision in decisions:
            if isinstance(decision, Open):
                told.opened_after_s = told.opened_after_s or now - FAULT
                told.incidents.append(opened(decision, now, len(told.incidents) + 1))
            elif isinstance(decision, Join):
                pass
        told.now = now
    return told


def opened(decision, now, number=1):
    """What the pipeline makes of an Open."""
    return Incident(
        id=f"inc-{number}",
        dedup_key=decision.dedup_key,
        state=IncidentState.OPEN,
        severity=decision.severity,
        signal=decision.signal,
        place=decision.place,
        title=decision.title,
        opened_at=now,
        onset=decision.onset,
        updated_at=now,
        last_anomaly_at=now,
        anomalies=decision.anomalies,
    )


def diagnosed(told, *, at=None, changes=()):
    """Evidence and hypotheses of the first incident, at the moment it was opened by default."""
    incident = told.incidents[0]
    return gather(incident, told.traffic.window, at or incident.opened_at, TOPOLOGY, changes)
