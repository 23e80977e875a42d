"""Silences are kept, ended and listed alike on both databases."""

from __future__ import annotations

import pytest

from gateway.domain.incident import Severity, Signal
from gateway.domain.silence import Matcher, Silence
from gateway.errors import InvalidInputError, NotFoundError
from gateway.store import silences as module
from gateway.store.silences import KEPT_S, Silences

pytestmark = pytest.mark.anyio
MATCHER = Matcher(upstream="payments", severities=(Severity.P3,), signals=(Signal.LATENCY,))


def one(name="si-1", *, created_at=1000.0, starts_at=1000.0, ends_at=2000.0):
    return Silence(name, MATCHER, created_at, starts_at, ends_at, "user ana", "migration \x00 of all")


async def test_a_silence_comes_back_as_it_was_made_until_it_is_over(store):
    silences = Silences(store)
    await silences.save(one())
    (found,) = await silences.not_over(1999.0)
    assert (found.matcher, found.who, found.ends_at) == (MATCHER, "user ana", 2000.0)
    assert "\x00" not in found.why
    assert list(await silences.not_over(2000.0)) == []


async def test_one_to_come_is_not_over(store):
    await Silences(store).save(one(starts_at=1500.0))
    assert [found.id for found in await Silences(store).not_over(1200.0)] == ["si-1"]


async def test_ending_one_ends_it_now_and_only_once(store):
    silences = Silences(store)
    await silences.save(one())
    assert (await silences.end("si-1", 1200.0)).ends_at == 1200.0
    assert list(await silences.not_over(1200.0)) == []
    with pytest.raises(NotFoundError):
        await silences.end("si-1", 1300.0)
    assert [found.ends_at for found in (await silences.page()).items] == [1200.0]


async def test_they_come_newest_first_in_pages_and_go_a_month_after_their_end(store):
    silences = Silences(store)
    for number in range(4):
        await silences.save(one(f"si-{number}", created_at=1000.0 + number))
    first = await silences.page(limit=3)
    second = await silences.page(limit=3, cursor=first.next)
    assert [found.id for found in (*first.items, *second.items)] == ["si-3", "si-2", "si-1", "si-0"]
    await silences.save(one("late", created_at=2001.0 + KEPT_S, ends_at=3000.0 + KEPT_S))
    assert [found.id for found in (await silences.page()).items] == ["late"]


async def test_there_is_a_most(store, monkeypatch):
    monkeypatch.setattr(module, "MOST_SILENCES", 2)
    silences = Silences(store)
    await silences.save(one("a"))
    await silences.save(one("b"))
    with pytest.raises(InvalidInputError):
        await silences.save(one("c"))
