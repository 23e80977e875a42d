"""What is proposed, what is not, and what people read about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.incident import Signal
from gateway.domain.plan import ActionState, Mode, Outcome, Risk
from gateway.domain.policy import RemediateSettings
from gateway.domain.snapshot import Directive, DirectiveKind
from gateway.remediate import risk_policy
from gateway.remediate.catalogue import CATALOGUE
from gateway.remediate.planner import candidates, chosen
from gateway.remediate.risk_policy import DECISIONS, Decision, assess, decide, objection
from tests.unit.remediate.world import A, B, C, D, World, blaming

if TYPE_CHECKING:
    from gateway.remediate.situation import Plan


def out(target: str, *, source: str = "health", until: float = 9e9, share: float = 0.0) -> Directive:
    return Directive(
        id=f"x-{target}",
        kind=DirectiveKind.EJECT_TARGET,
        upstream="payments",
        target=target,
        share=share,
        issued_at=0.0,
        expires_at=until,
        fence=1,
        source=source,
        reason="",
    )


def failing(*targets: str, world: World | None = None, share: float = 1.0) -> World:
    world = world or World()
    world.run(60)
    world.failing = dict.fromkeys(targets, share)
    world.run(15)
    return world


def planned(world: World, *blamed: str, signal: Signal = Signal.ERROR_RATE, **fields: object) -> Plan:
    return candidates(
        world.incident(signal=signal, **fields),
        blaming(*blamed),
        world.snapshot,
        world.window,
        world.settings,
        world.now,
    )


def test_an_incident_never_acts_on_a_service_it_has_nothing_to_do_with() -> None:
    world = failing(A)
    plan = candidates(
        world.incident(), blaming(A, upstream_name="elsewhere"), world.snapshot, world.window, world.settings, world.now
    )
    assert plan.actions == ()
    assert plan.why_not == ("elsewhere neither calls orders nor is called by it.",)


def test_what_an_earlier_action_dealt_with_is_no_reason_for_another() -> None:
    world = failing(A)
    onset = world.now - 15
    first = planned(world, A).actions[0]
    world.failing = {}
    world.run(20)
    ended = msgspec.structs.replace(
        first, state=ActionState.REVERTED, executed_at=world.now - 20, ended_at=world.now - 5, note="the fault is gone"
    )
    plan = planned(world, A, onset=onset, actions=(ended,))
    assert not plan.actions, "a minute has not passed yet, but what was bad in it is over"
    assert "not clearly worse" in plan.why_not[0]
    world.failing = {A: 1.0}
    world.run(10)
    assert planned(world, A, onset=onset, actions=(ended,)).actions, "what is bad since then is"


def test_one_failing_target_of_two_is_proposed_for_ejection_with_numbers() -> None:
    plan = planned(failing(A), A)
    (action,) = plan.actions
    assert (action.upstream, action.target, action.state, action.risk) == (
        "payments",
        A,
        ActionState.PENDING,
        Risk.SAFE,
    )
    assert "payments then runs on 1 of 2 targets; each takes about 2.0 × its traffic" in action.effect
    assert "150 of 150 (100 %) failed" in action.effect
    assert "0 of 150 (0 %)" in action.effect
    assert "10 min" in action.undo
    assert action.success_signal
    assert action.expires_at == action.created_at + 1800


def test_planning_again_gives_the_same_id_and_no_second_action() -> None:
    world = failing(A)
    first = planned(world, A).actions[0]
    assert planned(world, A).actions[0].id == first.id
    again = planned(world, A, actions=(first,))
    assert again.actions == ()
    assert "already" in again.why_not[0]


def test_a_target_whose_siblings_fail_as_well_stays_in_and_the_reason_is_said() -> None:
    plan = planned(failing(A, B), A)
    assert plan.actions == ()
    assert "not clearly worse" in plan.why_not[0]


def test_a_target_stays_in_when_the_others_could_not_take_over() -> None:
    world = failing(A)
    world.failing = {A: 1.0, B: 0.7}
    world.run(30)
    plan = planned(world, A, onset=world.now - 30)
    assert plan.actions == ()
    assert "cannot take over" in plan.why_not[0]


def test_a_diagnosis_that_the_traffic_does_not_confirm_proposes_nothing() -> None:
    world = failing(A)
    assert planned(world, B).actions == ()


def test_no_hypothesis_means_no_action() -> None:
    world = failing(A)
    plan = planned(world)
    assert plan.actions == ()
    assert plan.why_not == ("No cause stands out, so nothing is proposed.",)


@pytest.mark.parametrize(
    ("blamed", "says"),
    [
        ("10.9.9.9:1", "no configured target"),
        ("", "does not name one target"),
    ],
)
def test_what_is_not_configured_is_never_proposed(blamed: str, says: str) -> None:
    plan = planned(failing(A), blamed)
    assert plan.actions == ()
    assert says in plan.why_not[0]


def test_the_only_target_of_an_upstream_is_never_proposed() -> None:
    plan = planned(failing(A, world=World(A)), A)
    assert plan.actions == ()
    assert "only target" in plan.why_not[0]


def test_health_ejections_count_against_the_cap() -> None:
    world = World(A, B, C)
    world.settings = RemediateSettings(max_ejected=0.5)
    world.board.directives["h"] = out(C)
    plan = planned(failing(A, world=world), A)
    assert plan.actions == ()
    assert "2 of 3 targets of payments would be out" in plan.why_not[0]
    assert "max_ejected allows 50 %" in plan.why_not[0]


def test_a_slow_target_is_told_from_its_quick_siblings() -> None:
    world = World()
    world.run(60)
    world.slow = {A: 1.0}
    world.run(20)
    (action,) = planned(world, A, signal=Signal.LATENCY, onset=world.now - 20).actions
    assert action.watch.signal == Signal.LATENCY
    assert 20_000 < action.watch.slow_us < 60_000
    assert "took longer than" in action.effect


def test_what_did_not_help_is_not_tried_again_in_the_same_incident() -> None:
    world = failing(A)
    before = msgspec.structs.replace(
        planned(world, A).actions[0],
        state=ActionState.REVERTED,
        outcome=Outcome("no_effect", 0.5, 0.5, 50, 0.0, ""),
    )
    plan = planned(world, A, actions=(before,))
    assert plan.actions == ()
    assert "did not help" in plan.why_not[0]


def test_what_helped_before_may_be_proposed_again_under_a_new_id() -> None:
    world = failing(A)
    before = msgspec.structs.replace(
        planned(world, A).actions[0], state=ActionState.REVERTED, outcome=Outcome("helped", 0.5, 0.0, 50, 0.0, "")
    )
    (action,) = planned(world, A, actions=(before,)).actions
    assert action.id != before.id


def test_a_model_orders_the_candidates_and_cannot_add_one() -> None:
    world = failing(A, B, world=World(A, B, C, D))
    world.settings = RemediateSettings(max_ejected=0.75)
    world.run(45)
    plan = planned(world, A, B, onset=world.now - 60)
    first, second = plan.actions
    assert chosen(plan.actions, (second.id, "a-invented", second.id)) == (second, first)
    assert chosen(plan.actions, ()) == plan.actions


@given(text=st.text(max_size=80))
def test_hostile_words_in_a_diagnosis_change_nothing(text: str) -> None:
    neutral = planned(_FAILING, A)
    diagnosis = blaming(A, suggested=(text,))
    hostile = msgspec.structs.replace(
        diagnosis,
        hypotheses=tuple(msgspec.structs.replace(one, statement=text, why=text) for one in diagnosis.hypotheses),
        report=msgspec.structs.replace(diagnosis.report, summary=text, root_cause=text, steps=(text,)),
    )
    plan = candidates(
        _FAILING.incident(title=text), hostile, _FAILING.snapshot, _FAILING.window, _FAILING.settings, _FAILING.now
    )
    assert chosen(plan.actions, hostile.report.suggested_actions) == neutral.actions


_FAILING = failing(A)


@pytest.mark.parametrize(
    ("targets", "already", "risk"),
    [
        ((A, B), (), Risk.SAFE),
        ((A, B, C, D), (B,), Risk.SAFE),
        ((A, B, C, D), (B, C), Risk.MODERATE),
        ((A, B), (B,), Risk.CRITICAL),
        ((A, B, C, D), (B, C, D), Risk.CRITICAL),
    ],
)
def test_risk_follows_the_capacity_that_remains(targets: tuple[str, ...], already: tuple[str, ...], risk: Risk) -> None:
    world = World(*targets)
    world.settings = RemediateSettings(max_ejected=1.0)
    for target in already:
        world.board.directives[target] = out(target)
    action = msgspec.structs.replace(planned(_FAILING, A).actions[0])
    assert assess(action, world.snapshot, world.settings, world.now).risk is risk


def test_a_trial_still_counts_as_out_and_an_ended_directive_does_not() -> None:
    world = World(A, B, C, D)
    action = planned(_FAILING, A).actions[0]
    world.board.directives["t"] = out(B, share=0.1)
    world.board.directives["u"] = out(C, until=world.now - 1)
    assert "2 of 4 targets" in assess(action, world.snapshot, world.settings, world.now).reason


def test_the_actions_own_directive_does_not_count_against_it() -> None:
    world = World(A, B)
    action = msgspec.structs.replace(planned(_FAILING, A).actions[0], directive_id="x-" + A)
    world.board.directives["own"] = out(A)
    assert objection(action, world.snapshot, world.settings, world.now) == ""


def test_a_risk_that_rose_since_the_decision_is_an_objection() -> None:
    world = World(A, B, C, D)
    world.settings = RemediateSettings(max_ejected=1.0)
    action = planned(_FAILING, A).actions[0]
    for target in (B, C):
        world.board.directives[target] = out(target)
    assert "rose from SAFE to MODERATE" in objection(action, world.snapshot, world.settings, world.now)


def test_the_table_of_decisions_is_whole_and_critical_never_runs_by_itself() -> None:
    assert set(DECISIONS) == {(mode, risk) for mode in Mode for risk in Risk}
    assert all(decide(Risk.CRITICAL, mode) is not Decision.RUN for mode in Mode)
    assert all(decide(risk, Mode.OBSERVE) is Decision.OBSERVE for risk in Risk)
    assert decide(Risk.SAFE, Mode.APPROVE) is Decision.RUN
    assert decide(Risk.MODERATE, Mode.APPROVE) is Decision.ASK
    assert decide(Risk.MODERATE, Mode.AUTO) is Decision.RUN


def test_every_kind_of_action_has_a_row_and_a_risk_rank() -> None:
    from gateway.domain.plan import ActionKind

    assert set(CATALOGUE) == set(ActionKind)
    assert set(risk_policy.RANK) == set(Risk)
