"""Which combination of attributes explains a rise."""

from __future__ import annotations

from gateway.diagnose.attribution import Leaf, attribute
from tests.evals.attribution_speed import ATTRIBUTES as ATTRIBUTES_OF_MANY
from tests.evals.attribution_speed import SICK
from tests.evals.attribution_speed import leaves as many_leaves

NAMES = ("route", "target", "tenant")


def leaves(bad_share, *, requests=100, usual=0.01):
    """Two routes × two targets × three tenants; ``bad_share(route, target, tenant)`` now."""
    return [
        Leaf((route, target, tenant), bad_share(route, target, tenant) * requests, requests, usual * 1000, 1000)
        for route in ("r1", "r2")
        for target in ("t1", "t2")
        for tenant in ("a", "b", "c")
    ]


def best(bad_share, **more):
    return attribute(NAMES, leaves(bad_share, **more))[0]


def test_one_value_is_found():
    found = best(lambda _r, target, _t: 0.8 if target == "t2" else 0.01)
    assert found.values == (("target", "t2"),)
    assert found.coverage > 0.99 and found.precision > 0.99


def test_a_combination_is_found_rather_than_either_value():
    found = best(lambda route, target, _t: 0.8 if (route, target) == ("r1", "t2") else 0.01)
    assert set(found.values) == {("route", "r1"), ("target", "t2")}


def test_three_attributes_deep():
    found = best(lambda *values: 0.9 if values == ("r2", "t1", "b") else 0.01)
    assert set(found.values) == {("route", "r2"), ("target", "t1"), ("tenant", "b")}


def test_two_values_that_rose_together_are_one_answer():
    found = attribute(NAMES, leaves(lambda _r, _t, tenant: 0.8 if tenant in {"a", "b"} else 0.01))
    together = next(pattern for pattern in found if len(pattern.members) == 2)
    assert {member[0][1] for member in together.members} == {"a", "b"}


def test_what_was_bad_before_is_not_the_cause_now():
    rows = [
        Leaf(("always",), 50, 100, 500, 1000),
        Leaf(("new",), 30, 100, 10, 1000),
        Leaf(("well",), 1, 100, 10, 1000),
    ]
    assert attribute(("place",), rows)[0].values == (("place", "new"),)


def test_patterns_with_the_same_rows_are_one_answer_with_aliases():
    rows = [Leaf(("pay", "p1"), 40, 50, 0, 500), Leaf(("search", "s1"), 0, 50, 0, 500)]
    found = attribute(("upstream", "target"), rows)
    assert len(found) == 1
    assert {len(found[0].values), *(len(alias) for alias in found[0].aliases)} == {1, 2}
    assert found[0].get("upstream") == "pay"


def test_nothing_rose_means_no_answer():
    assert attribute(NAMES, leaves(lambda *_: 0.0)) == ()
    assert attribute(NAMES, []) == ()


def test_empty_values_make_no_pattern():
    rows = [Leaf(("pay", ""), 40, 50, 0, 500), Leaf(("search", ""), 0, 50, 0, 500)]
    assert all(name != "target" for pattern in attribute(("upstream", "target"), rows) for name, _ in pattern.values)


def test_the_answer_does_not_depend_on_the_order_of_rows():
    rows = leaves(lambda route, target, _t: 0.8 if (route, target) == ("r1", "t2") else 0.01)
    assert attribute(NAMES, rows)[0].values == attribute(NAMES, rows[::-1])[0].values


def test_many_leaves_are_folded_without_losing_a_request_or_the_cause():
    rows = many_leaves(20_000)
    found = attribute(ATTRIBUTES_OF_MANY, rows)
    assert any(set(values) == SICK for values in (found[0].values, *found[0].aliases))
    inside = [leaf for leaf in rows if (leaf.values[2], leaf.values[4]) == ("t3-4", "GET")]
    assert found[0].bad == sum(leaf.bad for leaf in inside)
    assert found[0].total == sum(leaf.total for leaf in inside)
