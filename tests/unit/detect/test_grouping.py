"""One disturbance is one incident."""

from __future__ import annotations

import msgspec

from gateway.detect.grouping import Grouper, Join, Open, Suppress
from gateway.detect.recovery import CALM_S, recovered
from gateway.domain.incident import Anomaly, Incident, IncidentState, Place, Severity, Signal
from gateway.domain.topology import Topology
from gateway.domain.window import Window

TOPOLOGY = Topology(
    upstream_of={"orders": "orders", "payments": "payments", "search": "search"},
    depends_on={"orders": ("payments",), "payments": ("bank",), "search": ()},
)
NOW = 1_700_000_100.0


def anomaly(place, *, signal=Signal.ERROR_RATE, severity=Severity.P2, onset=NOW - 10, observed=0.5, detector="d"):
    return Anomaly(detector, signal, place, severity, observed, 0.0, 12.0, 100, onset, NOW, "because")


def incident(place, *, identifier="inc-1", onset=NOW - 60, severity=Severity.P2, closed_at=None, signal="error_rate"):
    return Incident(
        id=identifier,
        dedup_key=f"{place.upstream}:{signal}",
        state=IncidentState.CLOSED if closed_at else IncidentState.OPEN,
        severity=severity,
        signal=Signal(signal),
        place=place,
        title="",
        opened_at=onset,
        onset=onset,
        updated_at=onset,
        closed_at=closed_at,
        anomalies=(anomaly(place, onset=onset),),
    )


def decide(anomalies, incidents=()):
    return Grouper(1800).decide(anomalies, incidents, TOPOLOGY, NOW)


def test_route_upstream_and_target_of_one_service_open_one_incident_at_the_target():
    bad = Place(upstream="payments", target="p1")
    (opening,) = decide([anomaly(Place(route="payments")), anomaly(Place(upstream="payments")), anomaly(bad)])
    assert isinstance(opening, Open)
    assert opening.place == bad
    assert len(opening.anomalies) == 3


def test_a_caller_is_part_of_its_callees_disturbance_and_the_key_names_the_callee():
    (opening,) = decide([anomaly(Place(upstream="orders"), onset=NOW - 15), anomaly(Place(upstream="payments"))])
    assert isinstance(opening, Open)
    assert opening.dedup_key == "payments:error_rate"
    assert opening.onset == NOW - 15
    assert "orders calls payments" in opening.why


def test_a_caller_over_two_hops_belongs_to_the_same_disturbance():
    (opening,) = decide([anomaly(Place(upstream="orders")), anomaly(Place(upstream="bank"))])
    assert opening.dedup_key == "bank:error_rate"


def test_unrelated_services_open_two_incidents():
    decisions = decide([anomaly(Place(upstream="search")), anomaly(Place(upstream="payments"))])
    assert {decision.dedup_key for decision in decisions} == {"search:error_rate", "payments:error_rate"}


def test_a_change_of_traffic_at_the_callee_explains_no_failing_caller():
    decisions = decide([anomaly(Place(upstream="orders")), anomaly(Place(upstream="payments"), signal=Signal.TRAFFIC)])
    assert {decision.dedup_key for decision in decisions} == {"orders:error_rate", "payments:traffic"}


def test_the_gravest_finding_gives_the_severity():
    (opening,) = decide(
        [
            anomaly(Place(upstream="payments"), severity=Severity.P3),
            anomaly(Place(upstream="payments", target="p1"), severity=Severity.P1),
        ]
    )
    assert opening.severity is Severity.P1


def test_findings_at_the_same_upstream_join_the_open_incident_whatever_the_signal():
    (join,) = decide([anomaly(Place(route="payments"), signal=Signal.LATENCY)], [incident(Place(upstream="payments"))])
    assert isinstance(join, Join)
    assert join.incident_id == "inc-1"


