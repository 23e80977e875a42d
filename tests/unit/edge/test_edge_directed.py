"""What actions in force do to requests in a worker."""

from __future__ import annotations

import time

import pytest

from gateway.domain.access import AuthMode
from gateway.domain.limits import TenantPlan
from gateway.domain.routing import Split, SplitShare
from gateway.domain.snapshot import Directive, DirectiveKind
from gateway.domain.traffic import ErrorKind
from gateway.metrics import WorkerCounters
from tests.unit.edge.edge_values import PER_CLIENT, exchange, route, snapshot, steps


def order(kind: DirectiveKind, *, lasts: float = 60.0, fence: int = 1, **fields) -> Directive:
    now = time.time()
    given = {"upstream": "orders", "target": "", "share": 0.0, "source": "incident", "reason": "incident in-1"}
    return Directive(id=f"d-{kind}", kind=kind, issued_at=now, expires_at=now + lasts, fence=fence, **(given | fields))


def admit(wired, **about):
    made = exchange(wired, **about)
    return wired.admit(made, lambda outcome: pytest.fail(f"called back with {outcome}")), made


def with_orders(*orders: Directive, routes=(), **changes):
    counters = WorkerCounters()
    wired = steps(snapshot(*(routes or (route(),)), directives=orders, **changes), counters=counters)
    return wired, counters


def test_without_a_directive_about_requests_nothing_is_looked_at():
    wired, _ = with_orders(order(DirectiveKind.EJECT_TARGET, target="127.0.0.1:1"))
    assert wired.runtime.directed is None


def test_a_blocked_client_gets_403_before_it_is_authenticated_and_others_do_not():
    wired, counters = with_orders(
        order(DirectiveKind.BLOCK_CALLER, caller="client 192.0.2.1"), routes=(route(auth=AuthMode.KEY),)
    )
    refusal, _ = admit(wired)
    assert (refusal.status, refusal.kind) == (403, ErrorKind.BLOCKED)
    other, _ = admit(wired, peer="192.0.2.2")
    assert other.status == 401
    assert counters.take() == {"sentinel_directed_total|orders|blocked": 1}


def test_a_limited_client_keeps_its_rate_and_hears_when_to_come_back():
    wired, _ = with_orders(order(DirectiveKind.LIMIT_CALLER, caller="client 192.0.2.1", amount=2.0))
    statuses = [refusal.status if refusal else 200 for refusal, _ in (admit(wired) for _ in range(4))]
    assert statuses[:3] == [200, 200, 429]
    refusal, _ = admit(wired)
    assert refusal.headers == ((b"retry-after", b"1"),)


def test_what_a_limited_client_has_used_up_survives_a_new_snapshot():
    limit = order(DirectiveKind.LIMIT_CALLER, caller="client 192.0.2.1", amount=1.0)
    wired, _ = with_orders(limit)
    assert admit(wired)[0] is None
    wired.apply(snapshot(route(), directives=(limit,), revision=2))
    assert admit(wired)[0].status == 429


def test_shedding_is_the_same_for_the_same_request_and_takes_about_the_share_ordered():
    wired, counters = with_orders(order(DirectiveKind.SHED_LOAD, amount=0.3))
    headers = [[(b"host", b"a"), (b"x-request-id", b"request-%d" % number)] for number in range(400)]
    first = [admit(wired, headers=each)[0] for each in headers]
    shed = [refusal for refusal in first if refusal is not None]
    assert 80 <= len(shed) <= 160
    assert {(refusal.status, refusal.kind) for refusal in shed} == {(503, ErrorKind.SHED)}
    assert [admit(wired, headers=each)[0] for each in headers] == first
    assert counters.take()["sentinel_directed_total|orders|shed"] == 2 * len(shed)


def test_callers_without_a_plan_are_shed_before_those_who_pay():
    cheap = order(DirectiveKind.SHED_LOAD, amount=0.5, by_plan=(("", 1.0), ("gold", 0.0)))
    wired, _ = with_orders(cheap, plans=(TenantPlan("gold", ()),), tenant_plans={"acme": "gold"})
    assert admit(wired)[0].status == 503


def test_an_open_circuit_answers_all_and_on_trial_lets_a_share_through():
    wired, _ = with_orders(order(DirectiveKind.OPEN_CIRCUIT))
    assert all(admit(wired)[0].kind is ErrorKind.CIRCUIT_OPEN for _ in range(20))
    wired.apply(snapshot(route(), directives=(order(DirectiveKind.OPEN_CIRCUIT, share=0.5),), revision=2))
    through = sum(admit(wired)[0] is None for _ in range(200))
    assert 60 <= through <= 140


def test_tightened_limits_hold_and_are_given_back_with_the_directive():
    limits = (PER_CLIENT,)  # 1/s burst 2
    wired, _ = with_orders(
        order(DirectiveKind.TIGHTEN_LIMIT, route="orders", amount=0.5), routes=(route(limits=limits),)
    )
    outcomes = [admit(wired) for _ in range(2)]
    assert [refusal.status if refusal else 200 for refusal, _ in outcomes] == [200, 429]
    wired.apply(snapshot(route(limits=limits), revision=2))
    assert admit(wired)[1].limits.rules[0] == PER_CLIENT


def test_a_split_routes_requests_go_past_the_upstream_that_is_spared():
    split = Split((SplitShare("orders", 90), SplitShare("orders-v2", 10)))
    wired, counters = with_orders(
        order(DirectiveKind.SHIFT_WEIGHT, route="orders", upstream="orders-v2"), routes=(route(split=split),)
    )
    assert {admit(wired)[1].upstream for _ in range(50)} == {"orders"}
    assert counters.take()["sentinel_directed_total|orders|shifted"] == 5


def test_a_directive_ends_by_itself_without_a_new_snapshot():
    wired, _ = with_orders(order(DirectiveKind.BLOCK_CALLER, caller="client 192.0.2.1", lasts=0.05))
    time.sleep(0.1)
    assert admit(wired)[0] is None


def test_a_directive_of_a_replaced_leader_is_not_obeyed():
    wired, _ = with_orders(order(DirectiveKind.OPEN_CIRCUIT, fence=7))
    stale = order(DirectiveKind.BLOCK_CALLER, caller="client 192.0.2.1", fence=6)
    wired.apply(snapshot(route(), directives=(stale,), revision=2))
    assert admit(wired)[0] is None
