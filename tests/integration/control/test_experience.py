"""Runbooks out of a folder and past incidents become evidence, over a real store."""

from __future__ import annotations

import msgspec
import pytest

from gateway.control.experience import recalled
from gateway.control.memory import Memory
from gateway.control.runbooks import Shelf
from gateway.domain.incident import IncidentState
from gateway.errors import ConflictError, NotFoundError
from gateway.store import migrate
from gateway.store.engine import open_store
from gateway.store.incidents import Incidents
from gateway.store.runbooks import Runbooks
from tests.unit.diagnose.test_memory import incident, with_outcome

pytestmark = pytest.mark.anyio

POOL = "---\ntitle: Pool\nservices: [payments]\n---\nErrors because of a full pool.\n"


@pytest.fixture
async def store(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    await migrate.upgrade(url)
    opened = open_store(url)
    yield opened
    await opened.close()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "runbooks"
    made.mkdir()
    (made / "Pool_full.md").write_text(POOL)
    (made / "broken.md").write_text("---\ntitle Pool\n---\n")
    return made


@pytest.fixture
async def shelf(store, folder):
    made = Shelf(Runbooks(store), str(folder), leading=lambda: True, clock=lambda: 7.0)
    await made.sync()
    return made


async def test_files_are_read_and_one_that_cannot_be_is_listed_with_its_line(shelf):
    found = {one.id: one for one in (await shelf.page()).items}
    assert found["pool-full"].title == "Pool"
    assert found["broken"].line == 2
    assert "name: value" in found["broken"].error


async def test_a_changed_file_is_read_again_and_a_deleted_one_goes(shelf, folder):
    (folder / "broken.md").write_text(POOL.replace("Pool", "Mended"))
    (folder / "Pool_full.md").unlink()
    await shelf.sync()
    assert [(one.id, one.title) for one in (await shelf.page()).items] == [("broken", "Mended")]


async def test_what_comes_out_of_a_file_is_changed_there(shelf):
    with pytest.raises(ConflictError):
        await shelf.delete("pool-full")
    with pytest.raises(ConflictError):
        await shelf.add("pool-full", POOL)
    await shelf.add("by-hand", POOL)
    await shelf.delete("by-hand")
    with pytest.raises(NotFoundError):
        await shelf.get("by-hand")


async def test_a_folder_that_is_not_there_holds_nothing(store, tmp_path):
    shelf = Shelf(Runbooks(store), str(tmp_path / "none"), leading=lambda: True, clock=lambda: 7.0)
    await shelf.sync()
    assert (await shelf.page()).items == ()


async def test_runbook_and_past_incident_become_evidence_with_ids_that_go_on(store, shelf):
    memory = Memory(Incidents(store))
    before = with_outcome(incident(number="0"), "helped")
    await memory.save(msgspec.structs.replace(before, state=IncidentState.CLOSED))
    now = incident()
    evidence = await recalled(now, now.diagnosis, shelf, memory)
    told = evidence[len(now.diagnosis.evidence) :]
    assert [one.kind for one in told] == ["runbook", "memory"]
    assert [one.id for one in evidence] == [f"e{number}" for number in range(1, len(evidence) + 1)]
    assert 'Runbook "Pool" fits:' in told[0].statement and "errors" in told[0].statement
    assert "eject_target measurably helped then" in told[1].statement


async def test_memory_comes_back_with_the_next_process(store):
    first = Memory(Incidents(store))
    await first.save(msgspec.structs.replace(with_outcome(incident(), "worse"), state=IncidentState.CLOSED))
    second = Memory(Incidents(store))
    assert list(await second.open_ones()) == []
    assert second.past == first.past
    assert second.calibration.outcomes == 1


async def test_a_store_that_is_away_costs_the_runbooks_alone(tmp_path):
    away = open_store("postgresql://sentinel@127.0.0.1:1/none")
    shelf = Shelf(Runbooks(away), "", leading=lambda: True, clock=lambda: 7.0)
    now = incident()
    assert await recalled(now, now.diagnosis, shelf, None) == now.diagnosis.evidence
    await away.close()