def test_a_callee_that_breaks_seconds_later_joins_the_incident_of_its_caller():
    (join,) = decide([anomaly(Place(upstream="payments"))], [incident(Place(upstream="orders"), onset=NOW - 20)])
    assert isinstance(join, Join)
    assert join.why == "orders calls payments, and both went wrong within 10 s"


def test_a_callee_that_breaks_much_later_is_a_disturbance_of_its_own():
    (opening,) = decide([anomaly(Place(upstream="payments"))], [incident(Place(upstream="orders"), onset=NOW - 900)])
    assert isinstance(opening, Open)


def test_a_closed_incident_absorbs_nothing_and_within_the_cooldown_the_same_is_kept_quiet():
    closed = incident(Place(upstream="payments"), onset=NOW - 600, closed_at=NOW - 100)
    (decision,) = decide([anomaly(Place(upstream="payments"))], [closed])
    assert isinstance(decision, Suppress)
    assert decision.incident_id == "inc-1"
    assert "100 s ago" in decision.why


def test_what_creeps_opens_again_within_the_cooldown_once_it_is_twice_as_slow():
    place = Place(upstream="payments", target="p1")
    before = incident(place, onset=NOW - 600, closed_at=NOW - 100, signal="latency")
    before = msgspec.structs.replace(before, anomalies=(anomaly(place, signal=Signal.LATENCY, observed=100_000.0),))

    def decided(observed):
        return decide([anomaly(place, signal=Signal.LATENCY, observed=observed)], [before])[0]

    assert isinstance(decided(190_000.0), Suppress)
    assert isinstance(opened := decided(200_000.0), Open)
    assert "twice as slow" in opened.why


def test_after_the_cooldown_the_same_opens_again():
    closed = incident(Place(upstream="payments"), onset=NOW - 9000, closed_at=NOW - 1801)
    assert isinstance(decide([anomaly(Place(upstream="payments"))], [closed])[0], Open)


def test_within_the_cooldown_a_graver_one_opens():
    closed = incident(Place(upstream="payments"), severity=Severity.P3, closed_at=NOW - 100)
    (opening,) = decide([anomaly(Place(upstream="payments"), severity=Severity.P2)], [closed])
    assert isinstance(opening, Open)
    assert "it is P2 now" in opening.why


def test_a_new_outage_after_the_close_opens_although_it_is_no_graver():
    closed = incident(Place(upstream="payments"), severity=Severity.P1, closed_at=NOW - 300)
    (opening,) = decide([anomaly(Place(upstream="payments"), severity=Severity.P1, onset=NOW - 10)], [closed])
    assert isinstance(opening, Open)


def test_an_outage_a_person_closed_while_it_went_on_stays_quiet():
    closed = incident(Place(upstream="payments"), severity=Severity.P1, onset=NOW - 400, closed_at=NOW - 30)
    (decision,) = decide([anomaly(Place(upstream="payments"), severity=Severity.P1, onset=NOW - 60)], [closed])
    assert isinstance(decision, Suppress)


def test_another_signal_is_another_key():
    closed = incident(Place(upstream="payments"), closed_at=NOW - 100)
    assert isinstance(decide([anomaly(Place(upstream="payments"), signal=Signal.LATENCY)], [closed])[0], Open)


def test_the_order_of_findings_does_not_matter():
    found = [
        anomaly(Place(upstream="orders")),
        anomaly(Place(upstream="payments", target="p1")),
        anomaly(Place(upstream="search")),
    ]
    keys = {decision.dedup_key for decision in decide(found)}
    assert (
        keys == {decision.dedup_key for decision in decide(found[::-1])} == {"payments:error_rate", "search:error_rate"}
    )


def test_a_cycle_of_calls_still_makes_one_incident():
    cycle = Topology(depends_on={"a": ("b",), "b": ("a",)})
    found = [anomaly(Place(upstream="a"), onset=NOW - 20), anomaly(Place(upstream="b"), onset=NOW - 10)]
    assert len(Grouper(1800).decide(found, [], cycle, NOW)) == 1


