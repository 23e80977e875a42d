"""An incident about the gateway itself, as people and programs see it."""

from __future__ import annotations

import msgspec
import pytest

from gateway.admin.application import build
from gateway.admin.dashboard.render import Pages
from gateway.admin.dashboard.routes import routes
from gateway.casebook import opened
from gateway.detect.own_trouble import OwnTrouble, WithOurs
from gateway.diagnose import own_trouble
from gateway.domain.incident import Incident, IncidentState, TimelineEntry
from gateway.domain.own_health import LimitedRoutes, OwnFacts, RedisFacts
from gateway.domain.topology import Topology
from gateway.domain.window import Window
from tests.admin_client import Admin


@pytest.fixture
def admin() -> Admin:
    """The application with its dashboard."""
    made = Admin()
    pages = Pages(made.fakes.ports, made.auth)
    shown = routes(made.fakes.ports, made.auth, pages)
    made.app = build(made.fakes.ports, made.auth, dashboard_routes=shown, error_page=pages.error_page)
    return made


def of_redis(now: float) -> Incident:
    looks = iter(
        OwnFacts(
            at=now - 15 + 5 * look, redis=RedisFacts("no connection can be made"), limited=LimitedRoutes(("orders",))
        )
        for look in range(3)
    )
    detector = OwnTrouble(lambda: next(looks), tuple)
    anomalies = [found for look in range(3) for found in detector.examine(Window(), now - 15 + 5 * look)]
    (decision,) = WithOurs().decide(anomalies, [], Topology(), now)
    incident = opened(decision, now)
    found = own_trouble.diagnosis(incident, own_trouble.evidence(incident), now)
    entry = TimelineEntry(now, "incident.opened", decision.title)
    return msgspec.structs.replace(
        incident, state=IncidentState.ANALYZING, diagnosis=found, version=2, timeline=(entry,)
    )


def test_the_page_says_what_is_broken_what_it_means_and_what_to_do(admin):
    incident = of_redis(admin.fakes.clock())
    admin.fakes.incidents.rows.append(incident)
    answer = admin.as_("ana").get(f"/dashboard/incidents/{incident.id}")
    assert answer.status_code == 200
    for said in (
        "Our own limiter store does not answer",
        "limits of route orders are counted on each node by itself",
        "Run `sentinel doctor`",
        "a part of the gateway itself",
        "the gateway saw it itself",
    ):
        assert said.replace("'", "&#39;") in answer.text
    assert "inconclusive" not in answer.text


def test_the_api_names_the_part(admin):
    incident = of_redis(admin.fakes.clock())
    admin.fakes.incidents.rows.append(incident)
    found = admin.as_("ana").get(f"/api/v1/incidents/{incident.id}").json()
    assert (found["signal"], found["place"]["part"], found["severity"]) == ("self", "redis", "P3")
