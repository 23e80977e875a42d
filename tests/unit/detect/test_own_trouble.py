from __future__ import annotations

import msgspec
import pytest

from gateway.casebook import joined, opened
from gateway.detect.grouping import Join, Open
from gateway.detect.own_parts import symptoms
from gateway.detect.own_trouble import OwnTrouble, WithOurs
from gateway.detect.recovery import recovered
from gateway.detect.silences import why_quiet
from gateway.diagnose import own_trouble as report_of
from gateway.domain.incident import Anomaly, IncidentState, Place, Severity, Signal
from gateway.domain.own_health import (
    AwayFacts,
    CertificateFacts,
    ChannelFacts,
    ClockFacts,
    DiskFacts,
    KeySetFacts,
    LimitedRoutes,
    ModelFacts,
    NameFacts,
    OwnFacts,
    RedisFacts,
    SpoolFacts,
    StoreFacts,
    WorkerFacts,
)
from gateway.domain.topology import Topology
from gateway.domain.window import Window

NOW = 1_790_000_000.0
DAY_S = 86_400.0
MIB = 1024 * 1024
DOWN = RedisFacts("no connection can be made", 100)


def facts(**changes):
    return OwnFacts(**({"at": NOW, "node": "n1"} | changes))


@pytest.mark.parametrize(
    ("known", "name", "severity", "said"),
    [
        pytest.param(
            {"redis": DOWN, "limited": LimitedRoutes(local=("orders", "search"))},
            "redis",
            "P3",
            "limits of routes orders, search are counted on each node by itself",
            id="redis-with-local-limits",
        ),
        pytest.param(
            {"redis": DOWN, "limited": LimitedRoutes(open=("a",), closed=("b",))},
            "redis",
            "P1",
            "requests to route b are refused with 503; route a go without limits",
            id="redis-with-closed-routes",
        ),
        pytest.param(
            {"store": StoreFacts(up=False, waiting_bytes=3 * MIB, journal_waiting=4)},
            "store",
            "P2",
            "traffic is not touched; 3 MiB of records wait in the spool and 4 entries in the journal",
            id="store",
        ),
        pytest.param({"spool": SpoolFacts(6 * MIB, 10 * MIB)}, "spool", "P2", "60% full (6 MiB of 10 MiB)", id="spool"),
        pytest.param({"disk": DiskFacts(5 * MIB, 900 * MIB, "/run")}, "disk", "P2", "5 MiB free of 900 MiB", id="disk"),
        pytest.param(
            {"key_sets": (KeySetFacts("id.example", "503", keys=2),)},
            "key set:id.example",
            "P3",
            "the 2 keys in force go on verifying tokens",
            id="key-set-with-keys",
        ),
        pytest.param(
            {"key_sets": (KeySetFacts("id.example", "503"),)},
            "key set:id.example",
            "P1",
            "its tokens are refused with 401",
            id="key-set-without-any",
        ),
        pytest.param({"model": ModelFacts("openai", 3, NOW - 60)}, "model", "P4", "the last 3 reports", id="model"),
        pytest.param(
            {"channels": (ChannelFacts("ops", "slack", 3, NOW), ChannelFacts("desk", "email"))},
            "notify:ops",
            "P3",
            "the other channels are told instead",
            id="one-of-two-channels",
        ),
        pytest.param(
            {"channels": (ChannelFacts("ops", "slack", 5, NOW),)},
            "notify:ops",
            "P2",
            "no channel is left: only the dashboard tells",
            id="the-only-channel",
        ),
        pytest.param({"clock": ClockFacts(-3600.0, NOW - 5)}, "clock", "P3", "jumped back by 3600 s", id="clock-jump"),
        pytest.param(
            {"clock": ClockFacts(skew_s={"Redis": 45.0})}, "clock", "P2", "45 s ahead of that of Redis", id="skew"
        ),
        pytest.param(
            {"certificates": (CertificateFacts("c.pem", "clients", NOW + 2.9 * DAY_S),)},
            "certificate:clients",
            "P3",
            "ends in 3 days",
            id="certificate-with-three-days",
        ),
        pytest.param(
            {"certificates": (CertificateFacts("c.pem", "upstream payments", NOW - 5),)},
            "certificate:payments",
            "P1",
            "its targets refuse the connection",
            id="certificate-ended",
        ),
        pytest.param(
            {"certificates": (CertificateFacts("c.pem", "clients", NOW + 3 * DAY_S, "key and certificate differ"),)},
            "certificate:clients",
            "P2",
            "The renewed certificate for clients cannot be used",
            id="renewal-failed",
        ),
        pytest.param({"workers": WorkerFacts(1, 4)}, "workers", "P2", "Only 1 of our own 4 workers live", id="workers"),
        pytest.param(
            {"away": AwayFacts(NOW - 100, NOW - 10, 2 * MIB)}, "control", "P3", "away for 90 s", id="control-was-away"
        ),
        pytest.param(
            {"names": (NameFacts("payments", ("pay.internal",)),)}, "names:payments", "P2", "pay.internal", id="names"
        ),
    ],
)
def test_a_part_in_trouble_is_told_with_its_effect(known, name, severity, said):
    (found,) = symptoms(facts(**known), NOW)
    assert (found.name, found.severity) == (name, severity)
    assert said in f"{found.said}: {found.effect}"


