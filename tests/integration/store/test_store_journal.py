from __future__ import annotations

import msgspec
import pytest

from gateway.domain.audit import AuditEntry
from gateway.domain.incident import IncidentState
from gateway.domain.plan import ActionState
from gateway.errors import InvalidInputError, NotFoundError, StoreUnavailableError
from gateway.store import migrate
from gateway.store.actions import Actions
from gateway.store.audit import Audit
from gateway.store.engine import open_store
from gateway.store.incidents import Incidents
from gateway.store.journal import Journal
from gateway.store.journaled import JournaledActions, JournaledAudit, JournaledIncidents
from tests import servers
from tests.store_values import NOW, action, incident

pytestmark = pytest.mark.anyio

LINE = AuditEntry(NOW, "user ana", "action.approved", "action a-1")


class Away:
    """Stands in for any aggregate of a database that is away."""

    def __getattr__(self, name):
        async def refuse(*args, **kwargs):
            raise StoreUnavailableError("away")

        return refuse


async def test_work_goes_on_through_an_outage_and_arrives_afterwards(tmp_path):
    """Fault 3, with a PostgreSQL that is really stopped and started."""
    with servers.postgres_server() as server:
        await migrate.upgrade(server.url)
        store = open_store(server.url)
        journal = Journal(tmp_path / "journal")
        incidents = JournaledIncidents(Incidents(store), journal)
        audit = JournaledAudit(Audit(store), journal)
        actions = JournaledActions(Actions(store), journal)
        await incidents.save(incident(actions=(action(),)))
        server.stop()
        assert await actions.claim("a-1", ActionState.PENDING, ActionState.APPROVED)
        assert not await actions.claim("a-1", ActionState.PENDING, ActionState.REJECTED)
        approved = incident(version=2, state=IncidentState.ANALYZING, actions=(action(state=ActionState.APPROVED),))
        await incidents.save(approved)
        await incidents.save(incident(id="i-2", opened_at=NOW + 1))
        await audit.write(LINE)
        assert await incidents.get("i-1") == await incidents.of_action("a-1") == approved
        assert [one.id for one in (await incidents.page(state="open")).items] == ["i-2", "i-1"]
        assert (await audit.page()).items == (LINE,)
        assert journal.waiting == 4
        server.start()
        assert await journal.carry_over()
        assert not (tmp_path / "journal").exists()
        assert await Incidents(store).get("i-1") == approved
        assert await Incidents(store).get("i-2")
        assert await Actions(store).state("a-1") is ActionState.APPROVED
        assert (await Audit(store).page()).items == (LINE,)
        await store.close()


async def test_a_restart_during_the_outage_remembers_incidents_and_decisions(tmp_path):
    journal = Journal(tmp_path / "journal")
    await JournaledIncidents(Away(), journal).save(incident(version=7))
    await JournaledAudit(Away(), journal).write(LINE)
    assert await JournaledActions(Away(), journal).claim("a-1", ActionState.PENDING, ActionState.APPROVED)
    again = Journal(tmp_path / "journal")
    assert list(await JournaledIncidents(Away(), again).open_ones()) == [incident(version=7)]
    assert not await JournaledActions(Away(), again).claim("a-1", ActionState.PENDING, ActionState.APPROVED)
    assert (await JournaledAudit(Away(), again).page()).items == (LINE,)


async def test_what_waits_is_carried_over_by_the_next_save_that_succeeds(store, tmp_path):
    journal = Journal(tmp_path / "journal")
    await JournaledIncidents(Away(), journal).save(incident())
    incidents = JournaledIncidents(Incidents(store), journal)
    await incidents.save(incident(id="i-2"))
    assert journal.waiting == 0
    assert {one.id for one in await incidents.open_ones()} == {"i-1", "i-2"}


async def test_a_journal_that_is_older_than_the_store_changes_nothing(store, tmp_path):
    await Incidents(store).save(incident(version=5))
    journal = Journal(tmp_path / "journal")
    await JournaledIncidents(Away(), journal).save(incident(version=4))
    assert list(await JournaledIncidents(Incidents(store), journal).open_ones()) == [incident(version=5)]


async def test_an_incident_nobody_knows_is_not_found_with_the_store_and_unavailable_without(store, tmp_path):
    with pytest.raises(NotFoundError):
        await JournaledIncidents(Incidents(store), Journal(tmp_path / "a")).get("i-9")
    with pytest.raises(StoreUnavailableError):
        await JournaledIncidents(Away(), Journal(tmp_path / "b")).get("i-9")


async def test_only_the_latest_version_of_an_incident_waits(tmp_path):
    journal = Journal(tmp_path / "journal")
    incidents = JournaledIncidents(Away(), journal)
    for version in range(1, 9):
        await incidents.save(incident(version=version))
    assert journal.waiting == 1
    (body,) = journal.of_kind("incident")
    assert msgspec.json.decode(body)["version"] == 8


async def test_the_journal_is_bounded_and_counts_what_it_drops(tmp_path):
    journal = Journal(tmp_path / "journal", max_bytes=1000)
    for number in range(100):
        journal.add("audit", str(number), b'"' + b"x" * 50 + b'"')
    assert (tmp_path / "journal").stat().st_size < 2500
    assert journal.dropped + journal.waiting == 100
    assert journal.of_kind("audit")[-1]
    assert Journal(tmp_path / "journal").waiting >= journal.waiting


async def test_a_torn_last_line_costs_only_itself(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.add("audit", "a", b'"one"')
    journal.add("audit", "b", b'"two"')
    content = (tmp_path / "journal").read_bytes()
    (tmp_path / "journal").write_bytes(content[:-4])
    again = Journal(tmp_path / "journal")
    assert again.of_kind("audit") == [b'"one"']
    again.add("audit", "c", b'"three"')
    assert Journal(tmp_path / "journal").of_kind("audit") == [b'"one"', b'"three"']


async def test_an_entry_the_database_refuses_does_not_hold_up_the_others(tmp_path):
    journal = Journal(tmp_path / "journal")
    arrived = []

    async def carry(body):
        if body == b'"bad"':
            raise InvalidInputError("no")
        arrived.append(body)

    journal.register("audit", carry)
    for name in ("one", "bad", "two"):
        journal.add("audit", name, f'"{name}"'.encode())
    assert await journal.carry_over()
    assert arrived == [b'"one"', b'"two"']
    assert b"bad" in (tmp_path / "journal.refused").read_bytes()


async def test_an_entry_replaced_while_it_is_carried_over_is_carried_over_again(tmp_path):
    journal = Journal(tmp_path / "journal")
    arrived = []

    async def carry(body):
        arrived.append(body)
        if body == b"1":
            journal.add("incident", "i", b"2")

    journal.register("incident", carry)
    journal.add("incident", "i", b"1")
    assert not await journal.carry_over()
    assert await journal.carry_over()
    assert arrived == [b"1", b"2"]


async def test_an_entry_of_another_version_is_set_aside(store, tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.add("incident", "i", b'{"shape": "unknown"}')
    assert list(await JournaledIncidents(Incidents(store), journal).open_ones()) == []
    assert journal.waiting == 0
    assert (tmp_path / "journal.refused").exists()


async def test_a_disk_that_is_full_as_well_leaves_the_entry_in_memory(tmp_path):
    journal = Journal(tmp_path / "journal")
    (tmp_path / "journal").mkdir()
    journal.add("audit", "a", b'"one"')
    assert journal.of_kind("audit") == [b'"one"']
