"""Controls that only ship, and die at the step they are told: started as a process of its own by test_shipping_crash.

    python tests/faults/shipping_child.py SPOOL URL

Each line "STEP NTH" on standard input forks one control; its pid is answered at once, its exit code when it has ended.
STEP is a name out of STEPS, "none" to ship everything, or "wait" to ship until killed. Forked, because importing a
control takes longer than the whole test of one step.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from gateway import logs
from gateway.collect import ship, tail
from gateway.collect.ship import Shipper
from gateway.store import records as records_module
from gateway.store.engine import open_store
from gateway.store.records import Records


class Quiet:
    """An observer that hears and forgets."""

    def on_batch(self, header, records, cells):
        pass

    def on_lost(self, records):
        pass

    def on_stored(self, records, poisoned, seconds):
        pass

    def on_store(self, *, up):
        pass

    def on_spool(self, waiting_bytes):
        pass


# Where to die: before or after these run.
STEPS = {
    "after_read": (tail.Tail, "read", "after"),
    "before_transaction": (Records, "ship", "before"),
    "after_check": (Records, "_check_positions", "after"),
    "after_records": (Records, "_insert", "after"),
    "after_buckets": (records_module, "add_to_rows", "after"),
    "before_commit": (Records, "_move_positions", "after"),
    "after_commit": (Records, "ship", "after"),
    "before_delete": (ship.Shipper, "_delete_stored", "before"),
    "within_delete": (ship.Shipper, "_remove", "after"),
    "after_delete": (ship.Shipper, "_delete_stored", "after"),
}


def die_at(step: str, nth: int) -> None:
    owner, name, when = STEPS[step]
    real = getattr(owner, name)
    calls = iter(range(1, 1_000_000))

    def count() -> bool:
        return next(calls) == nth

    if asyncio.iscoroutinefunction(real):

        @functools.wraps(real)
        async def wrapped(*args, **kwargs):
            last = count()
            if last and when == "before":
                os._exit(9)
            result = await real(*args, **kwargs)
            if last:
                os._exit(9)
            return result
    else:

        @functools.wraps(real)
        def wrapped(*args, **kwargs):
            last = count()
            if last and when == "before":
                os._exit(9)
            result = real(*args, **kwargs)
            if last:
                os._exit(9)
            return result

    setattr(owner, name, wrapped)


async def main(spool: str, url: str, step: str, nth: str) -> None:
    ship.SHIP_RECORDS = 40  # many transactions out of few records
    if step in STEPS:
        die_at(step, int(nth))
    store = open_store(url)
    shipper = Shipper(Path(spool), Records(store), Quiet(), node="n", ship_s=0.01)
    await shipper.start()
    if step == "wait":
        await shipper.run()
    for _ in range(3):  # positions of streams that are over go in a transaction of their own
        assert await shipper.drain(20)
    await store.close()


def serve(spool: str, url: str) -> None:
    logs.configure(level="ERROR", json=True)  # to standard error: standard output carries answers
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                asyncio.run(main(spool, url, *line.split()))
                code = 0
            finally:
                os._exit(code)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
