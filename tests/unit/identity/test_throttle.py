from __future__ import annotations

from gateway.errors import TooManyAttemptsError
from gateway.identity.throttle import ACCOUNT, ADDRESS, FORGET_AFTER_S, Throttle

NOW = 1_800_000_000.0


def waits(throttle, account="ana@example.org", address="192.0.2.1", now=NOW):
    """Seconds to wait before an attempt, 0 when it may go on (and is counted)."""
    try:
        throttle.begin(account, address, now=now)
    except TooManyAttemptsError as error:
        return error.retry_after_s
    return 0.0


def test_the_first_failures_of_an_account_cost_nothing_and_then_it_has_to_wait():
    throttle = Throttle()
    assert [waits(throttle) for _ in range(ACCOUNT.free + 1)] == [0.0] * (ACCOUNT.free + 1)
    assert waits(throttle) == ACCOUNT.first_s


def test_the_wait_doubles_up_to_its_longest():
    throttle, now, seen = Throttle(), NOW, []
    for _ in range(ACCOUNT.free + 1):
        waits(throttle, now=now)
    for _ in range(8):
        wait = waits(throttle, now=now)
        seen.append(wait)
        now += wait
        waits(throttle, address=f"198.51.100.{len(seen)}", now=now)
    assert seen[:5] == [2.0, 4.0, 8.0, 16.0, 32.0]
    assert seen[-1] == ACCOUNT.longest_s


def test_an_address_that_tries_many_accounts_has_to_wait():
    throttle = Throttle()
    for number in range(ADDRESS.free + 1):
        assert waits(throttle, account=f"user-{number}") == 0.0
    assert waits(throttle, account="another") > 0
    assert waits(throttle, account="another", address="192.0.2.2") == 0.0


def test_success_forgets_the_failures_of_an_account():
    throttle = Throttle()
    for _ in range(ACCOUNT.free):
        waits(throttle)
    throttle.begin("ana@example.org", "192.0.2.1", now=NOW)
    throttle.succeeded("ana@example.org", "192.0.2.1")
    assert [waits(throttle) for _ in range(ACCOUNT.free)] == [0.0] * ACCOUNT.free


def test_case_and_spaces_do_not_make_another_account():
    throttle = Throttle()
    for number in range(ACCOUNT.free + 1):
        waits(throttle, account="ANA@example.org" if number % 2 else " ana@example.org ")
    assert waits(throttle) > 0


def test_an_ipv6_caller_cannot_walk_through_its_own_network():
    throttle = Throttle()
    for number in range(ADDRESS.free + 1):
        waits(throttle, account=f"user-{number}", address=f"2001:db8:0:1::{number:x}")
    assert waits(throttle, account="another", address="2001:db8:0:1:ffff::1") > 0
    assert waits(throttle, account="another", address="2001:db8:0:2::1") == 0.0


def test_old_failures_are_forgotten():
    throttle = Throttle()
    for _ in range(ACCOUNT.free + 1):
        waits(throttle)
    later = NOW + FORGET_AFTER_S + 1
    assert [waits(throttle, now=later) for _ in range(ACCOUNT.free)] == [0.0] * ACCOUNT.free


def test_the_table_is_bounded_and_counts_what_it_pushed_out():
    throttle = Throttle(rows=10)
    for number in range(100):
        waits(throttle, account=f"user-{number}", address=f"192.0.2.{number}")
    assert len(throttle._rows) == 10
    assert throttle.evicted == 190
