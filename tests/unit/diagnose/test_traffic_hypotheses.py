"""Of a change of traffic it is said whose it is: everybody's, or one tenant's, route's or upstream's."""

from __future__ import annotations

import pytest

from gateway.diagnose.before_and_now import BeforeAndNow
from gateway.diagnose.traffic import of_traffic
from gateway.domain.topology import Topology
from gateway.domain.traffic import SeriesKey, Tally
from gateway.domain.window import Window

START = 1_700_000_040
TENANTS = ("acme", "globex", "initech")
ROUTES = {"items": "catalog", "search": "catalog", "orders": "orders"}
TOPOLOGY = Topology(upstream_of=ROUTES, depends_on={"orders": (), "catalog": ()})


def spans(times) -> BeforeAndNow:
    """Ten minutes of ten requests per series in five seconds, then a minute of ``times(route, tenant)`` as many."""
    window = Window()
    for at in range(START, START + 660, 5):
        usual = at < START + 600
        window.add(
            at,
            {
                SeriesKey(route, upstream, "t1", tenant, "GET", 200, ""): Tally(
                    requests=10 if usual else round(10 * times(route, tenant))
                )
                for route, upstream in ROUTES.items()
                for tenant in TENANTS
            },
        )
    return BeforeAndNow(window, START + 600.0, START + 660.0)


def test_when_all_ask_less_it_is_everybody():
    first, *_ = of_traffic(spans(lambda _route, _tenant: 0.2), TOPOLOGY)
    assert first.statement == "Callers as a whole ask less: 20 % of the usual traffic"
    assert (first.upstream, first.route, first.tenant) == ("", "", "")
    assert first.score > 0.9


@pytest.mark.parametrize(("times", "said"), [(0.0, "0 %"), (5.0, "5.0 times")])
def test_one_tenant_that_changed_is_named_whichever_way(times, said):
    first, *_ = of_traffic(spans(lambda _route, tenant: times if tenant == "globex" else 1.0), TOPOLOGY)
    assert first.tenant == "globex"
    assert said in first.statement
    assert first.score > 0.9


def test_one_route_of_two_is_told_from_its_upstream():
    first, *_ = of_traffic(spans(lambda route, _tenant: 0.1 if route == "search" else 1.0), TOPOLOGY)
    assert (first.route, first.upstream) == ("search", "catalog")


def test_an_upstream_all_of_whose_routes_changed_is_named_as_such():
    first, *_ = of_traffic(spans(lambda route, _tenant: 0.1 if route != "orders" else 1.0), TOPOLOGY)
    assert (first.route, first.upstream) == ("", "catalog")


def test_one_tenant_on_one_route_is_both_at_once():
    found = of_traffic(spans(lambda route, tenant: 6.0 if (route, tenant) == ("search", "acme") else 1.0), TOPOLOGY)
    first = found[0]
    assert (first.route, first.upstream, first.tenant) == ("search", "catalog", "acme")
    assert first.statement == 'Tenant "acme" on route search has 6.0 times of its usual traffic'


def test_without_a_past_nothing_is_said():
    window = Window()
    window.add(START, {SeriesKey("items", "catalog", "t1", "acme", "GET", 200, ""): Tally(requests=50)})
    assert of_traffic(BeforeAndNow(window, float(START), START + 30.0), TOPOLOGY) == []
