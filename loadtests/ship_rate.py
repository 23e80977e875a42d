"""How many records a second control ships, and what each costs it in processor time.

    python loadtests/ship_rate.py                      SQLite in a scratch folder, PostgreSQL started for it
    python loadtests/ship_rate.py --url postgresql://…  one database of your own (records are added to it)

Goals: at least 10,000 records a second; at most 25 µs a record on SQLite and 15 µs on PostgreSQL, processor time of
the shipping process over everything it does with a record: reading, decoding, summing, storing, deleting.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from gateway import logs
from gateway.collect.ship import Shipper
from gateway.collect.spool import SpoolWriter
from gateway.metrics import WorkerCounters
from gateway.store import migrate
from gateway.store.engine import open_store
from gateway.store.records import Records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.domain.traffic import BatchHeader, RequestRecord
    from gateway.domain.window import Cell

ROUTES = ("orders", "payments", "catalog", "search")
TENANTS = tuple(f"tenant-{number}" for number in range(20))


class Counting:
    """An observer that only counts."""

    def __init__(self) -> None:
        self.stored = 0

    def on_batch(self, header: BatchHeader, records: Sequence[RequestRecord], cells: dict[int, Cell]) -> None:
        """Detection has its own budget."""

    def on_lost(self, records: int) -> None:
        """Nothing is lost here; the sums at the end would show it."""

    def on_stored(self, records: int, poisoned: int, seconds: float) -> None:  # noqa: ARG002 - the observer's shape
        """Count what arrived."""
        self.stored += records

    def on_store(self, *, up: bool) -> None:
        """The figure would be meaningless with the store away."""
        if not up:
            raise SystemExit("the store is away")

    def on_spool(self, waiting_bytes: int) -> None:
        """Nobody looks."""


def fill(folder: Path, count: int) -> float:
    """Write ``count`` records as a worker does; processor seconds of it."""
    chance = random.Random(7)
    now = time.time()
    rows = []
    for number in range(count):
        route = chance.choice(ROUTES)
        rows.append((
            str(uuid.UUID(int=chance.getrandbits(128))),
            now + number / 10_000,
            chance.choice(("GET", "GET", "GET", "POST")),
            f"/{route}/{chance.randrange(100_000)}",
            "page=2&sort=name",
            chance.choice((200,) * 18 + (404, 502)),
            route,
            route,
            f"10.0.0.{chance.randrange(4)}:9000",
            chance.choice(TENANTS),
            f"user-{chance.randrange(1000)}",
            "203.0.113.9",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
            "",
            0,
            1234,
            chance.randrange(500, 90_000),
            12,
            30,
            44,
            0,
            4800,
            200,
            1,
            f"{chance.getrandbits(128):032x}",
            f"{chance.getrandbits(64):016x}",
            f"{chance.getrandbits(64):016x}",
        ))  # fmt: skip
    writer = SpoolWriter(folder, node="bench", worker=0, counters=WorkerCounters(), max_bytes=8 << 30)
    before = time.process_time()
    for row in rows:
        writer.append(row)
    asyncio.run(writer.close())
    return time.process_time() - before


async def ship(url: str, folder: Path) -> dict[str, float]:
    """Ship all of it; figures."""
    await migrate.upgrade(url)
    store = open_store(url)
    observer = Counting()
    shipper = Shipper(folder, Records(store), observer, node="bench")
    await shipper.start()
    started, before = time.perf_counter(), time.process_time()
    await shipper.drain(600)
    elapsed, used = time.perf_counter() - started, time.process_time() - before
    await store.close()
    return {
        "records": observer.stored,
        "records_per_s": round(observer.stored / elapsed),
        "control_us_per_record": round(used / observer.stored * 1e6, 2),
    }


def measure(name: str, url: str, count: int) -> None:
    """Fill, ship, print one line of JSON."""
    with tempfile.TemporaryDirectory(prefix="sentinel-ship-") as scratch:
        worker_s = fill(Path(scratch), count)
        figures = asyncio.run(ship(url, Path(scratch)))
    print(json.dumps({"store": name, **figures, "worker_us_per_record": round(worker_s / count * 1e6, 2)}))


def main() -> None:
    """Read the arguments and measure."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--url", default="")
    arguments.add_argument("--records", type=int, default=100_000)
    given = arguments.parse_args()
    logs.configure(level="ERROR")
    if given.url:
        measure(given.url.partition(":")[0], given.url, given.records)
        return
    with tempfile.TemporaryDirectory(prefix="sentinel-ship-db-") as scratch:
        measure("sqlite", f"sqlite:///{scratch}/sentinel.db", given.records)
    from tests.servers import postgres_server

    with postgres_server() as server:
        measure("postgresql", server.url, given.records)


if __name__ == "__main__":
    main()
