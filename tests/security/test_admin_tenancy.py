"""A user of one tenant sees and touches nothing of another, at any endpoint."""

from __future__ import annotations

import msgspec
import pytest

from gateway.admin.api.table import ENDPOINTS
from gateway.domain.event import Event, EventSeverity
from tests.admin_client import API, Admin, assert_problem, path_of
from tests.admin_fakes import NOW, PASSWORD

EVENT_OF_ANOTHER = Event(
    "e-1", "web-1", "deploy.finished", EventSeverity.INFO, NOW, NOW, message="of globex", tenant="globex"
)

READING = [row for row in ENDPOINTS if row.method == "GET" and row.name not in {"follow_requests", "live_events"}]


@pytest.fixture
def admin():
    made = Admin()
    made.fakes.events.rows.append(EVENT_OF_ANOTHER)
    return made


def ids_of_others(admin, path):
    """Ids at that path that belong to another tenant, or to the operator."""
    if path.startswith("/requests"):
        return [row.id for row in admin.fakes.requests.rows if row.tenant != "acme"][:5]
    if path.startswith("/users"):
        return [user.id for user in admin.fakes.users.rows.values() if user.tenant != "acme"]
    return [row.id for row in admin.fakes.incidents.rows if row.tenant != "acme"]


@pytest.mark.parametrize("row", [row for row in READING if "{id}" not in row.path], ids=lambda row: row.path)
def test_no_list_shows_another_tenants_rows(admin, row):
    answer = admin.as_("toni").get(path_of(row))
    if row.staff:
        assert_problem(answer, 403)
        return
    assert answer.status_code == 200
    for stranger in ("globex", "initech", "inc-1", "inc-2", "ana@example.org", "otto@example.org"):
        assert stranger not in answer.text


@pytest.mark.parametrize("row", [row for row in READING if "{id}" in row.path], ids=lambda row: row.path)
def test_nothing_of_another_tenant_can_be_read_by_its_id(admin, row):
    toni, ids = admin.as_("toni"), ids_of_others(admin, row.path)
    assert ids
    for stranger in ids:
        if row.staff:  # nobody's rows but the operator's
            assert_problem(toni.get(path_of(row, stranger)), 403)
            continue
        assert_problem(toni.get(path_of(row, stranger)), 404)


def test_a_stranger_cannot_tell_a_hidden_row_from_a_missing_one(admin):
    toni = admin.as_("toni")
    hidden, missing = toni.get(f"{API}/incidents/inc-1").json(), toni.get(f"{API}/incidents/inc-0").json()
    assert hidden == {**missing, "detail": missing["detail"].replace("inc-0", "inc-1")}


@pytest.mark.parametrize(
    "query", ["tenant=globex", "tenant=", "tenant=globex&q=", "q=globex", "status=5&tenant=initech"]
)
def test_asking_for_another_tenants_requests_gives_ones_own(admin, query):
    items = admin.as_("tina").get(f"{API}/requests?{query}").json()["items"]
    assert {item["tenant"] for item in items} <= {"acme"}


def test_a_store_that_forgets_the_filter_still_shows_nothing_of_others(admin):
    forgetful = admin.fakes.requests.search

    async def search(wanted):
        return await forgetful(msgspec.structs.replace(wanted, tenant=""))

    admin.fakes.requests.search = search
    items = admin.as_("tina").get(f"{API}/requests").json()["items"]
    assert items and {item["tenant"] for item in items} == {"acme"}


def test_a_tenants_own_rows_are_there_even_behind_many_of_others(admin):
    tina = admin.as_("tina")
    assert [row["id"] for row in tina.get(f"{API}/incidents?limit=1").json()["items"]] == ["inc-3"]
    assert tina.get(f"{API}/incidents/inc-3").status_code == 200


def test_numbers_are_the_tenants_own(admin):
    tina, vera = admin.as_("tina"), admin.as_("vera")
    mine, all_of_them = (client.get(f"{API}/overview").json() for client in (tina, vera))
    assert 0 < mine["last_minute"]["requests"] < all_of_them["last_minute"]["requests"]
    window = admin.fakes.window.total(NOW // 5 * 5 - 60, NOW // 5 * 5, where=lambda key: key.tenant == "acme")
    assert mine["last_minute"]["requests"] == window.requests
    path = f"{API}/buckets?step=3600"
    sums = [sum(row["numbers"]["requests"] for row in client.get(path).json()["items"]) for client in (tina, vera)]
    assert 0 < sums[0] < sums[1]
    asked = tina.get(f"{path}&tenant=globex").json()["items"]
    assert sum(row["numbers"]["requests"] for row in asked) == 0


def test_another_tenants_action_cannot_be_decided_nor_its_incident_closed(admin):
    toni = admin.as_("toni")
    assert_problem(toni.post(f"{API}/actions/a-2/approve"), 404)
    assert_problem(toni.post(f"{API}/actions/a-2/reject", json={"reason": "mine now"}), 404)
    assert_problem(toni.post(f"{API}/incidents/inc-2/close", json={"reason": "mine now"}), 404)
    assert not admin.fakes.decisions.made
    assert toni.post(f"{API}/incidents/inc-3/close", json={"reason": "known sale"}).status_code == 200


def test_keys_can_be_issued_and_revoked_only_within_the_tenant(admin):
    toni = admin.as_("toni")
    assert_problem(toni.post(f"{API}/keys", json={"subject": "x", "tenant": "globex"}), 403)
    assert toni.post(f"{API}/keys", json={"subject": "x"}).json()["tenant"] == "acme"
    assert_problem(toni.delete(f"{API}/keys/000000000002"), 404)
    assert toni.delete(f"{API}/keys/000000000001").status_code == 204
    assert admin.fakes.keys.revoked == ["000000000001"]


def test_users_can_be_made_and_changed_only_within_the_tenant(admin):
    toni = admin.as_("toni")
    new = {"email": "new@example.org", "password": PASSWORD}
    assert_problem(toni.post(f"{API}/users", json={**new, "tenant": "globex"}), 403)
    assert toni.post(f"{API}/users", json=new).json()["tenant"] == "acme"
    assert_problem(toni.put(f"{API}/users/u-5", json={"tenant": ""}), 403)
    assert_problem(toni.put(f"{API}/users/u-1", json={"disabled": True}), 404)
    assert_problem(toni.delete(f"{API}/users/u-2"), 404)


def test_a_tenants_administrator_cannot_touch_the_configuration(admin):
    toni = admin.as_("toni")
    assert_problem(toni.post(f"{API}/config/apply", json={"text": "[server]"}), 403)
    assert_problem(toni.post(f"{API}/config/rollback", json={"revision": 6}), 403)
    assert_problem(toni.post(f"{API}/config/diff", json={"text": "[server]"}), 403)
    assert len(admin.fakes.configuration.revisions) == 2
