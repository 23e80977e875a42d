"""A run is judged by what was written down before it: the cause, the right action, and the goals."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.diagnosis import Confidence, Diagnosis, Hypothesis, Report
from gateway.domain.incident import Incident, IncidentState, Place, Severity, Signal
from gateway.domain.plan import Action, ActionKind, ActionState, Outcome, Risk
from gateway.domain.topology import Topology
from gateway.gameday.catalogue import CATALOGUE
from gateway.gameday.faults import Fault, Right
from gateway.gameday.judging import WEEK_S, Result, goals, judge, recovered_s, score
from gateway.gameday.play import Played
from gateway.gameday.world import Felt

TOPOLOGY = Topology(
    upstream_of={"orders": "orders", "payments": "payments", "items": "catalog", "search": "catalog"},
    depends_on={"orders": ("payments", "catalog"), "payments": (), "catalog": ()},
    targets={"payments": ("10.20.2.1:9002", "10.20.2.2:9002")},
)
ILL = "10.20.2.1:9002"
FAULT = Fault(
    kind="target-pool",
    said="it is ill",
    began=1000.0,
    ended=1300.0,
    causes=(Place(upstream="payments", target=ILL),),
    right=(Right(ActionKind.EJECT_TARGET, "payments", ILL),),
)
REPORT = Report("rules", "", "", "", False, Confidence.HIGH, 0.9, (), (), ())


def incident(opened_at: float = 1008.0, upstream: str = "payments", *actions: Action) -> Incident:
    return Incident(
        id=f"in-{upstream}-{opened_at}",
        dedup_key=f"{upstream}:error_rate",
        state=IncidentState.CLOSED,
        severity=Severity.P1,
        signal=Signal.ERROR_RATE,
        place=Place(upstream=upstream),
        title=f"{upstream} fails",
        opened_at=opened_at,
        onset=opened_at,
        updated_at=opened_at,
        actions=actions,
    )


def action(target: str = ILL, verdict: str = "helped") -> Action:
    return Action(
        id=f"a-{target}",
        incident_id="in",
        kind=ActionKind.EJECT_TARGET,
        upstream="payments",
        target=target,
        ttl_s=600.0,
        risk=Risk.SAFE,
        risk_reason="",
        effect="",
        undo="",
        success_signal="",
        state=ActionState.REVERTED,
        created_at=1010.0,
        expires_at=2000.0,
        outcome=Outcome(verdict, 0.5, 0.0, 100, 1050.0, ""),
    )


def named(**place: str) -> Hypothesis:
    return Hypothesis(id="h", statement=str(place), score=0.9, **place)


def judged(*incidents: Incident, hypotheses: tuple[Hypothesis, ...] = (), fault: Fault = FAULT) -> Result:
    read = {one.id: Diagnosis(1060.0, (), hypotheses, REPORT) for one in incidents}
    return judge(0, fault, Played(incidents, read, {}, fault.began, 1400.0), TOPOLOGY)


def test_the_first_incident_about_it_counts_and_others_are_strays():
    result = judged(incident(1020.0), incident(1008.0), incident(1015.0, "catalog"))
    assert result.detected_s == 8.0
    assert result.strays == ("catalog fails (+15 s)",)


def test_an_incident_at_a_caller_is_about_it_as_well():
    assert judged(incident(1009.0, "orders")).detected_s == 9.0


@pytest.mark.parametrize("opened_at", [990.0, 1400.0], ids=["before", "long after"])
def test_what_opened_at_another_time_is_not_about_it(opened_at):
    assert judged(incident(opened_at)).detected_s is None


def test_a_cause_is_right_if_it_says_neither_more_nor_less():
    exact, whole, sibling = (
        named(upstream="payments", target=ILL),
        named(upstream="payments"),
        named(upstream="payments", target="10.20.2.2:9002"),
    )
    assert judged(incident(), hypotheses=(exact,)).cause_first
    for wrong in (whole, sibling, named(upstream="payments", target=ILL, tenant="acme")):
        assert not judged(incident(), hypotheses=(wrong,)).cause_in_three
    third = judged(incident(), hypotheses=(whole, sibling, exact))
    assert (third.cause_first, third.cause_in_three) == (False, True)


def test_the_only_route_of_a_service_is_another_name_for_it():
    service = msgspec.structs.replace(FAULT, causes=(Place(upstream="payments"),))
    route = msgspec.structs.replace(FAULT, causes=(Place(upstream="catalog", route="items"),))
    assert judged(incident(), hypotheses=(named(upstream="payments", route="payments"),), fault=service).cause_first
    assert not judged(
        incident(1008.0, "catalog"), hypotheses=(named(upstream="catalog", route="search"),), fault=route
    ).cause_first


def test_the_right_action_is_the_one_written_down_and_no_other_beside_it():
    assert judged(incident(1008.0, "payments", action())).right
    assert not judged(incident()).right
    both = judged(incident(1008.0, "payments", action(), action("10.20.2.2:9002", "worse")))
    assert (both.right, both.wrong, both.harmful) == (False, 1, 1)


def test_leaving_it_alone_is_right_where_a_person_has_to_act():
    told = msgspec.structs.replace(FAULT, right=(Right(),))
    assert judged(incident(), fault=told).right
    assert not judged(incident(1008.0, "payments", action()), fault=told).right
    assert not judged(fault=told).right, "nobody was told"


def test_a_health_check_that_was_faster_than_an_incident_counts_where_that_was_written_down():
    either = msgspec.structs.replace(FAULT, right=(*FAULT.right, Right()))
    played = Played((), {}, {}, FAULT.began, 1400.0, {ILL: 1014.0})
    result = judge(0, either, played, TOPOLOGY)
    assert (result.detected_s, result.cause_first, result.right) == (14.0, True, True)
    assert judge(0, FAULT, played, TOPOLOGY).detected_s is None
    other = Played((), {}, {}, FAULT.began, 1400.0, {"10.20.2.2:9002": 1014.0})
    assert judge(0, either, other, TOPOLOGY).detected_s is None


def hurt(*spans: tuple[int, int, int]) -> dict[int, Felt]:
    felt = {}
    for start, end, count in spans:
        for at in range(start, end):
            felt[at] = Felt()
            felt[at].hurt = count
    return felt


def test_callers_are_helped_when_little_is_left_and_stays_so():
    assert recovered_s(hurt((1000, 1030, 10), (1030, 1300, 0)), 1000.0, 1300.0) == pytest.approx(30, abs=8)
    assert recovered_s(hurt((1000, 1300, 10)), 1000.0, 1300.0) is None
    trials = hurt((1000, 1030, 10), (1030, 1300, 0), (1100, 1104, 5))
    assert recovered_s(trials, 1000.0, 1300.0) == pytest.approx(30, abs=8)
    back = hurt((1000, 1030, 10), (1030, 1060, 0), (1060, 1300, 10))
    assert recovered_s(back, 1000.0, 1300.0) is None


def result(**changes: object) -> Result:
    return msgspec.structs.replace(
        judged(incident(1008.0, "payments", action()), hypotheses=(named(upstream="payments", target=ILL),)), **changes
    )


def test_goals_are_met_or_missed_by_the_figures():
    good = [result() for _ in range(100)]
    assert all(goal.met for goal in goals(good, 0, WEEK_S))
    missed = [goal.name for goal in goals([*good[:-3], *[result(detected_s=None, cause_first=False)] * 3], 2, WEEK_S)]
    met = {goal.name: goal.met for goal in goals([*good[:-3], *[result(detected_s=None)] * 3], 2, WEEK_S)}
    assert "false alarms a quiet week" in missed
    assert not met["detected"]
    assert not met["false alarms a quiet week"]
    assert met["right action"]


def test_slow_detection_of_hard_faults_misses_a_goal_whatever_the_others_do():
    found = {goal.name: goal.met for goal in goals([result(detected_s=16.0)] * 9 + [result(hard=False)] * 30, 0, 0.0)}
    assert not found["median time to detect, hard faults"]
    assert "false alarms a quiet week" not in found, "nothing quiet was played"


def test_figures_without_runs_say_nothing():
    assert score([]).detected is None
    assert goals([], 0, 0.0) == ()


def test_there_are_at_least_fifteen_faults_and_each_says_why_its_answer_is_right():
    assert len(CATALOGUE) >= 15
    assert len({kind.name for kind in CATALOGUE}) == len(CATALOGUE)
    assert all(kind.why and kind.right for kind in CATALOGUE)
    kinds = {str(kind) for kind in ActionKind} | {"tell a person"}
    assert {right for kind in CATALOGUE for right in kind.right} <= kinds
