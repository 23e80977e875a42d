"""The whole way without I/O: traffic → anomalies → one incident → evidence → hypotheses → report."""

from __future__ import annotations

import msgspec
import pytest

from gateway.detect.grouping import Open
from gateway.diagnose import rules
from gateway.diagnose.evidence import gather
from gateway.domain.diagnosis import Confidence
from gateway.domain.incident import Change, Place, Severity, Signal
from tests.unit.diagnose.story import C1, FAULT, P1, P2, TOPOLOGY, diagnosed, tell


def target_down(flow):
    if flow.target == P1:
        return flow._replace(errors=1.0)
    return flow._replace(errors=0.5) if flow.upstream == "orders" else flow


def target_flaky(flow):
    if flow.target == P2:
        return flow._replace(errors=0.5)
    return flow._replace(errors=0.25) if flow.upstream == "orders" else flow


def target_slow(flow):
    if flow.target == P1:
        return flow._replace(latency_ms=400.0)
    return flow._replace(latency_ms=260.0, spread=0.9) if flow.upstream == "orders" else flow


def upstream_down(flow):
    return flow._replace(errors=0.95) if flow.upstream in {"payments", "orders"} else flow


def one_tenant(flow):
    return flow._replace(errors=0.9) if flow.upstream == "payments" and flow.tenant == "globex" else flow


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("fault", "target", "signal"),
    [
        (target_down, P1, Signal.ERROR_RATE),
        (target_flaky, P2, Signal.ERROR_RATE),
        (target_slow, P1, Signal.LATENCY),
        (upstream_down, "", Signal.ERROR_RATE),
    ],
)
def test_a_fault_is_found_in_time_as_one_incident_and_located(fault, target, signal, seed):
    told = tell(fault, seed=seed)
    assert told.opened_after_s is not None and told.opened_after_s <= 15.5
    assert [decision.dedup_key for decision in told.decisions if isinstance(decision, Open)] == [f"payments:{signal}"]
    _, hypotheses = diagnosed(told)
    assert (hypotheses[0].upstream, hypotheses[0].target) == ("payments", target)
    assert not hypotheses[0].ruled_out


def test_the_caller_is_ruled_out_with_the_reason():
    _, hypotheses = diagnosed(tell(target_down))
    victim = next(one for one in hypotheses if one.upstream == "orders")
    assert victim.ruled_out
    assert "calls payments" in victim.why
    assert victim.evidence


def test_a_single_tenants_trouble_is_named_as_such():
    told = tell(one_tenant, rate=20.0)
    evidence, hypotheses = diagnosed(told)
    assert (hypotheses[0].tenant, hypotheses[0].upstream) == ("globex", "payments")
    report = rules.report(told.incidents[0], evidence, hypotheses)
    assert 'tenant "globex"' in report.root_cause


def test_the_report_reads_in_five_seconds_and_every_claim_cites_evidence():
    told = tell(target_down, rate=20.0)
    evidence, hypotheses = diagnosed(told)
    report = rules.report(told.incidents[0], evidence, hypotheses)
    known = {one.id for one in evidence}
    assert report.title == f"Target {P1} of payments fails"
    assert report.confidence is Confidence.HIGH
    assert not report.inconclusive
    assert report.root_cause.startswith(f"Target {P1} of payments fails.")
    assert all(claim.evidence and set(claim.evidence) <= known for claim in report.claims)
    assert report.steps[0].startswith(f"Take {P1} out of rotation")
    assert {"route orders", "route payments"} <= set(report.affected)
    assert told.incidents[0].severity is Severity.P1


def test_a_diagnosis_made_later_still_looks_at_the_onset():
    told = tell(target_down, seconds=120)
    _, hypotheses = diagnosed(told, at=told.now)
    assert hypotheses[0].target == P1


def test_a_revision_just_before_is_named_in_the_cause():
    revision = Change(
        at=FAULT - 40, kind="config", title="Shorter timeouts", reference="57", place=Place(upstream="payments")
    )
    told = tell(target_down)
    evidence, hypotheses = diagnosed(told, changes=[revision])
    report = rules.report(told.incidents[0], evidence, hypotheses)
    assert 'Configuration revision 57 "Shorter timeouts" was made 40 s before the onset' in report.root_cause
    assert report.steps[0].startswith("Read what was changed")


def test_healthy_traffic_opens_nothing():
    assert tell(lambda flow: flow).incidents == []


def test_two_disturbances_at_once_are_each_explained_by_their_own_service():
    def both(flow):
        return flow._replace(errors=1.0) if flow.target in {P1, C1} else target_down(flow)

    told = tell(both)
    named = {}
    for incident in told.incidents:
        _, hypotheses = gather(incident, told.traffic.window, told.now, TOPOLOGY)
        named[incident.place.upstream] = hypotheses[0].upstream
    assert named == {"payments": "payments", "catalogue": "catalogue"}


def test_a_call_that_nobody_declared_is_named_and_nothing_is_concluded_from_it():
    told = tell(lambda flow: flow._replace(errors={"orders": 0.3, "payments": 0.5}.get(flow.route, flow.errors)))
    incident = next(one for one in told.incidents if one.place.upstream == "payments")
    incident = msgspec.structs.replace(incident, place=Place(upstream="orders"))
    undeclared = msgspec.structs.replace(TOPOLOGY, depends_on={})
    evidence, hypotheses = gather(incident, told.traffic.window, told.now, undeclared)
    named = [one for one in evidence if "depends_on" in one.statement]
    assert [one.values["undeclared"] for one in named] == ["payments"]
    assert all(named[0].id not in one.evidence for one in hypotheses)
