from __future__ import annotations

import asyncio

import pytest

from gateway.domain.incident import IncidentState, Severity
from gateway.domain.plan import ActionState
from gateway.errors import InvalidInputError, NotFoundError
from gateway.store.actions import Actions
from gateway.store.incidents import Incidents
from tests.store_values import NOW, action, incident

pytestmark = pytest.mark.anyio


async def test_an_incident_reads_back_whole(store):
    wanted = incident(actions=(action(),), tenant="a\x00b")
    await Incidents(store).save(wanted)
    assert await Incidents(store).get("i-1") == wanted
    assert await Incidents(store).of_action("a-1") == wanted


async def test_saving_twice_is_saving_once_and_an_older_version_changes_nothing(store):
    incidents = Incidents(store)
    newer = incident(version=3, state=IncidentState.ANALYZING)
    for version in (incident(), newer, newer, incident(version=2)):
        await incidents.save(version)
    assert await incidents.get("i-1") == newer


async def test_what_is_not_there_is_not_found(store):
    with pytest.raises(NotFoundError, match="i-9"):
        await Incidents(store).get("i-9")
    with pytest.raises(NotFoundError, match="a-9"):
        await Incidents(store).of_action("a-9")
    with pytest.raises(NotFoundError, match="a-9"):
        await Actions(store).state("a-9")


async def test_open_ones_come_oldest_first_without_the_closed(store):
    incidents = Incidents(store)
    for number, state in enumerate([IncidentState.OPEN, IncidentState.CLOSED, IncidentState.MITIGATING]):
        await incidents.save(incident(id=f"i-{number}", state=state, opened_at=NOW - number))
    assert [one.id for one in await incidents.open_ones()] == ["i-2", "i-0"]


async def test_pages_filter_by_state_and_severity_newest_first(store):
    incidents = Incidents(store)
    for number in range(7):
        state = IncidentState.CLOSED if number % 2 else IncidentState.OPEN
        severity = Severity.P1 if number < 3 else Severity.P3
        await incidents.save(incident(id=f"i-{number}", opened_at=NOW, state=state, severity=severity))
    first = await incidents.page(limit=4)
    rest = await incidents.page(limit=4, cursor=first.next)
    assert [one.id for one in (*first.items, *rest.items)] == [f"i-{number}" for number in reversed(range(7))]
    assert rest.next is None
    assert {one.id for one in (await incidents.page(state="open")).items} == {"i-0", "i-2", "i-4", "i-6"}
    assert {one.id for one in (await incidents.page(state="CLOSED", severity="P1")).items} == {"i-1"}


async def test_a_cursor_that_is_not_ours_is_refused(store):
    with pytest.raises(InvalidInputError):
        await Incidents(store).page(cursor="x y")


async def test_fifty_clicks_at_once_claim_an_action_once(store):
    await Incidents(store).save(incident(actions=(action(),)))
    clicks = [
        Actions(store).claim("a-1", ActionState.PENDING, state)
        for state in [ActionState.APPROVED, ActionState.REJECTED] * 25
    ]
    assert sorted(await asyncio.gather(*clicks)) == [False] * 49 + [True]


async def test_an_unknown_action_cannot_be_claimed(store):
    assert not await Actions(store).claim("a-9", ActionState.PENDING, ActionState.APPROVED)


async def test_an_older_picture_of_an_action_does_not_make_it_claimable_again(store):
    incidents, actions = Incidents(store), Actions(store)
    await incidents.save(incident(actions=(action(),)))
    assert await actions.claim("a-1", ActionState.PENDING, ActionState.APPROVED)
    await incidents.save(incident(version=2, actions=(action(),)))
    assert await actions.state("a-1") is ActionState.APPROVED
    assert not await actions.claim("a-1", ActionState.PENDING, ActionState.APPROVED)


async def test_saving_an_incident_moves_its_actions_on(store):
    incidents, actions = Incidents(store), Actions(store)
    await incidents.save(incident(actions=(action(),)))
    await incidents.save(incident(version=2, actions=(action(state=ActionState.EXECUTED),)))
    assert await actions.state("a-1") is ActionState.EXECUTED
    assert not await actions.claim("a-1", ActionState.PENDING, ActionState.REJECTED)
