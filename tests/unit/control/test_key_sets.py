"""When keys are fetched, what a failure changes, and what an unknown key may ask for."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from gateway.control.key_sets import REFRESH_S, UNKNOWN_S, KeySets
from gateway.domain.access import JwtPolicy
from gateway.domain.snapshot import Snapshot
from gateway.errors import KeySetError
from tests.tokens import jwk, key_set, private_key

URL, OTHER = "https://id.example/jwks", "https://two.example/jwks"
UNKNOWN = {f"sentinel_unknown_keys_total|{URL}": 1.0}


def a_set(kid: str) -> str:
    return key_set(jwk(private_key("ES256"), kid=kid))


class Provider:
    """Answers with ``body``, or fails while there is none."""

    def __init__(self) -> None:
        self.body: bytes | None = a_set("1").encode()
        self.asked: list[str] = []
        self.at_once = 0

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        self.at_once += 1
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.body is None:
            raise KeySetError("the provider is away")
        return self.body


class Published:
    def __init__(self, *urls: str, key_sets: dict[str, str] | None = None) -> None:
        policies = tuple(JwtPolicy(algorithms=("ES256",), jwks_url=url, issuer=url) for url in urls)
        self.snapshot = Snapshot(
            revision=1, created_at=0.0, routes=(), upstreams=(), jwt=policies, key_sets=key_sets or {}
        )
        self.written = 0

    def set_key_set(self, url: str, text: str) -> Snapshot:
        if self.snapshot.key_sets.get(url) != text:
            self.written += 1
            self.snapshot.key_sets[url] = text
        return self.snapshot


class World:
    def __init__(self, *urls: str, key_sets: dict[str, str] | None = None) -> None:
        self.now = 1000.0
        self.provider = Provider()
        self.published = Published(*(urls or (URL,)), key_sets=key_sets)
        self.counted: list[str] = []
        self.key_sets = KeySets(
            self.published,
            self.provider,
            count=lambda _, outcome: self.counted.append(outcome),
            clock=lambda: self.now,
            random=lambda: 0.5,
        )

    async def after(self, seconds: float) -> int:
        """Look again that much later; how often the provider was asked."""
        self.now += seconds
        before = len(self.provider.asked)
        await self.key_sets.look()
        return len(self.provider.asked) - before


@pytest.mark.anyio
async def test_a_set_is_fetched_at_once_and_then_every_five_minutes():
    world = World()
    assert [await world.after(seconds) for seconds in (0, 1, REFRESH_S - 2, 2)] == [1, 0, 0, 1]
    assert world.published.written == 1
    (status,) = world.key_sets.status()
    assert (status.keys, status.fetched_at, status.error) == (1, world.now, "")
    assert world.counted == ["fetched", "fetched"]


@pytest.mark.anyio
async def test_only_public_members_are_published_in_an_order_of_their_own():
    world = World()
    one, two = (jwk(private_key("ES256", number), kid=str(number), x5u="https://evil.example/") for number in (1, 2))
    world.provider.body = key_set(two, one).encode()
    await world.after(0)
    first = world.published.snapshot.key_sets[URL]
    assert "evil" not in first
    world.provider.body = key_set(one, two).encode()
    await world.after(REFRESH_S)
    assert (world.published.snapshot.key_sets[URL], world.published.written) == (first, 1)


@pytest.mark.anyio
async def test_a_provider_that_is_away_changes_nothing_and_is_asked_ever_more_rarely():
    world = World(key_sets={URL: a_set("0")})
    world.provider.body = None
    asked_at = [world.now for _ in range(1500) if await world.after(1)]
    waits = [later - sooner for sooner, later in pairwise(asked_at)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert world.published.snapshot.key_sets[URL] == a_set("0")
    (status,) = world.key_sets.status()
    assert (status.keys, status.error) == (1, "the provider is away")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        b"<html>Sign in</html>",
        b'{"keys": []}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "1"}]}',
        b'{"error": "maintenance"}',
        b'{"keys": 1}',
        b"\xff",
        b'{"a":' + b"[" * 5000,
    ],
)
async def test_an_answer_that_is_no_usable_set_changes_nothing(body):
    world = World(key_sets={URL: a_set("0")})
    world.provider.body = body
    await world.after(0)
    assert world.published.written == 0
    assert world.counted == ["failed"]


@pytest.mark.anyio
async def test_an_unknown_key_brings_the_fetch_forward_once_a_minute():
    world = World()
    await world.after(0)
    await world.after(10)
    fetches = 0
    for _ in range(130):
        world.key_sets.on_counters(UNKNOWN)
        fetches += await world.after(1)
    assert fetches == 1 + 130 // UNKNOWN_S


@pytest.mark.anyio
async def test_a_count_of_the_time_before_the_last_fetch_does_not_use_up_the_minute():
    world = World()
    await world.after(0)
    world.key_sets.on_counters(UNKNOWN)
    assert await world.after(1) == 0
    await world.after(5)
    world.key_sets.on_counters(UNKNOWN)
    assert await world.after(1) == 1


@pytest.mark.anyio
async def test_an_unknown_key_does_not_undo_the_wait_after_a_failure():
    world = World()
    world.provider.body = None
    await world.after(0)
    world.key_sets.on_counters(UNKNOWN)
    assert await world.after(1) == 0


@pytest.mark.anyio
async def test_an_unknown_key_of_a_url_that_nobody_uses_is_ignored():
    world = World()
    await world.after(0)
    world.key_sets.on_counters({f"sentinel_unknown_keys_total|{OTHER}": 1.0, "sentinel_limiter_fallback_total": 2.0})
    assert await world.after(1) == 0


@pytest.mark.anyio
async def test_urls_that_leave_the_configuration_are_forgotten():
    world = World(URL, OTHER)
    assert await world.after(0) == 2
    world.published.snapshot = Published(OTHER).snapshot
    await world.after(1)
    assert [status.url for status in world.key_sets.status()] == [OTHER]


@pytest.mark.anyio
async def test_a_clock_set_back_puts_no_fetch_off():
    world = World()
    await world.after(0)
    assert await world.after(-7200) == 1


@pytest.mark.anyio
async def test_keys_that_share_a_name_are_left_out_and_said():
    world = World()
    twins = [jwk(private_key("ES256", number), kid="same") for number in (1, 2)]
    world.provider.body = key_set(*twins, jwk(private_key("ES256", 3), kid="3")).encode()
    await world.after(0)
    (status,) = world.key_sets.status()
    assert (status.keys, status.left_out) == (1, ("2 keys have the same kid",))