def test_nothing_found_decides_nothing():
    assert decide([], [incident(Place(upstream="payments"))]) == []


def test_a_target_alone_is_known_by_its_upstream():
    topology = Topology(targets={"pay": ("p1", "p2")})
    assert topology.upstream_at(Place(target="p2")) == "pay"
    assert topology.upstream_at(Place(target="p9")) == ""
    assert topology.upstream_at(Place(route="unknown")) == ""


def closed_again(times, *, signal="error_rate"):
    return [
        incident(
            Place(upstream="payments"),
            identifier=f"inc-{number}",
            severity=Severity.P1,
            closed_at=NOW - 1000 + 300 * number,
            signal=signal,
        )
        for number in range(times)
    ]


def test_what_opens_a_third_time_within_the_cooldown_flaps_and_is_one_incident_from_then_on():
    found = [anomaly(Place(upstream="payments"), severity=Severity.P1)]
    assert not decide(found, closed_again(1))[0].flapping
    (opening,) = decide(found, closed_again(2))
    assert opening.flapping
    assert opening.title.startswith("Flapping: ")
    assert "it came 3 times" in opening.why


def test_a_flapping_incident_closes_only_after_a_long_calm():
    flapping = msgspec.structs.replace(incident(Place(upstream="payments")), flapping=True, last_anomaly_at=NOW)
    assert not recovered(flapping, Window(), NOW + CALM_S - 1).over
    assert recovered(flapping, Window(), NOW + CALM_S + 1).over


def test_another_signal_at_the_same_place_is_linked_to_what_was_closed_a_moment_ago():
    (opening,) = decide([anomaly(Place(upstream="payments"))], closed_again(1, signal="latency"))
    assert (opening.related, opening.flapping) == (("inc-0",), False)


def test_a_callee_that_breaks_much_later_is_linked_to_the_incident_of_its_caller_without_joining_it():
    (opening,) = decide([anomaly(Place(upstream="payments"))], [incident(Place(upstream="orders"), onset=NOW - 900)])
    assert isinstance(opening, Open)
    assert opening.related == ("inc-1",)


def test_an_unrelated_open_incident_is_not_linked():
    (opening,) = decide([anomaly(Place(upstream="search"))], [incident(Place(upstream="payments"), onset=NOW - 900)])
    assert opening.related == ()


def test_a_budget_spent_by_an_incident_that_was_closed_opens_no_second_one():
    spent = incident(Place(upstream="payments"), onset=NOW - 600, closed_at=NOW - 100)
    found = anomaly(Place(upstream="payments"), signal=Signal.BUDGET, severity=Severity.P1, onset=NOW - 600)
    (decision,) = decide([found], [spent])
    assert isinstance(decision, Suppress)
    (fresh,) = decide([anomaly(Place(upstream="payments"), signal=Signal.BUDGET, onset=NOW - 50)], [spent])
    assert isinstance(fresh, Open)


def test_a_service_that_is_asked_less_because_its_caller_fails_is_kept_quiet():
    shop = Topology(
        upstream_of={"payments": "payments", "search": "search"},
        depends_on={"orders": ("payments", "catalog"), "payments": (), "catalog": (), "search": ()},
    )

    def decided(place, signal=Signal.TRAFFIC, observed=1.0):
        found = msgspec.structs.replace(anomaly(place, signal=signal, observed=observed), expected=8.0)
        return Grouper(1800).decide([found], [incident(Place(upstream="catalog"), onset=NOW - 900)], shop, NOW)

    (kept,) = decided(Place(route="payments"))
    assert isinstance(kept, Suppress)
    assert "orders would call payments" in kept.why
    assert isinstance(decided(Place(route="search"))[0], Open), "nobody who calls it is hurt"
    assert isinstance(decided(Place(route="payments"), observed=20.0)[0], Open), "it is asked more, not less"
    assert isinstance(decided(Place(route="payments"), Signal.ERROR_RATE, 0.5)[0], Open), "it fails itself"
