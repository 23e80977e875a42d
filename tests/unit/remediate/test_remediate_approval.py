"""Approvals are single-use, timely, by somebody who may, and bound to the exact action."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.identity import Actor, Role
from gateway.domain.plan import Action, ActionKind, ActionState, Risk
from gateway.errors import ConflictError, ForbiddenError
from gateway.remediate.approval import approve, approve_by_policy, expire, reject

ANA = Actor(kind="user", name="ana@example.org", role=Role.OPERATOR)
BEN = Actor(kind="user", name="ben@example.org", role=Role.ADMIN)

PENDING = Action(
    id="a-1",
    incident_id="inc-1",
    kind=ActionKind.EJECT_TARGET,
    upstream="payments",
    target="10.0.0.1:1",
    ttl_s=600.0,
    risk=Risk.MODERATE,
    risk_reason="",
    effect="Take 10.0.0.1:1 out of payments for 10 min.",
    undo="",
    success_signal="",
    state=ActionState.PENDING,
    created_at=100.0,
    expires_at=1900.0,
)


def test_an_operator_approves_what_was_shown() -> None:
    approved = approve(PENDING, ANA, PENDING.fingerprint, 150.0)
    assert (approved.state, approved.decided_by, approved.decided_at) == (
        ActionState.APPROVED,
        "user ana@example.org",
        150.0,
    )


def test_the_second_approval_is_refused_and_names_who_was_first() -> None:
    approved = approve(PENDING, ANA, PENDING.fingerprint, 150.0)
    with pytest.raises(ConflictError, match=r"already APPROVED by user ana@example\.org"):
        approve(approved, BEN, approved.fingerprint, 151.0)


def test_a_rejected_action_cannot_be_approved() -> None:
    rejected = reject(PENDING, ANA, "not during the sale", 150.0)
    assert (rejected.state, rejected.note, rejected.ended_at) == (ActionState.REJECTED, "not during the sale", 150.0)
    with pytest.raises(ConflictError, match="already REJECTED by user ana"):
        approve(rejected, BEN, rejected.fingerprint, 151.0)


@pytest.mark.parametrize(
    "change",
    [
        {"upstream": "orders"},
        {"target": "10.0.0.2:1"},
        {"ttl_s": 6000.0},
        {"risk": Risk.CRITICAL},
        {"incident_id": "inc-2"},
        {"tenant": "acme"},
        {"expires_at": 2000.0},
        {"effect": "Take everything out."},
    ],
)
def test_an_approval_of_another_action_is_refused(change: dict[str, object]) -> None:
    changed = msgspec.structs.replace(PENDING, **change)
    with pytest.raises(ConflictError, match="not what was shown"):
        approve(changed, ANA, PENDING.fingerprint, 150.0)


def test_a_garbled_quote_is_refused_and_does_not_raise_something_else() -> None:
    with pytest.raises(ConflictError):
        approve(PENDING, ANA, "é" * 32, 150.0)


def test_nobody_approves_after_the_expiry() -> None:
    with pytest.raises(ConflictError, match="lapsed"):
        approve(PENDING, ANA, PENDING.fingerprint, 1900.0)


def test_a_viewer_may_not_decide() -> None:
    viewer = Actor(kind="user", name="vic", role=Role.VIEWER)
    for act in (
        lambda: approve(PENDING, viewer, PENDING.fingerprint, 150.0),
        lambda: reject(PENDING, viewer, "", 150.0),
    ):
        with pytest.raises(ForbiddenError):
            act()


def test_a_tenants_operator_decides_only_for_the_own_tenant() -> None:
    tenant = Actor(kind="user", name="tia", role=Role.OPERATOR, tenant="acme")
    with pytest.raises(ForbiddenError):
        approve(PENDING, tenant, PENDING.fingerprint, 150.0)
    own = msgspec.structs.replace(PENDING, tenant="acme")
    assert approve(own, tenant, own.fingerprint, 150.0).state is ActionState.APPROVED


def test_the_policy_approves_in_the_name_of_the_system() -> None:
    assert approve_by_policy(PENDING, 150.0).decided_by == "system sentinel"


def test_undecided_actions_lapse_and_others_are_left_alone() -> None:
    assert expire(PENDING, 1899.0) is PENDING
    lapsed = expire(PENDING, 1900.0)
    assert (lapsed.state, lapsed.note) == (ActionState.EXPIRED, "nobody decided in time")
    assert expire(lapsed, 5000.0) is lapsed
    executed = msgspec.structs.replace(PENDING, state=ActionState.EXECUTED)
    assert expire(executed, 5000.0) is executed


def test_closing_the_incident_lapses_a_pending_action_at_once() -> None:
    assert expire(PENDING, 150.0, "incident closed").note == "incident closed"


def test_the_fingerprint_does_not_move_with_what_nobody_decides_about() -> None:
    assert PENDING.fingerprint == msgspec.structs.replace(PENDING, note="x", state=ActionState.APPROVED).fingerprint
