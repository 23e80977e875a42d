"""Past incidents are found by the shape of what happened, and teach what a score is worth."""

from __future__ import annotations

import msgspec
import pytest

from gateway.diagnose.memory import Calibration, Past, calibrated, fingerprint, like, remember
from gateway.domain.diagnosis import Diagnosis
from gateway.domain.plan import Outcome
from tests.admin_fakes import some_actions, some_diagnosis
from tests.unit.diagnose.story import P1, P2, diagnosed, tell


def incident(target=P1, errors=0.9, number="1"):
    told = tell(lambda flow: flow._replace(errors=errors) if flow.target == target else flow)
    evidence, hypotheses = diagnosed(told)
    found = Diagnosis(1.0, evidence, hypotheses, some_diagnosis().report)
    return msgspec.structs.replace(told.incidents[0], id=f"in-{number}", diagnosis=found, closed_at=5.0)


def with_outcome(one, verdict):
    action = msgspec.structs.replace(some_actions()[0], outcome=Outcome(verdict, 0.9, 0.0, 100, 1.0, "so"))
    return msgspec.structs.replace(one, actions=(action,))


def test_the_same_fault_at_another_target_has_the_same_fingerprint():
    assert fingerprint(incident(P1)) == fingerprint(incident(P2))


def test_an_incident_like_this_one_is_found_with_what_helped_then():
    past = remember(with_outcome(incident(P2, number="0"), "helped"))
    (found,) = like(incident(P1), [past])
    assert found.share == 1.0
    assert found.past.worked == ("eject_target",)


def test_itself_and_what_is_of_another_kind_are_not_found():
    one = incident()
    other = Past("in-9", 1.0, frozenset({"signal=traffic", "shows=route"}), "t", "", 0.0)
    assert like(one, [remember(one), other]) == ()


def test_an_untried_ranking_keeps_its_scores():
    assert [Calibration()(score) for score in (0.0, 0.33, 0.9, 1.0)] == pytest.approx([0.0, 0.33, 0.9, 1.0])
    assert calibrated([])(0.73) == pytest.approx(0.73)


def past(score, *, right):
    return Past("x", 1.0, frozenset(), "t", "target", score, ("a",) if right else (), () if right else ("a",))


def test_a_ranking_that_was_often_wrong_is_worth_less_and_one_that_was_right_more():
    wrong = calibrated([past(0.9, right=False)] * 10)
    right = calibrated([past(0.7, right=True)] * 10)
    assert wrong(0.9) < 0.6
    assert right(0.7) > 0.8
    assert wrong.outcomes == 10


def test_a_higher_score_never_means_less():
    learnt = calibrated([past(0.9, right=False)] * 50 + [past(0.3, right=True)] * 50)
    assert list(learnt.shares) == sorted(learnt.shares)
    values = [learnt(at / 100) for at in range(101)]
    assert all(0 <= value <= 1 for value in values)


def test_incidents_nobody_acted_on_teach_nothing():
    assert calibrated([Past("x", 1.0, frozenset(), "t", "", 0.9)] * 100).outcomes == 0
