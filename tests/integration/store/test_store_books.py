from __future__ import annotations

import asyncio

import msgspec
import pytest

from gateway.domain.snapshot import Directive, DirectiveKind
from gateway.errors import ConflictError, NotFoundError
from gateway.store.directives import Directives
from gateway.store.leases import Leases
from gateway.store.outbox import Outbox
from gateway.store.revisions import Revisions

pytestmark = pytest.mark.anyio

ORDER = Directive(
    id="d-1",
    kind=DirectiveKind.EJECT_TARGET,
    upstream="payments",
    target="10.0.0.5:9000",
    share=0.0,
    issued_at=1000.0,
    expires_at=1600.0,
    fence=4,
    source="incident",
    reason="errors",
    action_id="a-1",
)


async def test_the_same_news_is_kept_once(store):
    outbox = Outbox(store)
    assert await outbox.enqueue("i-1/opened/slack", "slack", "{}", 10.0)
    assert not await outbox.enqueue("i-1/opened/slack", "slack", "{}", 20.0)
    (entry,) = await outbox.due(30.0, 10, 60.0)
    assert (entry.dedup_key, entry.created_at, entry.attempts) == ("i-1/opened/slack", 10.0, 1)


async def test_a_claimed_entry_is_nobody_elses_until_its_lease_is_over(store):
    outbox = Outbox(store)
    for number in range(20):
        await outbox.enqueue(str(number), "slack", "{}", 10.0 + number)
    claims = await asyncio.gather(*(outbox.due(100.0, 5, 60.0) for _ in range(6)))
    claimed = [entry.dedup_key for entries in claims for entry in entries]
    assert sorted(claimed, key=int) == [str(number) for number in range(20)]
    assert await outbox.due(159.0, 100, 60.0) == []
    again = await outbox.due(160.0, 100, 60.0)
    assert {entry.attempts for entry in again} == {2}
    assert len(again) == 20


async def test_the_oldest_due_come_first(store):
    outbox = Outbox(store)
    for number in (3, 1, 2):
        await outbox.enqueue(str(number), "slack", "{}", float(number))
    assert [entry.dedup_key for entry in await outbox.due(2.5, 10, 60.0)] == ["1", "2"]


async def test_what_is_delivered_or_given_up_is_over_and_what_failed_comes_back(store):
    outbox = Outbox(store)
    for name in ("a", "b", "c"):
        await outbox.enqueue(name, "slack", "{}", 1.0)
    by_name = {entry.dedup_key: entry.id for entry in await outbox.due(2.0, 10, 60.0)}
    await outbox.delivered(by_name["a"], 3.0)
    await outbox.given_up(by_name["b"], "gone", 3.0)
    await outbox.failed(by_name["c"], "x" * 9999, 5.0)
    await outbox.failed(by_name["a"], "late news", 4.0)
    assert [entry.dedup_key for entry in await outbox.due(1000.0, 10, 60.0)] == ["c"]
    assert await outbox.counts() == {"waiting": 1, "delivered": 1, "given_up": 1}


async def test_who_was_told_is_known_by_prefix(store):
    outbox = Outbox(store)
    await outbox.enqueue("i-1/opened/a", "a", "{}", 1.0)
    await outbox.enqueue("i-1/closed/b", "b", "{}", 1.0)
    await outbox.enqueue("i-10/opened/c", "c", "{}", 1.0)
    await outbox.enqueue("i_1/opened/d", "d", "{}", 1.0)
    assert await outbox.told("i-1/") == {"a", "b"}
    assert await outbox.told("i_1/") == {"d"}
    assert await outbox.told("i%") == frozenset()


async def test_what_ended_long_ago_is_purged_and_what_waits_is_not(store):
    outbox = Outbox(store)
    await outbox.enqueue("old", "a", "{}", 1.0)
    await outbox.delivered((await outbox.due(1.0, 1, 1.0))[0].id, 2.0)
    await outbox.enqueue("waits", "a", "{}", 1.0)
    assert await outbox.purge(10.0) == 1
    assert await outbox.counts() == {"waiting": 1, "delivered": 0, "given_up": 0}


async def test_revisions_count_up_and_read_newest_first(store):
    revisions = Revisions(store)
    assert await revisions.latest() is None
    one = await revisions.add("a = 1", "user ana", "first", 10.0)
    two = await revisions.add("a = 2", "cli", "", 20.0)
    assert (one.revision, two.revision) == (1, 2)
    assert await revisions.latest() == two
    assert list(await revisions.history()) == [two, one]
    assert await revisions.get(1) == one
    with pytest.raises(NotFoundError):
        await revisions.get(9)


async def test_revisions_added_at_once_never_share_a_number(store):
    added = await asyncio.gather(
        *(Revisions(store).add(str(number), "cli", "", 1.0) for number in range(8)), return_exceptions=True
    )
    numbers = [one.revision for one in added if not isinstance(one, ConflictError)]
    assert len(numbers) == len(set(numbers)) >= 1
    assert len(await Revisions(store).history()) == len(numbers)


async def test_a_directive_is_in_force_until_it_expires_or_is_withdrawn(store):
    directives = Directives(store)
    await directives.save(ORDER)
    await directives.save(msgspec.structs.replace(ORDER, id="d-2"))
    assert list(await directives.active(1599.0)) == [ORDER, msgspec.structs.replace(ORDER, id="d-2")]
    await directives.withdraw("d-2")
    await directives.withdraw("d-9")
    assert list(await directives.active(1599.0)) == [ORDER]
    assert list(await directives.active(1600.0)) == []


async def test_a_directive_of_an_older_leader_changes_nothing(store):
    directives = Directives(store)
    await directives.save(ORDER)
    await directives.save(msgspec.structs.replace(ORDER, fence=3, share=1.0))
    assert list(await directives.active(1001.0)) == [ORDER]
    trial = msgspec.structs.replace(ORDER, fence=5, share=0.1, expires_at=1700.0)
    await directives.save(trial)
    assert list(await directives.active(1001.0)) == [trial]


async def test_one_of_many_gets_the_lease(store):
    won = await asyncio.gather(*(Leases(store).acquire("leader", f"node-{n}", 30.0) for n in range(10)))
    assert sum(lease is not None for lease in won) == 1


async def test_renewing_keeps_the_token_and_every_change_of_hands_raises_it(store):
    leases = Leases(store)
    first = await leases.acquire("leader", "a", 30.0)
    renewed = await leases.acquire("leader", "a", 30.0)
    assert renewed.fence == first.fence
    assert await leases.acquire("leader", "b", 30.0) is None
    await leases.release("leader", "b")
    assert await leases.acquire("leader", "b", 30.0) is None
    await leases.release("leader", "a")
    second = await leases.acquire("leader", "b", 0.05)
    assert second.fence > first.fence
    await asyncio.sleep(0.1)
    third = await leases.acquire("leader", "b", 30.0)
    assert third.fence > second.fence


async def test_leases_of_other_names_are_apart(store):
    assert await Leases(store).acquire("leader", "a", 30.0)
    assert await Leases(store).acquire("reports", "b", 30.0)
