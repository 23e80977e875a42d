"""Workers' records through real databases that stop, freeze and come back (faults 3 and 4)."""

from __future__ import annotations

import asyncio
import signal

import pytest

from gateway.collect.ship import Shipper
from gateway.collect.spool import SpoolWriter
from gateway.domain.paging import RequestFilter
from gateway.errors import StoreUnavailableError
from gateway.metrics import WorkerCounters
from gateway.store import engine, migrate
from gateway.store.buckets import Buckets
from gateway.store.engine import open_store
from gateway.store.records import Records
from tests import servers
from tests.collect_rows import MINUTE, row

pytestmark = pytest.mark.anyio


class Watcher:
    def __init__(self) -> None:
        self.seen = 0
        self.lost = 0
        self.poisoned = 0
        self.ups: list[bool] = []

    def on_batch(self, header, records, cells):
        self.seen += len(records)

    def on_lost(self, records):
        self.lost += records

    def on_stored(self, records, poisoned, seconds):
        self.poisoned += poisoned

    def on_store(self, *, up):
        self.ups.append(up)

    def on_spool(self, waiting_bytes):
        pass


async def counted(store) -> int:
    return sum(tally.requests for _, tally in await Buckets(store).read(0, 1e12))


async def test_sent_is_stored_plus_counted_drops_through_an_outage_that_overflows_the_spool(tmp_path):
    with servers.postgres_server() as server:
        await migrate.upgrade(server.url)
        store = open_store(server.url)
        watcher = Watcher()
        folder = tmp_path / "spool"
        writer = SpoolWriter(folder, node="n", worker=0, counters=WorkerCounters(), max_bytes=1 << 20)
        shipper = Shipper(folder, Records(store), watcher, node="n")
        await shipper.start()
        sent = 0

        def send(count: int) -> None:
            nonlocal sent
            for _ in range(count):
                writer.append(row(id=str(sent), completed_at=MINUTE + sent % 60, path="/" + "x" * 200))
                sent += 1
            writer.flush()
            shipper.observe()

        send(1000)
        assert await shipper.drain()
        server.stop()
        for _ in range(20):
            send(500)
            assert not await shipper.ship()
        assert watcher.seen == sent  # detection saw everything, although the disk could not keep it
        server.start()
        async with asyncio.timeout(20):
            while not await shipper.drain():  # noqa: ASYNC110 - as the shipper itself: try again in a moment
                await asyncio.sleep(0.05)
        send(10)
        assert await shipper.drain()
        stored = await counted(store)
        assert watcher.ups == [True, False, True]
        assert stored < sent
        assert stored + watcher.lost == sent
        assert stored == len(await all_ids(store))
        await writer.close()
        await store.close()


async def all_ids(store) -> set[str]:
    ids, cursor = set(), ""
    while True:
        page = await Records(store).search(RequestFilter(limit=500, cursor=cursor))
        ids |= {item.id for item in page.items}
        if page.next is None:
            return ids
        cursor = page.next


async def test_a_poison_row_is_set_aside_and_all_others_are_stored(store, tmp_path):
    watcher = Watcher()
    folder = tmp_path / "spool"
    writer = SpoolWriter(folder, node="n", worker=0, counters=WorkerCounters())
    shipper = Shipper(folder, Records(store), watcher, node="n")
    await shipper.start()
    for number in range(300):
        changes = {"bytes_in": 2**63} if number == 123 else {}
        writer.append(row(id=str(number), **changes))
    await writer.close()
    assert await shipper.drain()
    assert await all_ids(store) == {str(number) for number in range(300)} - {"123"}
    assert watcher.poisoned == 1
    assert len(list((folder / "poison").iterdir())) == 1


async def test_a_database_that_is_frozen_is_given_up_in_time_and_then_refused_at_once(monkeypatch):
    monkeypatch.setattr(engine, "CONNECT_S", 0.3)
    with servers.postgres_server() as server:
        store = open_store(server.url)
        server.process.send_signal(signal.SIGSTOP)
        with pytest.raises(StoreUnavailableError):
            await store.ping()
        with pytest.raises(StoreUnavailableError, match="a moment ago"):
            await store.ping()
        server.process.send_signal(signal.SIGCONT)
        store._silent_until = 0.0
        await store.ping()
        await store.close()


async def test_a_read_only_database_counts_as_away_and_loses_nothing(postgres_database, tmp_path):
    """Fault 5."""
    await migrate.upgrade(postgres_database)
    store = open_store(postgres_database)
    watcher = Watcher()
    writer = SpoolWriter(tmp_path / "spool", node="n", worker=0, counters=WorkerCounters())
    shipper = Shipper(tmp_path / "spool", Records(store), watcher, node="n")
    await shipper.start()
    name = postgres_database.rsplit("/", 1)[1]
    await statement(store, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await store.close()  # the setting holds for new connections
    writer.append(row())
    writer.flush()
    assert not await shipper.drain()
    async with store.write() as connection:
        await connection.exec_driver_sql("SET TRANSACTION READ WRITE")
        await connection.exec_driver_sql(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await store.close()
    assert await shipper.drain()
    assert await counted(store) == 1
    assert watcher.ups == [True, False, True]
    await writer.close()
    await store.close()


async def statement(store, text: str) -> None:
    async with store.write() as connection:
        await connection.exec_driver_sql(text)
