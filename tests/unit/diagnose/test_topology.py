"""Callers explained by callees."""

from __future__ import annotations

from gateway.diagnose.topology import Load, blame
from gateway.domain.topology import Topology

CHAIN = Topology(depends_on={"web": ("orders",), "orders": ("payments",), "payments": ()})


def load(requests, bad, usual=0.002):
    return Load(requests, bad, 10 * requests, 10 * requests * usual)


def test_the_callee_is_to_blame_and_its_callers_are_victims():
    found = blame({"web": load(200, 90), "orders": load(200, 95), "payments": load(200, 100)}, CHAIN)
    assert found[0].upstream == "payments"
    assert {one.upstream: one.explained_by for one in found if one.victim} == {
        "web": ("orders",),
        "orders": ("payments",),
    }


def test_a_caller_with_trouble_of_its_own_is_no_victim():
    found = blame({"orders": load(200, 150), "payments": load(200, 20)}, CHAIN)
    assert found[0].upstream == "orders"
    assert not found[0].victim


def test_a_healthy_callee_explains_nothing():
    found = blame({"orders": load(200, 100), "payments": load(200, 0)}, CHAIN)
    assert [one.upstream for one in found] == ["orders"]
    assert not found[0].victim


def test_slowness_is_conserved_in_seconds():
    slow = {"orders": Load(100, 60.0, 1000, 60.0), "payments": Load(100, 52.0, 1000, 20.0)}
    found = blame(slow, CHAIN, latency=True)
    assert found[0].upstream == "payments"
    assert found[1].victim


def test_a_service_without_a_past_is_never_subtracted():
    found = blame({"orders": load(200, 100), "payments": Load(200, 100, 0, 0)}, CHAIN)
    assert not next(one for one in found if one.upstream == "orders").victim
    assert next(one for one in found if one.upstream == "payments").novel


def test_a_cycle_of_calls_ends():
    cycle = Topology(depends_on={"a": ("b",), "b": ("a",)})
    assert {one.upstream for one in blame({"a": load(100, 50), "b": load(100, 50)}, cycle)} == {"a", "b"}
