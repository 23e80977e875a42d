"""The in-process bucket: how much it admits, and what it says is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.identity import ANONYMOUS, Principal
from gateway.domain.limits import Limit, Scope
from gateway.edge.limit_groups import Group, encoded
from gateway.edge.limits import LimitSet, Verdict, digest
from gateway.edge.token_bucket import FEW, MAX_CAPACITY, TICKS_PER_S, LocalBuckets, bucket, charge
from tests.unit.edge.edge_values import PER_CLIENT, exchange, route

START = 10**15


def test_a_bucket_is_empty_after_its_burst_and_says_when_there_is_more():
    buckets, table = [bucket(2.0, 3)], LocalBuckets()
    answers = [table.take(["a"], buckets, START) for _ in range(4)]
    assert [left for left, _, _ in answers] == [2, 1, 0, 0]
    assert [wait for _, wait, _ in answers] == [0, 0, 0, TICKS_PER_S // 2]
    assert answers[2][2] == 3 * TICKS_PER_S // 2


def test_of_a_group_all_buckets_are_charged_or_none():
    buckets, table = [bucket(1.0, 5), bucket(1.0, 1)], LocalBuckets()
    assert table.take(["wide", "narrow"], buckets, START)[::3] == [4, 0]
    refused = table.take(["wide", "narrow"], buckets, START)
    assert refused[0] == 4
    assert (refused[1], refused[4]) == (0, TICKS_PER_S)


def test_a_clock_that_jumps_back_an_hour_leaves_a_bucket_empty_at_worst():
    buckets, table = [bucket(1.0, 5)], LocalBuckets()
    table.take(["a"], buckets, START)
    back = START - 3600 * TICKS_PER_S
    assert table.take(["a"], buckets, back)[1] == TICKS_PER_S
    assert table.take(["a"], buckets, back + TICKS_PER_S)[1] == 0


def test_a_clock_that_jumps_forward_gives_one_burst_and_no_more():
    buckets, table = [bucket(1.0, 2)], LocalBuckets()
    for _ in range(3):
        table.take(["a"], buckets, START)
    waits = [table.take(["a"], buckets, START + 3600 * TICKS_PER_S)[1] for _ in range(3)]
    assert [wait > 0 for wait in waits] == [False, False, True]


@given(
    rate=st.floats(0.0001, 50_000),
    burst=st.integers(1, 500),
    steps=st.lists(st.integers(0, 5 * TICKS_PER_S), min_size=1, max_size=60),
)
def test_over_any_window_no_more_than_burst_and_rate_is_admitted(rate, burst, steps):
    buckets, table = [bucket(rate, burst)], LocalBuckets()
    now, admitted = START, []
    for step in steps:
        now += step
        if table.take(["a"], buckets, now)[1] == 0:
            admitted.append(now)
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            seconds = (admitted[last] - admitted[first]) / TICKS_PER_S
            assert last - first + 1 <= burst + rate * seconds + 1e-6


@given(rate=st.floats(1e-6, 1e9), burst=st.integers(1, 10**9), share=st.integers(1, 64))
def test_every_rate_and_burst_stays_in_the_range_where_doubles_are_exact(rate, burst, share):
    interval, capacity = bucket(rate, burst, share)
    assert interval >= 1
    assert 1 <= capacity <= MAX_CAPACITY
    states, _ = charge([None], [bucket(rate, burst, share)], START)
    assert states is not None
    assert states[0] + capacity < 2**53


def test_workers_share_a_limit():
    assert bucket(100.0, 200, 4) == bucket(25.0, 50)
    assert bucket(10.0, 2, 4).capacity == bucket(10.0, 2, 4).interval


def test_local_buckets_are_bounded_and_forget_the_one_unused_for_longest():
    forgotten = []
    table, buckets = LocalBuckets(max_entries=3, on_forgotten=forgotten.append), [bucket(1.0, 1)]
    for name in ("a", "b", "c"):
        table.take([name], buckets, START)
    assert table.take(["a"], buckets, START)[1] > 0
    assert not forgotten
    table.take(["d"], buckets, START)
    assert len(table) == 3
    assert forgotten == [1]
    assert table.take(["a"], buckets, START)[1] > 0
    assert table.take(["b"], buckets, START)[1] == 0


def test_callers_who_do_not_come_back_leave_nothing_once_their_bucket_is_full_again():
    forgotten = []
    table, slow, fast = LocalBuckets(on_forgotten=forgotten.append), bucket(0.001, 1), bucket(10.0, 5)
    for number in range(100):
        table.take_one(("slow", str(number)), slow, START)
    now, most = START, 0
    for number in range(200_000):
        now += TICKS_PER_S // 2000
        table.take_one(("fast", str(number)), fast, now)  # 0.1 s until it is full again: 200 at a time
        most = max(most, len(table))
    assert most <= FEW
    assert all(table.take_one(("slow", str(number)), slow, now)[1] > 0 for number in range(100))
    assert not forgotten


def test_what_is_forgotten_for_want_of_room_is_what_was_unused_for_longest_and_not_who_comes_often():
    forgotten = []
    table, slow = LocalBuckets(max_entries=4000, on_forgotten=forgotten.append), bucket(0.001, 1)
    for number in range(50_000):
        table.take_one(("slow", str(number)), slow, START)
        assert table.take(["often"], [slow], START)[1] > 0 or number == 0
    assert len(table) <= 4000
    assert sum(forgotten) == 50_001 - len(table)


def test_of_several_limits_each_bucket_is_bounded_too():
    table, buckets = LocalBuckets(max_entries=2000), [bucket(0.001, 1), bucket(0.001, 2)]
    for number in range(3000):
        table.take([("one", str(number)), ("two", str(number))], buckets, START)
    assert len(table) <= 2000
    assert table.take([("one", "2999"), ("two", "2999")], buckets, START)[1] > 0


def test_what_a_caller_says_of_itself_cannot_forge_another_key():
    [plain] = Group([("orders", "c\x00192.0.2.1")]).encoded
    [hostile] = Group([("orders", "c\x00192.0.2.1}:other\r\n*1\r\n$8\r\nFLUSHALL\r\n")]).encoded
    assert plain == encoded("orders", digest("c\x00192.0.2.1"))
    assert plain != hostile
    assert b"FLUSHALL" not in hostile
    assert len(plain) == len(hostile)
    assert plain.startswith(b"$") and b"sentinel:{" in plain


def test_rate_limit_fields_are_structured_fields():
    odd = LimitSet((Limit(name='a"b\\%d\n', rate=0.5, burst=9, scope=PER_CLIENT.scope, window_s=60),))
    verdict = Verdict(limits=odd, answers=[8, 0, 3 * TICKS_PER_S + 1])
    assert dict(verdict.fields()) == {
        b"ratelimit-policy": b'"a\\"b\\\\%d?";q=30;w=60',
        b"ratelimit": b'"a\\"b\\\\%d?";r=8;t=4',
    }
    assert odd.keys(exchange())[0][1] == "c\x00192.0.2.1"


def whom(scope: Scope, **identity: str) -> str:
    made = exchange()
    made.route = route()
    made.principal = Principal(**({"kind": "jwt"} | identity)) if identity else ANONYMOUS
    return LimitSet((Limit(name="n", rate=1.0, burst=1, scope=scope),)).keys(made)[0][1]


def test_each_scope_counts_whom_it_says_and_falls_back_when_the_caller_has_no_such_identity():
    ana = {"subject": "ana", "tenant": "acme", "key_id": "k-1"}
    counted = [whom(scope, **ana) for scope in Scope]
    assert len(set(counted)) == len(Scope)
    assert [whom(scope) for scope in (Scope.SUBJECT, Scope.KEY, Scope.TENANT)] == [whom(Scope.CLIENT)] * 3
    assert whom(Scope.TENANT, subject="ana") == whom(Scope.KEY, subject="ana") == whom(Scope.SUBJECT, subject="ana")


def test_no_spelling_of_a_subject_is_another_callers_bucket():
    ana = whom(Scope.SUBJECT, subject="ana", tenant="acme")
    assert ana != whom(Scope.SUBJECT, subject="ana", tenant="other")
    assert ana != whom(Scope.SUBJECT, subject="ana", tenant="acme", kind="key")
    assert whom(Scope.SUBJECT, subject="acme") != whom(Scope.TENANT, tenant="acme")


def test_long_names_are_kept_as_digests_so_that_tables_are_bounded_in_bytes():
    assert len(whom(Scope.SUBJECT, subject="x" * 256)) == 32
    assert whom(Scope.SUBJECT, subject="x" * 256) != whom(Scope.SUBJECT, subject="x" * 255)
