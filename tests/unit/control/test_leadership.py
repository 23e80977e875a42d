"""Who leads, and when there is something to take over."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from gateway.control.leadership import Leadership
from gateway.errors import StoreUnavailableError

pytestmark = pytest.mark.anyio


class Lease(NamedTuple):
    fence: int


class Leases:
    """One lease; ``holder`` is who has it."""

    def __init__(self) -> None:
        self.away = False
        self.holder = ""

    async def acquire(self, _name: str, holder: str, _ttl_s: float) -> Lease | None:
        if self.away:
            raise StoreUnavailableError("away")
        self.holder = self.holder or holder
        return Lease(7) if self.holder == holder else None

    async def release(self, _name: str, holder: str) -> None:
        if self.holder == holder:
            self.holder = ""


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
def leadership(leases: Leases) -> Leadership:
    return Leadership(leases, "me", on_fence=lambda _fence: None)


async def test_the_first_to_ask_leads_and_takes_over_once(leadership: Leadership) -> None:
    assert await leadership.look()
    assert leadership.leading
    assert not await leadership.look()


async def test_somebody_elses_lease_is_respected_until_it_is_given_up(leadership: Leadership, leases: Leases) -> None:
    leases.holder = "another"
    assert not await leadership.look()
    assert not leadership.leading
    await leases.release("", "another")
    assert await leadership.look()


async def test_a_leader_goes_on_through_an_outage_and_takes_nothing_over_after_it(
    leadership: Leadership, leases: Leases
) -> None:
    await leadership.look()
    leases.away = True
    assert not await leadership.look()
    assert leadership.leading
    assert not leadership.store_up
    leases.away = False
    assert not await leadership.look()
    assert leadership.store_up


async def test_who_began_alone_takes_over_again_when_the_store_is_first_seen(
    leadership: Leadership, leases: Leases
) -> None:
    leases.away = True
    assert await leadership.look()
    assert leadership.leading
    assert not await leadership.look()
    leases.away = False
    assert await leadership.look(), "incidents that stood open in the store are unknown until now"
    assert not await leadership.look()


async def test_who_led_alone_steps_back_for_whoever_holds_the_lease(leadership: Leadership, leases: Leases) -> None:
    leases.away = True
    await leadership.look()
    leases.away, leases.holder = False, "another"
    assert not await leadership.look()
    assert not leadership.leading
