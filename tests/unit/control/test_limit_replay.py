from __future__ import annotations

import random

import pytest

from gateway.control.limit_replay import LimitTrial
from gateway.control.replays import lines
from gateway.domain.limits import ConcurrencyLimit, Limit, LimitMode, Quota, Scope
from gateway.domain.replay import BurstEffect, Passed
from gateway.domain.routing import Route
from gateway.edge.periods import EPOCH_S, TICKS_PER_S
from gateway.edge.token_bucket import bucket, charge

T = 1_790_000_000.0
ROUTE = Route(name="orders", path="/orders/*", upstream="orders")


def limit(rate=5.0, burst=5, scope=Scope.SUBJECT, window_s=1, mode=LimitMode.ENFORCE):
    return Limit(f"route.orders.{scope}.s", rate, burst, scope, window_s, mode)


def asked(at, subject="ana", *, took_s=0.0, tenant="acme", client="10.0.0.1", refused=False):
    return Passed(T + at, T + at + took_s, tenant, subject, client, refused)


def tried(rule, *requests):
    trial = LimitTrial(rule, ROUTE)
    for one in sorted(requests, key=lambda one: one.ended_at):
        trial.feed(one)
    trial.finish()
    return trial


def test_a_burst_passes_and_what_follows_too_soon_is_rejected():
    trial = tried(limit(rate=1, burst=3), *(asked(0.01 * number) for number in range(10)))
    assert (trial.requests, trial.rejected, trial.callers_rejected) == (10, 7, 1)


def test_callers_are_counted_apart_and_the_worst_stands_first():
    calm = [asked(number, "bob") for number in range(5)]
    hasty = [asked(0.01 * number, "ana") for number in range(20)]
    top = tried(limit(rate=1, burst=2), *calm, *hasty).top()
    assert [(one.caller, one.rejected) for one in top] == [("subject ana of acme", 18), ("subject bob of acme", 0)]
    assert (top[0].peak, top[0].first_rejected_at) == (20, T + 0.02)


def test_who_has_no_identity_is_counted_by_address():
    trial = tried(limit(rate=1, burst=1), asked(0, "", client="10.0.0.1"), asked(0, "", client="10.0.0.2"))
    assert trial.rejected == 0
    assert {one.caller for one in trial.top()} == {"client 10.0.0.1", "client 10.0.0.2"}


def test_a_request_counts_when_it_began_not_when_it_ended():
    slow_then_quick = [asked(0, took_s=5.0), asked(1.5), asked(3)]
    assert tried(limit(rate=1, burst=1), *slow_then_quick).rejected == 0


def test_decisions_are_those_of_the_edge_bucket_step_by_step():
    chance = random.Random(4)
    times, now = [], 0.0
    for _ in range(2000):
        now += chance.choice((0.0, 0.001, 0.05, 0.2, 1.0))
        times.append(now)
    rule, state, refused = limit(rate=7, burst=4), None, 0
    for at in times:
        tick = int((T + at - EPOCH_S) * TICKS_PER_S)
        (state,), answers = charge([state], [bucket(rule.rate, rule.burst)], tick)
        refused += answers[1] > 0
    assert 0 < refused < 2000
    assert tried(rule, *(asked(at) for at in times)).rejected == refused


def test_the_burst_for_all_is_the_smallest_that_rejects_nobody():
    requests = [asked(0.1 * number) for number in range(30)]
    needed = tried(limit(rate=2, burst=5), *requests).burst_for_all()
    assert tried(limit(rate=2, burst=needed), *requests).rejected == 0
    assert tried(limit(rate=2, burst=needed - 1), *requests).rejected > 0


def test_other_bursts_stand_beside_the_proposed_one():
    trial = tried(limit(rate=1, burst=4), *(asked(0.01 * number) for number in range(10)))
    assert trial.bursts() == (BurstEffect(2, 8, 1), BurstEffect(4, 6, 1), BurstEffect(8, 2, 1), BurstEffect(16, 0, 0))


def test_a_quota_is_used_up_and_begins_anew_with_the_next_day():
    quota = Quota("route.orders.tenant.quota-day", 3, "day", Scope.TENANT)
    trial = tried(quota, *(asked(60 * number) for number in range(5)), asked(86_400))
    assert (trial.rejected, trial.top()[0].caller, trial.burst_for_all()) == (2, "tenant acme", None)


def test_what_is_under_way_at_once_is_counted_from_beginning_to_end():
    rule = ConcurrencyLimit("route.orders.route.at-once", 2, Scope.ROUTE)
    trial = tried(rule, asked(0, took_s=5), asked(1, took_s=5), asked(2, took_s=1), asked(5.5, took_s=1))
    assert (trial.rejected, trial.top()[0].caller) == (1, "everybody")


def test_what_was_rejected_at_the_time_is_told_apart():
    assert tried(limit(), asked(0), asked(1, refused=True)).already_rejected == 1


def test_a_request_that_took_minutes_is_taken_late_and_said_to_be():
    requests = [asked(0, took_s=600), *(asked(at) for at in range(1, 700, 60))]
    trial = tried(limit(rate=1, burst=1), *requests)
    assert (trial.late, trial.requests) == (1, len(requests))


@pytest.mark.parametrize(
    ("known", "shadow", "enforce"),
    [
        pytest.param(
            (),
            'limit = [{ limit = "5/s burst 5 per subject", mode = "shadow" }]',
            'limit = ["5/s burst 5 per subject"]',
            id="a-first-limit",
        ),
        pytest.param(
            (limit(rate=9, burst=9), limit(rate=1, burst=60, scope=Scope.TENANT, window_s=60)),
            'limit = ["9/s burst 9 per subject", "60/min burst 60 per tenant", '
            '{ limit = "5/s burst 5 per subject", mode = "shadow" }]',
            'limit = ["60/min burst 60 per tenant", "5/s burst 5 per subject"]',
            id="in-place-of-one-of-its-kind",
        ),
    ],
)
def test_the_lines_try_it_beside_the_limits_in_force_and_then_put_it_in_their_place(known, shadow, enforce):
    route = Route(name="orders", path="/orders/*", upstream="orders", limits=known)
    assert lines(route, limit()) == (shadow, enforce)
