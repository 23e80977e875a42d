from __future__ import annotations

import asyncio
import time

import pytest

from gateway.domain.access import ApiKey
from gateway.domain.audit import AuditEntry
from gateway.domain.identity import Role, Session, Tenant, User
from gateway.errors import ConflictError, NotFoundError
from gateway.store.api_keys import ApiKeys
from gateway.store.audit import Audit
from gateway.store.tenants import Tenants
from gateway.store.users import Users

pytestmark = pytest.mark.anyio


def user(number: int = 1, **changes) -> User:
    values = {
        "id": f"u-{number}",
        "email": f"ana{number}@example.org",
        "role": Role.OPERATOR,
        "password_hash": "$2b$x",
        "created_at": 1000.0 + number,
    }
    return User(**(values | changes))


def key(number: int = 1, **changes) -> ApiKey:
    values = {"digest": bytes([number]) * 32, "id": f"k-{number}", "tenant": "acme", "subject": "robot"}
    return ApiKey(**(values | changes))


async def test_a_user_is_added_changed_and_found(store):
    users = Users(store)
    assert await users.count() == 0
    await users.save(user())
    changed = user(role=Role.ADMIN, disabled=True, tenant="acme")
    await users.save(changed)
    assert await users.get("u-1") == changed
    assert await users.by_email("ANA1@Example.org") == changed
    assert await users.by_email("nobody@example.org") is None
    assert await users.count() == 1


async def test_two_users_cannot_share_an_address_in_any_spelling(store):
    await Users(store).save(user(1))
    with pytest.raises(ConflictError):
        await Users(store).save(user(2, email="ANA1@example.org"))


async def test_users_come_in_pages_newest_first(store):
    users = Users(store)
    for number in range(5):
        await users.save(user(number))
    first = await users.page(limit=3)
    second = await users.page(limit=3, cursor=first.next)
    assert [one.id for one in (*first.items, *second.items)] == ["u-4", "u-3", "u-2", "u-1", "u-0"]


async def test_deleting_a_user_signs_them_out(store):
    users = Users(store)
    await users.save(user())
    session = Session(b"d" * 32, "u-1", time.time(), time.time() + 60)
    await users.open_session(session)
    assert await users.session(b"d" * 32) == (session, user())
    await users.delete("u-1")
    assert await users.session(b"d" * 32) is None
    with pytest.raises(NotFoundError):
        await users.delete("u-1")
    with pytest.raises(NotFoundError):
        await users.get("u-1")


async def test_a_session_is_closed_once_and_expired_ones_go_by_themselves(store):
    users = Users(store)
    await users.save(user())
    await users.open_session(Session(b"old", "u-1", 1.0, 2.0))
    await users.open_session(Session(b"new", "u-1", 1.0, time.time() + 60))
    assert await users.session(b"old") is None
    await users.close_session(b"new")
    await users.close_session(b"new")
    assert await users.session(b"new") is None


async def test_a_key_is_good_until_revoked_or_expired(store):
    keys = ApiKeys(store)
    good = key(1, scopes=frozenset({"orders:read", "x"}), expires_at=time.time() + 60)
    await keys.save(good)
    await keys.save(key(2, expires_at=time.time() - 1))
    await keys.save(key(3))
    await keys.revoke("k-3")
    assert list(await keys.all_active()) == [good]
    assert {one.id for one in (await keys.page()).items} == {"k-1", "k-2"}
    with pytest.raises(NotFoundError):
        await keys.revoke("k-3")
    with pytest.raises(ConflictError):
        await keys.save(key(4, digest=good.digest))


async def test_tenants_are_kept_with_their_plan(store):
    tenants = Tenants(store)
    await tenants.save(Tenant("acme", "Acme", "free", 1.0))
    await tenants.save(Tenant("acme", "Acme Inc.", "gold", 2.0))
    await tenants.save(Tenant("zoo", created_at=3.0))
    assert await tenants.get("acme") == Tenant("acme", "Acme Inc.", "gold", 1.0)
    assert await tenants.plans() == {"acme": "gold"}
    assert [one.id for one in (await tenants.page()).items] == ["zoo", "acme"]
    await tenants.delete("zoo")
    with pytest.raises(NotFoundError):
        await tenants.delete("zoo")
    with pytest.raises(NotFoundError):
        await tenants.get("zoo")


async def test_the_trail_reads_newest_first_and_keeps_a_repeated_line_once(store):
    audit = Audit(store)
    lines = [
        AuditEntry(float(n // 2), "user ana", "action.approved", f"action {n}", "acme", {"n": "\x00"}) for n in range(5)
    ]
    for line in [*lines, lines[0]]:
        await audit.write(line)
    first = await audit.page(limit=2)
    second = await audit.page(limit=10, cursor=first.next)
    assert [*first.items, *second.items] == lines[::-1]


async def test_writers_of_one_store_do_not_get_in_each_others_way(store):
    users = Users(store)
    await asyncio.gather(*(users.save(user(number)) for number in range(30)))
    assert await users.count() == 30
