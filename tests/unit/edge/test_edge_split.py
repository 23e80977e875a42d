"""Which upstream of a divided route a request goes to."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.identity import Principal
from gateway.domain.routing import Canary, Split, SplitShare
from gateway.edge.split import Splitter, splitters
from tests.unit.edge.edge_values import exchange, route, snapshot, steps

WIRED = steps()
WEIGHTS = st.lists(st.integers(0, 20), min_size=1, max_size=5).filter(any)


def split(*weights: int, **changes) -> Split:
    names = ("stable", "next", "c", "d", "e")
    shares = tuple(SplitShare(name, weight) for name, weight in zip(names, weights, strict=False))
    return Split(shares=shares, **changes)


def asked(*headers: tuple[bytes, bytes], **changes):
    return exchange(WIRED, extra=list(headers), **changes)


@given(weights=WEIGHTS, cycles=st.integers(1, 3))
def test_over_whole_cycles_every_upstream_gets_exactly_its_weight(weights, cycles):
    given_split = split(*weights)
    splitter, request = Splitter(given_split), asked()
    chosen = Counter(splitter.choose(request) for _ in range(sum(weights) * cycles))
    assert chosen == {share.upstream: share.weight * cycles for share in given_split.shares if share.weight}


def test_turns_are_mixed_and_not_taken_in_blocks():
    splitter, request = Splitter(split(3, 1)), asked()
    assert [splitter.choose(request) for _ in range(4)] == ["stable", "stable", "next", "stable"]


CALLERS = [f"caller {number}".encode() for number in range(4000)]


@given(weights=st.lists(st.integers(1, 20), min_size=2, max_size=4))
def test_of_many_callers_each_upstream_gets_about_its_share_and_always_the_same(weights):
    splitter = Splitter(split(*weights, sticky="subject"))
    first = [splitter.of_caller(caller) for caller in CALLERS]
    assert first == [Splitter(splitter.split).of_caller(caller) for caller in CALLERS]
    counted = Counter(first)
    for share in splitter.split.shares:
        expected = share.weight / sum(weights)
        assert abs(counted[share.upstream] / len(CALLERS) - expected) < 0.05


def test_when_weights_change_only_those_callers_move_that_must():
    before, after = Splitter(split(95, 5, sticky="client")), Splitter(split(80, 20, sticky="client"))
    moved = [(old, new) for caller in CALLERS if (old := before.of_caller(caller)) != (new := after.of_caller(caller))]
    assert set(moved) == {("stable", "next")}
    assert len(moved) / len(CALLERS) == pytest.approx(0.15, abs=0.03)


@pytest.mark.parametrize(
    ("sticky", "first", "second"),
    [
        ("client", {"peer": "192.0.2.1"}, {"peer": "192.0.2.9"}),
        ("header:x-user", {"extra": [(b"x-user", b"a")]}, {"extra": [(b"x-user", b"carol")]}),
        ("cookie:sid", {"extra": [(b"cookie", b"x=1; sid=a")]}, {"extra": [(b"cookie", b"sid=carol; x=1")]}),
    ],
)
def test_a_sticky_caller_always_meets_the_same_upstream(sticky, first, second):
    splitter = Splitter(split(1, 1, 1, 1, 1, sticky=sticky))
    chosen = []
    for request in (first, second):
        made = exchange(WIRED, **request)
        made.client = made.peer
        assert len({splitter.choose(made) for _ in range(20)}) == 1
        chosen.append(splitter.choose(made))
    assert chosen[0] != chosen[1]  # of these two callers; that the source is heeded at all


def test_subjects_of_two_tenants_are_two_callers():
    splitter = Splitter(split(1, 1, sticky="subject"))
    request, met = asked(), set()
    for number in range(20):
        request.principal = Principal(kind="jwt", tenant=f"tenant {number}", subject="alice")
        met.add(splitter.choose(request))
    assert met == {"stable", "next"}


def test_a_caller_without_the_sticky_source_takes_a_turn():
    splitter, request = Splitter(split(1, 1, sticky="cookie:sid")), asked((b"cookie", b"other=1; sid="))
    assert [splitter.choose(request) for _ in range(4)] == ["stable", "next"] * 2


CANARIES = (
    Canary("header:x-canary", "1", "next"),
    Canary("cookie:beta", "*", "c"),
)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"x-canary", b"1")], "next"),
        ([(b"x-canary", b"2")], "stable"),
        ([(b"cookie", b"a=b; beta=no")], "c"),
        ([(b"cookie", b'a=b; beta="1"'), (b"x-canary", b"1")], "next"),
        ([(b"cookie", b"alphabeta=1")], "stable"),
        ([], "stable"),
    ],
)
def test_canaries_come_before_weights_in_the_order_written(headers, expected):
    assert Splitter(split(1, 0, 0, canaries=CANARIES)).choose(asked(*headers)) == expected


def test_a_reload_that_leaves_a_split_alone_leaves_its_turns_alone():
    kept, changed = route(name="kept", split=split(1, 1)), route(name="changed", split=split(1, 1))
    before = splitters((kept, changed), {})
    after = splitters((kept, route(name="changed", split=split(2, 1)), route(name="plain")), before)
    assert after["kept"] is before["kept"]
    assert after["changed"] is not before["changed"]
    assert "plain" not in after


def test_the_steps_put_the_choice_where_drivers_look_for_it():
    wired = steps(snapshot(route(upstream="stable", split=split(1, 1))))
    chosen = []
    for _ in range(4):
        made = exchange(wired)
        assert wired.admit(made, lambda outcome: pytest.fail(str(outcome))) is None
        chosen.append(made.upstream)
    assert chosen == ["stable", "next"] * 2