@pytest.mark.parametrize(
    "known",
    [
        pytest.param({}, id="nothing-known"),
        pytest.param({"redis": RedisFacts()}, id="redis-answers"),
        pytest.param({"spool": SpoolFacts(4 * MIB, 10 * MIB)}, id="spool-under-half"),
        pytest.param(
            {"certificates": (CertificateFacts("c", "clients", NOW + 30 * DAY_S),)}, id="certificate-for-long"
        ),
        pytest.param({"channels": (ChannelFacts("ops", "slack", 2, NOW),)}, id="two-failed-deliveries"),
        pytest.param({"channels": (ChannelFacts("ops", "slack", 9, NOW - 3600),)}, id="a-channel-nobody-used-lately"),
        pytest.param({"clock": ClockFacts(10.0, NOW - 600)}, id="a-jump-long-ago"),
    ],
)
def test_nothing_is_said_of_parts_that_are_well(known):
    assert symptoms(facts(**known), NOW) == []


class Control:
    """Looks every five seconds, and keeps incidents as the pipeline does."""

    def __init__(self, cooldown_s=1800.0):
        self.now = NOW
        self.facts = facts()
        self.known = {}
        self.detector = OwnTrouble(lambda: self.facts, self.open_ones)
        self.cooldown_s = cooldown_s

    def open_ones(self):
        return [one for one in self.known.values() if one.state is not IncidentState.CLOSED]

    def look(self, times=1, **changes):
        decisions = []
        for _ in range(times):
            self.now += 5.0
            self.facts = facts(**({"at": self.now} | changes))
            anomalies = self.detector.examine(Window(), self.now)
            grouper = WithOurs(self.cooldown_s)
            for decision in grouper.decide(anomalies, self.known.values(), Topology(), self.now):
                decisions.append(decision)
                if isinstance(decision, Open):
                    incident = opened(decision, self.now)
                    self.known[incident.id] = incident
                elif isinstance(decision, Join):
                    self.known[decision.incident_id] = joined(self.known[decision.incident_id], decision, self.now)
            for one in self.open_ones():
                if recovered(one, Window(), self.now).over:
                    closed = msgspec.structs.replace(one, state=IncidentState.CLOSED, closed_at=self.now)
                    self.known[one.id] = closed
        return decisions


def test_it_takes_three_looks_of_four_to_open():
    control = Control()
    assert control.look(2, redis=DOWN) == []
    assert control.look(1, redis=RedisFacts()) == []
    (decision,) = control.look(1, redis=DOWN)
    assert isinstance(decision, Open)
    assert (decision.dedup_key, decision.title) == (
        "self:redis",
        "Our own limiter store does not answer (no connection can be made)",
    )


def test_the_effect_so_far_counts_from_the_onset():
    control = Control()
    control.look(3, redis=DOWN)
    control.look(1, redis=RedisFacts(DOWN.error, 1304))
    (incident,) = control.known.values()
    assert "1,204 limit checks were made without it" in incident.anomalies[-1].reason
    assert incident.anomalies[-1].requests == 1204


def test_it_closes_by_itself_half_a_minute_after_it_was_last_seen():
    control = Control()
    control.look(3, redis=DOWN)
    control.look(4, redis=RedisFacts())
    assert len(control.open_ones()) == 1
    control.look(3, redis=RedisFacts())
    assert control.open_ones() == []


def test_a_part_that_comes_and_goes_is_said_to_flap():
    control = Control()
    for _ in range(3):
        control.look(3, redis=DOWN)
        control.look(10, redis=RedisFacts())
    assert [one.flapping for one in control.known.values()] == [False, False, True]
    assert len(control.open_ones()) == 1


def test_who_takes_over_goes_on_with_what_is_open_at_the_first_look():
    control = Control()
    control.look(3, redis=DOWN)
    control.detector = OwnTrouble(lambda: control.facts, control.open_ones)
    (decision,) = control.look(1, redis=DOWN)
    assert isinstance(decision, Join)


def test_the_same_facts_are_not_counted_twice():
    control = Control()
    control.look(2, redis=DOWN)
    assert control.detector.examine(Window(), control.now + 5) == []


def traffic_anomaly(upstream="payments"):
    return Anomaly(
        "hard_failure",
        Signal.ERROR_RATE,
        Place(upstream=upstream),
        Severity.P2,
        0.5,
        0.0,
        9.0,
        100,
        NOW,
        NOW,
        "it fails",
    )


def test_trouble_of_traffic_that_ours_explains_is_linked_and_kept_quiet():
    control = Control()
    control.look(3, names=(NameFacts("payments", ("pay.internal",)),))
    (ours,) = control.open_ones()
    (decision,) = WithOurs().decide([traffic_anomaly()], [ours], Topology(), control.now)
    assert ours.id in decision.related
    incident = opened(decision, control.now)
    assert ours.id in why_quiet(incident, [ours, incident], (), (), Topology(), control.now)


def test_trouble_of_traffic_elsewhere_is_neither_linked_nor_taken_in():
    control = Control()
    control.look(3, names=(NameFacts("payments", ("pay.internal",)),), redis=DOWN)
    (decision,) = WithOurs().decide([traffic_anomaly("orders")], control.open_ones(), Topology(), control.now)
    assert isinstance(decision, Open)
    assert decision.related == ()


def test_the_report_says_what_it_means_and_what_to_do():
    control = Control()
    control.look(3, redis=DOWN, limited=LimitedRoutes(local=("orders",)))
    (incident,) = control.open_ones()
    found = report_of.diagnosis(incident, report_of.evidence(incident), control.now)
    assert "every caller may have its burst once more" in found.report.summary
    assert found.report.steps[0].startswith("Run `sentinel doctor`")
    assert not found.report.inconclusive
    assert all(claim.evidence for claim in found.report.claims)
