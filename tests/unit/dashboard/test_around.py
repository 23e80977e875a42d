import dataclasses

import msgspec
import pytest

from gateway.admin.dashboard.views.around import around
from gateway.domain.identity import Actor, Role
from gateway.domain.window import Window
from gateway.errors import StoreUnavailableError
from tests.admin_fakes import NOW, FakeAdmin, cell_at

STAFF = Actor(kind="user", name="ana", role=Role.ADMIN)


class NoStore:
    async def read(self, start, end, *, route=""):
        raise StoreUnavailableError("the store is away")


@pytest.mark.anyio
async def test_a_fresh_incident_is_drawn_from_memory_by_seconds():
    admin = FakeAdmin()
    traffic = await around(admin.ports, admin.incidents.rows[0], STAFF, NOW)
    assert traffic.step_s == 15 and traffic.series[0][0] >= NOW - 900 and not traffic.note
    assert max(tally.errors for _, tally in traffic.series) > 0


@pytest.mark.anyio
async def test_the_drawing_begins_when_the_gateway_did():
    admin = FakeAdmin()
    window = Window()
    incident = admin.incidents.rows[0]
    began = int(incident.onset) // 5 * 5 - 30
    for at in range(began, int(NOW), 5):
        window.add(at, cell_at(at, 5))
    ports = dataclasses.replace(admin.ports, window=window)
    traffic = await around(ports, incident, STAFF, NOW)
    assert traffic.series[0][0] == began


@pytest.mark.anyio
async def test_after_a_restart_the_minutes_that_were_read_back_are_drawn():
    admin = FakeAdmin()
    window = Window()
    for minute in range(int(NOW - 1800) // 60 * 60, int(NOW) // 60 * 60, 60):
        window.add_minute(minute, cell_at(minute, 60))
    traffic = await around(dataclasses.replace(admin.ports, window=window), admin.incidents.rows[0], STAFF, NOW)
    assert traffic.step_s == 60 and all(tally.requests for _, tally in traffic.series)


@pytest.mark.anyio
async def test_an_older_incident_is_drawn_from_stored_minutes():
    admin = FakeAdmin()
    old = msgspec.structs.replace(admin.incidents.rows[0], onset=NOW - 1800)
    traffic = await around(admin.ports, old, STAFF, NOW)
    assert traffic.step_s == 60 and len(traffic.series) == 39
    assert all(tally.requests for _, tally in traffic.series)


@pytest.mark.anyio
async def test_without_the_store_memory_is_shown_and_said_so():
    admin = FakeAdmin()
    old = msgspec.structs.replace(admin.incidents.rows[0], onset=NOW - 1800)
    traffic = await around(dataclasses.replace(admin.ports, buckets=NoStore()), old, STAFF, NOW)
    assert traffic.note == "the store is away; shown from memory"
    assert sum(tally.requests for _, tally in traffic.series) > 0


@pytest.mark.anyio
async def test_a_user_of_one_tenant_is_drawn_that_tenants_traffic():
    admin = FakeAdmin()
    incident = admin.incidents.rows[0]
    everyone = await around(admin.ports, incident, STAFF, NOW)
    own = await around(admin.ports, incident, msgspec.structs.replace(STAFF, tenant="initech"), NOW)
    assert 0 < sum(tally.requests for _, tally in own.series) < sum(tally.requests for _, tally in everyone.series) / 3
