from __future__ import annotations

import pytest

from gateway.domain.revocation import Revocation
from gateway.errors import InvalidInputError, NotFoundError
from gateway.store import revocations as module
from gateway.store.revocations import Revocations

pytestmark = pytest.mark.anyio


def one(name="a", created_at=1000.0, expires_at=2000.0, reason="why"):
    return Revocation(id=name, created_at=created_at, expires_at=expires_at, reason=reason)


async def test_what_is_revoked_is_in_force_until_it_expires(store):
    kept = Revocations(store)
    await kept.save(one("a"))
    await kept.save(one("b", expires_at=3000.0))
    assert await kept.in_force(1999.0) == {"a", "b"}
    assert await kept.in_force(2000.0) == {"b"}


async def test_revoking_again_moves_the_end(store):
    kept = Revocations(store)
    await kept.save(one(expires_at=2000.0))
    await kept.save(one(created_at=1500.0, expires_at=5000.0, reason="longer"))
    assert (await kept.page(1500.0)).items == (one(created_at=1500.0, expires_at=5000.0, reason="longer"),)


async def test_they_come_in_pages_newest_first_without_the_expired(store):
    kept = Revocations(store)
    for number in range(5):
        await kept.save(one(f"r-{number}", created_at=1000.0 + number))
    await kept.save(one("over", created_at=1100.0, expires_at=1101.0))
    first = await kept.page(1200.0, limit=3)
    second = await kept.page(1200.0, limit=3, cursor=first.next)
    assert [found.id for found in (*first.items, *second.items)] == ["r-4", "r-3", "r-2", "r-1", "r-0"]


async def test_one_can_be_taken_back_once(store):
    kept = Revocations(store)
    await kept.save(one())
    await kept.lift("a")
    assert await kept.in_force(1500.0) == frozenset()
    with pytest.raises(NotFoundError):
        await kept.lift("a")


async def test_they_are_bounded_and_expired_ones_make_room(store, monkeypatch):
    monkeypatch.setattr(module, "MOST_REVOCATIONS", 2)
    kept = Revocations(store)
    await kept.save(one("a"))
    await kept.save(one("b"))
    await kept.save(one("b"))
    with pytest.raises(InvalidInputError):
        await kept.save(one("c"))
    await kept.save(one("c", created_at=2000.0, expires_at=3000.0))
    assert await kept.in_force(2500.0) == {"c"}
