"""Runbooks and the search over them, one body for both databases."""

from __future__ import annotations

import pytest

from gateway.domain.runbook import Runbook
from gateway.errors import InvalidInputError, NotFoundError
from gateway.store import runbooks as module
from gateway.store.runbooks import Runbooks

pytestmark = pytest.mark.anyio

POOL = Runbook("pool", "The database pool is exhausted", ("payments",), ("error_rate",), body="Timeouts and locks.")
DISK = Runbook("disk", "The disk is full", body="Delete old logs. Then restart the database.", updated_at=2.0)


@pytest.fixture
async def kept(store):
    made = Runbooks(store)
    await made.save(POOL)
    await made.save(DISK)
    return made


async def test_words_are_found_in_title_services_signals_and_body(kept):
    for word, wanted in (("exhausted", "pool"), ("payments", "pool"), ("error_rate", "pool"), ("logs", "disk")):
        assert [one.runbook.id for one in await kept.search([word])] == [wanted]


async def test_a_word_is_found_in_its_other_forms(kept):
    assert [one.runbook.id for one in await kept.search(["timeout", "locking"])] == ["pool"]


async def test_the_title_counts_more_than_the_body_and_the_words_that_match_are_told(kept):
    found = await kept.search(["database", "nonsense"])
    assert [one.runbook.id for one in found] == ["pool", "disk"]
    assert found[0].score > found[1].score
    assert found[0].words == ("database",)


@pytest.mark.parametrize(
    "hostile", ['"', "' OR 1=1 --", "a NEAR b", "*", "x:*", "(((", "\x00", "title:pool AND", "&|!"]
)
async def test_a_search_is_words_whatever_is_asked(kept, hostile):
    assert [one.runbook.id for one in await kept.search([hostile, "exhausted"])] == ["pool"]
    assert await kept.search(["***"]) == ()


async def test_saving_again_replaces_it_in_the_search_as_well(kept):
    await kept.save(Runbook("pool", "Nothing of the kind", body="Else."))
    assert await kept.search(["exhausted"]) == []
    assert (await kept.get("pool")).title == "Nothing of the kind"


async def test_a_deleted_one_is_gone_from_everywhere(kept):
    await kept.delete("pool")
    assert await kept.search(["exhausted"]) == []
    with pytest.raises(NotFoundError):
        await kept.get("pool")
    with pytest.raises(NotFoundError):
        await kept.delete("pool")


async def test_one_that_could_not_be_read_is_listed_and_never_found(kept):
    await kept.save(Runbook("bad", "bad", body="exhausted", source="file", error="a colon is missing", line=3))
    assert [one.runbook.id for one in await kept.search(["exhausted"])] == ["pool"]
    assert [one.line for one in await kept.of_files()] == [3]
    assert {one.id for one in (await kept.page()).items} == {"pool", "disk", "bad"}


async def test_they_come_in_pages(kept):
    first = await kept.page(limit=1)
    second = await kept.page(limit=1, cursor=first.next)
    assert [one.id for one in (*first.items, *second.items)] == ["disk", "pool"]


async def test_they_are_bounded(kept, monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)
    await kept.save(POOL)
    with pytest.raises(InvalidInputError):
        await kept.save(Runbook("third", "t", body="b"))
