"""The same application over both real databases: what the fakes promise, the stores keep."""

from __future__ import annotations

import dataclasses
import time
from contextlib import asynccontextmanager

import httpx2
import pytest

from gateway.admin.application import build
from gateway.admin.audited import audited
from gateway.admin.auth import Auth
from gateway.domain.identity import Role
from gateway.identity.setup_link import SetupLink
from gateway.store.audit import Audit
from gateway.store.buckets import Buckets
from gateway.store.incidents import Incidents
from gateway.store.records import Records
from gateway.store.users import Users
from tests.admin_client import API, ORIGIN, assert_problem
from tests.admin_fakes import PASSWORD, QUICK, FakeAdmin, some_incidents

pytestmark = pytest.mark.anyio
NASTY = ("'", "%_\\", "../x", "\u202e", "\U0001f600" * 60, "a" * 256, "1e400", "MTIz", "W10", "WzEsMl0")


@asynccontextmanager
async def on(store, tmp_path):
    """A client of the application on that store, the one-time link, and the ports."""
    fakes = FakeAdmin(now=time.time())
    ports = dataclasses.replace(
        fakes.ports,
        users=Users(store),
        incidents=Incidents(store),
        requests=Records(store),
        buckets=Buckets(store),
        audit=Audit(store),
    )
    ports = audited(dataclasses.replace(ports, decisions=fakes.decisions, configuration=fakes.configuration))
    link = SetupLink(tmp_path)
    app = build(ports, Auth(ports, passwords=QUICK, setup_link=link))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=ORIGIN) as client:
        yield client, link, fakes


async def set_up(client, link, fakes):
    body = {"token": link.issue(now=fakes.clock()), "email": "ana@example.org", "password": PASSWORD}
    made = await client.post(f"{API}/auth/setup", json=body)
    assert made.status_code == 201, made.text
    client.headers["Authorization"] = f"Bearer {made.json()['token']}"
    return made.json()["user"]


async def test_from_the_first_link_to_a_second_user_and_back(store, tmp_path):
    async with on(store, tmp_path) as (client, link, fakes):
        ana = await set_up(client, link, fakes)
        new = {"email": "otto@example.org", "password": PASSWORD, "role": Role.OPERATOR}
        otto = (await client.post(f"{API}/users", json=new)).json()
        assert_problem(await client.post(f"{API}/users", json=new), 409)
        assert_problem(await client.put(f"{API}/users/{ana['id']}", json={"disabled": True}), 409)
        login = {"email": "OTTO@example.org", "password": PASSWORD}
        token = (await client.post(f"{API}/auth/login", json=login)).json()["token"]
        as_otto = {"Authorization": f"Bearer {token}"}
        assert (await client.get(f"{API}/auth/me", headers=as_otto)).json()["role"] == "operator"
        assert (await client.delete(f"{API}/users/{otto['id']}")).status_code == 204
        assert_problem(await client.get(f"{API}/auth/me", headers=as_otto), 401)
        fresh = await client.post(f"{API}/auth/refresh")
        assert fresh.status_code == 200
        assert_problem(await client.get(f"{API}/auth/me"), 401)
        client.headers["Authorization"] = f"Bearer {fresh.json()['token']}"
        verbs = [row["verb"] for row in (await client.get(f"{API}/audit")).json()["items"]]
        assert verbs == ["user.deleted", "user.signed_in", "user.created", "user.set_up"]


async def test_incidents_come_back_whole_and_only_to_their_own(store, tmp_path):
    async with on(store, tmp_path) as (client, link, fakes):
        await set_up(client, link, fakes)
        incidents = Incidents(store)
        for incident in some_incidents(fakes.clock()):
            await incidents.save(incident)
        listed = (await client.get(f"{API}/incidents")).json()["items"]
        assert [row["id"] for row in listed] == ["inc-1", "inc-2", "inc-3"]
        whole = (await client.get(f"{API}/incidents/inc-1")).json()
        assert len(whole["actions"]) == 2 and whole["diagnosis"]["report"]["confidence"] == "high"
        tina = {"email": "tina@example.org", "password": PASSWORD, "tenant": "acme"}
        await client.post(f"{API}/users", json=tina)
        login = {"email": tina["email"], "password": PASSWORD}
        token = (await client.post(f"{API}/auth/login", json=login)).json()["token"]
        as_tina = {"Authorization": f"Bearer {token}"}
        own = (await client.get(f"{API}/incidents?limit=1", headers=as_tina)).json()["items"]
        assert [row["id"] for row in own] == ["inc-3"]
        assert_problem(await client.get(f"{API}/incidents/inc-1", headers=as_tina), 404)


async def test_nothing_a_stranger_writes_into_a_query_brings_a_store_down(store, tmp_path):
    async with on(store, tmp_path) as (client, link, fakes):
        await set_up(client, link, fakes)
        for value in NASTY:
            for path, name in (
                ("requests", "q"),
                ("requests", "route"),
                ("requests", "cursor"),
                ("incidents", "cursor"),
                ("users", "cursor"),
                ("audit", "cursor"),
                ("buckets", "route"),
            ):
                answer = await client.get(f"{API}/{path}", params={name: value})
                assert answer.status_code in {200, 422}, (path, name, value, answer.text)
            answer = await client.post(f"{API}/auth/login", json={"email": value, "password": value})
            assert answer.status_code in {401, 429}, answer.text
