"""Keys made elsewhere: kept once, and published together."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gateway.control.keys import PublishedKeys
from gateway.domain.access import ApiKey
from gateway.errors import ConflictError

pytestmark = pytest.mark.anyio


def key(number: int, **changes) -> ApiKey:
    return ApiKey(
        **({"digest": bytes([number]) * 32, "id": f"k-{number}", "tenant": "acme", "subject": "ana"} | changes)
    )


class Store:
    def __init__(self, revoked: ApiKey | None = None) -> None:
        self.kept: list[ApiKey] = []
        self._revoked = revoked

    async def save(self, key: ApiKey) -> None:
        if self._revoked is not None and key.digest == self._revoked.digest:
            raise ConflictError("the database already holds such a row")
        self.kept.append(key)

    async def all_active(self) -> list[ApiKey]:
        return list(self.kept)


class Publisher:
    def __init__(self) -> None:
        self.snapshot = SimpleNamespace(keys=())
        self.published = 0

    def set_keys(self, keys: tuple[ApiKey, ...]) -> None:
        self.snapshot = SimpleNamespace(keys=keys)
        self.published += 1


async def test_many_keys_are_one_change_for_the_workers_and_a_second_time_none():
    store, publisher = Store(), Publisher()
    keys = PublishedKeys(store, publisher)
    given = [key(number) for number in range(1, 40)]
    assert list(await keys.adopt([*given, key(1, id="again")])) == [key(1, id="again"), *given[1:]]
    assert (publisher.published, len(publisher.snapshot.keys)) == (1, 39)
    assert list(await keys.adopt(given)) == []
    assert publisher.published == 1


async def test_one_that_was_revoked_is_refused_by_its_subject_and_those_before_it_work():
    store, publisher = Store(revoked=key(2)), Publisher()
    with pytest.raises(ConflictError, match="the key of bo was here before"):
        await PublishedKeys(store, publisher).adopt([key(1), key(2, subject="bo"), key(3)])
    assert publisher.snapshot.keys == (key(1),)
