"""Alerts, dead letters and deploys on both databases."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.dead_letter import KEPT_S, MOST_CHARACTERS, DeadLetter
from gateway.domain.deploy import Deploy
from gateway.domain.incident import AlertSource, AlertWords, ExternalAlert, Place, Severity
from gateway.errors import NotFoundError
from gateway.store import external_alerts
from gateway.store.dead_letters import DeadLetters
from gateway.store.deploys import Deploys
from gateway.store.external_alerts import ExternalAlerts

pytestmark = pytest.mark.anyio
NOW = 1_795_230_000.0


def alert(name: str, **more: object) -> ExternalAlert:
    whole = ExternalAlert(
        fingerprint=name,
        source=AlertSource.ALERTMANAGER,
        severity=Severity.P2,
        place=Place(upstream="payments"),
        starts_at=NOW - 60,
        received_at=NOW,
        heard_at=NOW,
        words=AlertWords("High\x00Errors", "it fails", labels=(("service", "payments"),)),
    )
    return msgspec.structs.replace(whole, **more)


def letter(number: int, **more: object) -> DeadLetter:
    whole = DeadLetter(f"dl-{number:04}", NOW + number, "alertmanager", "alerts[0].status", "is missing", 20, "{}")
    return msgspec.structs.replace(whole, **more)


async def test_what_was_heard_last_of_an_alert_counts_whoever_saves_it_when(store):
    alerts = ExternalAlerts(store)
    await alerts.save([alert("a"), alert("b")])
    await alerts.save([alert("a", heard_at=NOW + 10, ended_at=NOW + 9, resolved=True)])
    await alerts.save([alert("a", heard_at=NOW + 5)])
    assert [one.fingerprint for one in await alerts.known(NOW + 20)] == ["b"]
    assert {one.fingerprint for one in await alerts.known(NOW)} == {"a", "b"}
    assert (await alerts.page()).items[0].resolved


async def test_alerts_that_ended_long_ago_are_forgotten_and_those_that_fire_are_not(store):
    alerts = ExternalAlerts(store)
    await alerts.save([alert("over", ended_at=NOW), alert("fires")])
    await alerts.purge(NOW + external_alerts.KEPT_S + 1)
    assert [one.fingerprint for one in (await alerts.page()).items] == ["fires"]


async def test_pages_of_alerts_hold_each_once(store):
    alerts = ExternalAlerts(store)
    await alerts.save([alert(f"a{number}", heard_at=NOW + number % 3) for number in range(7)])
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await alerts.page(limit=2, cursor=cursor)
        seen += [one.fingerprint for one in page.items]
        cursor = page.next
    assert sorted(seen) == [f"a{number}" for number in range(7)]


async def test_a_dead_letter_is_kept_cut_and_read_again(store):
    letters = DeadLetters(store)
    await letters.add(letter(1, body="x\x00" * MOST_CHARACTERS))
    kept = await letters.get("dl-0001")
    assert len(kept.body) == MOST_CHARACTERS
    assert "\x00" not in kept.body
    assert (await letters.summary())[0] == 1
    assert await letters.purge() == 1
    with pytest.raises(NotFoundError):
        await letters.purge("dl-0001")


async def test_dead_letters_are_bounded_in_number_and_age(store):
    letters = DeadLetters(store)
    await letters.add(letter(0, at=NOW - KEPT_S - 1))
    for number in range(1, 4):
        await letters.add(letter(number))
    assert [one.id for one in (await letters.page()).items] == ["dl-0003", "dl-0002", "dl-0001"]
    await letters.forget(NOW + 2 + KEPT_S)
    assert [one.id for one in (await letters.page()).items] == ["dl-0003", "dl-0002"]


async def test_the_oldest_dead_letter_makes_room(store, monkeypatch):
    monkeypatch.setattr("gateway.store.dead_letters.MOST_DEAD_LETTERS", 2)
    letters = DeadLetters(store)
    for number in range(4):
        await letters.add(letter(number))
    assert [one.id for one in (await letters.page()).items] == ["dl-0003", "dl-0002"]


async def test_a_deploy_told_twice_is_one(store):
    deploys = Deploys(store)
    one = Deploy("de-1", "payments", "v2.3", NOW, NOW + 1, "https://example.org/1", "ana")
    assert await deploys.save(one)
    assert not await deploys.save(one)
    assert (await deploys.page()).items == (one,)


async def test_deploys_of_one_service_and_of_a_stretch_of_time(store):
    deploys = Deploys(store)
    for number, service in enumerate(("payments", "orders", "payments")):
        await deploys.save(Deploy(f"de-{number}", service, f"v{number}", NOW + number, NOW))
    assert [one.id for one in (await deploys.page(service="payments")).items] == ["de-2", "de-0"]
    assert [one.id for one in await deploys.between(NOW + 1, NOW + 5)] == ["de-2", "de-1"]
    assert (await deploys.delete("de-2")).version == "v2"
    await deploys.purge(NOW + 1)
    assert [one.id for one in (await deploys.page()).items] == ["de-1"]
    with pytest.raises(NotFoundError):
        await deploys.delete("de-2")
