"""Callers explained by callees."""

from __future__ import annotations

from gateway.diagnose.topology import Load, blame, suspects
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


def suspected(loads, topology, target):
    return [one.upstream for one in suspects(blame(loads, topology), target, topology)]


def test_the_suspect_is_the_deepest_that_explains_its_callers():
    loads = {"web": load(200, 90), "orders": load(200, 95), "payments": load(200, 100)}
    assert suspected(loads, CHAIN, "web")[0] == "payments"


def test_nobody_explains_more_of_a_target_than_there_is():
    loads = {"web": load(200, 20), "search": load(900, 800)}
    topology = Topology(depends_on={"web": ("search",)})
    found = suspects(blame(loads, topology), "web", topology)
    assert max(one.score for one in found) <= 20


def test_a_service_the_target_cannot_reach_is_suspected_less():
    loads = {"web": load(200, 60), "search": load(200, 60)}
    found = suspects(blame(loads, Topology()), "web", Topology())
    assert [(one.upstream, one.reached) for one in found] == [("web", True), ("search", False)]


def test_an_undeclared_callee_in_the_same_trouble_is_suspected_first():
    loads = {"web": load(1000, 60), "search": load(200, 60)}
    blames = blame(loads, Topology())
    assert {one.upstream: one.undeclared for one in blames} == {"web": ("search",), "search": ()}
    assert suspected(loads, Topology(), "web")[0] == "search"


def test_a_caller_is_never_taken_for_an_undeclared_callee():
    loads = {"web": load(100, 60), "search": load(900, 60)}
    blames = blame(loads, Topology(depends_on={"web": ("search",)}))
    assert all(one.undeclared == () for one in blames)


def test_a_novel_service_is_no_suspect():
    loads = {"web": load(200, 60), "fresh": Load(200, 60, 0, 0)}
    assert "fresh" not in suspected(loads, Topology(depends_on={"web": ("fresh",)}), "web")


def test_a_spread_that_is_known_decides_what_is_unusual():
    steady, restless = Load(100, 12.0, 1000, 100.0), Load(100, 12.0, 1000, 100.0, spread=0.02)
    found = {one.upstream: one.z for one in blame({"a": steady, "b": restless}, Topology(), latency=True)}
    assert found["a"] > 3 > found["b"]
