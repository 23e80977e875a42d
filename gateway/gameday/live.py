"""Game day in real time: the demo's services, gateway and callers as processes, and real faults in them.

Every fault has a stage of its own, since what a gateway learned from one would colour what it makes of the next. The
faults are those of the catalogue that the demo's services can have; places are carried over target by target.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.config import snapshot_file
from gateway.demo.load import TENANTS, Load
from gateway.demo.stage import SERVICES, Stage
from gateway.domain.incident import Incident, IncidentState, Place
from gateway.domain.topology import Topology
from gateway.gameday import services
from gateway.gameday.catalogue import BY_NAME
from gateway.gameday.faults import Right
from gateway.gameday.judging import judge
from gateway.gameday.play import READ_AFTER_S, Played
from gateway.gameday.world import Felt
from gateway.store.engine import open_store
from gateway.store.incidents import Incidents

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.demo.load import Answer
    from gateway.domain.diagnosis import Diagnosis
    from gateway.gameday.effects import Effect
    from gateway.gameday.faults import Fault
    from gateway.gameday.judging import Result

PLAYABLE = frozenset(
    {
        *("target-errors", "target-pool", "target-slow", "target-hangs", "service-errors", "slow-database"),
        *("cascade", "cascade-slow", "one-tenant"),
    }
)
QUIET_S = 75.0  # what "worse than before" wants to know of before, and some room
FAULT_S = 100.0
_CLOSE_WITHIN_S = 200.0
_CALM_WITHIN_S = 300.0
_LOOK_S = 0.5
_SLOW_S = 0.4  # slower than that callers feel it
_FAILED = 500
_MOST_DRAWS = 1000


def results(seed: int, runs: int, names: Sequence[str] = ()) -> Iterator[Result]:
    """Judged runs, some minutes each."""
    kinds = [name for name in (names or BY_NAME) if name in PLAYABLE]
    for number in range(runs):
        turn, place = divmod(number, len(kinds))
        order = list(kinds)
        random.Random(f"{seed}/turn/{turn}").shuffle(order)  # noqa: S311 - repeatable is the point
        draw = random.Random(f"{seed}/live/{number}")  # noqa: S311 - repeatable is the point
        with tempfile.TemporaryDirectory(prefix="sentinel-gameday-", ignore_cleanup_errors=True) as folder:
            yield asyncio.run(_run(number, order[place], draw, Path(folder)))


def drawn(kind: str, draw: random.Random) -> Fault:
    """A fault of that kind that the demo's services can have: they are three, with two targets each."""
    for _ in range(_MOST_DRAWS):
        fault = BY_NAME[kind].draw(draw, 0.0, 1.0)
        if all(_possible(effect) for effect in fault.effects):
            return fault
    raise ValueError(f"{kind} cannot be played on the demo's services")


def _possible(effect: Effect) -> bool:
    known = {target for name in SERVICES for target in services.target_names(name)[:2]}
    return (
        effect.service in SERVICES
        and effect.targets <= known
        and effect.tenant in {"", *TENANTS}
        and effect.route in {"", "items", effect.service}
    )


async def _run(number: int, kind: str, draw: random.Random, folder: Path) -> Result:
    async with Stage(folder) as stage:
        load = Load(stage.url, stage.secret, draw)
        asking = asyncio.create_task(load.run())
        try:
            await asyncio.sleep(QUIET_S)
            await _calm(stage)
            fault = _placed(drawn(kind, draw), stage, time.time())
            return await _played(number, fault, stage, load)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await load.close()


async def _calm(stage: Stage) -> None:
    """Wait until nothing is open: on a busy machine the quiet before may not be quiet, and the fault would join it."""
    for _ in range(int(_CALM_WITHIN_S / _LOOK_S)):
        if not (await stage.ask("/api/v1/incidents?state=open"))["items"]:
            return
        await asyncio.sleep(_LOOK_S)


async def _played(number: int, fault: Fault, stage: Stage, load: Load) -> Result:
    """Inject the fault, watch, lift it, and wait until everything is closed."""
    store = open_store(f"sqlite:///{stage.run_dir}/sentinel.db")
    incidents = Incidents(store)
    read: dict[str, Diagnosis] = {}
    offset_s = time.time() - time.monotonic()
    try:
        await _set(stage, fault.effects, fault.kind)
        known = await _watch(incidents, read, fault.ended)
        await _set(stage, fault.effects, "")
        while time.time() < fault.ended + _CLOSE_WITHIN_S and any(
            one.state is not IncidentState.CLOSED for one in known
        ):
            known = await _watch(incidents, read, time.time() + 5)
    finally:
        await store.close()
    felt = _felt(load.answers, offset_s)
    played = Played(tuple(known), read, felt, fault.began, time.time())
    topology = Topology.of(snapshot_file.read(stage.run_dir / "snapshot"))
    return judge(number, fault, played, topology)


async def _watch(incidents: Incidents, read: dict[str, Diagnosis], until: float) -> Sequence[Incident]:
    """Look at the incidents as they are kept, until that time."""
    while True:
        known = (await incidents.page(limit=50)).items
        now = time.time()
        for one in known:
            if one.diagnosis is not None and (one.id not in read or now <= one.opened_at + READ_AFTER_S):
                read[one.id] = one.diagnosis
        if now >= until:
            return known
        await asyncio.sleep(_LOOK_S)


async def _set(stage: Stage, effects: Sequence[Effect], kind: str) -> None:
    """Switch the fault on at every target it strikes, or off again."""
    for effect in effects:
        for target in effect.targets or [f"127.0.0.1:{port}" for port in stage.targets[effect.service]]:
            if not kind:
                await stage.set_fault(target, "")
            elif kind == "target-pool":
                await stage.set_fault(target, "pool")
            else:
                part: dict[str, float | str] = {"share": effect.share, "status": effect.status}
                await stage.set_fault(target, "part", delay_s=effect.add_s, tenant=effect.tenant, **part)


def _placed(fault: Fault, stage: Stage, now: float) -> Fault:
    """The fault with the names of this stage's targets and routes, from now on."""
    names = {
        old: f"127.0.0.1:{port}"
        for service in SERVICES
        for old, port in zip(services.target_names(service), stage.targets[service], strict=False)
    }

    def place(old: Place) -> Place:
        route = "catalog" if old.route == "items" else old.route
        return msgspec.structs.replace(old, target=names.get(old.target, ""), route=route)

    said = fault.said
    for old, new in names.items():
        said = said.replace(old, new)
    return msgspec.structs.replace(
        fault,
        said=said,
        began=now,
        ended=now + FAULT_S,
        causes=tuple(place(one) for one in fault.causes),
        right=tuple(Right(one.kind, one.upstream, names.get(one.target, "")) for one in fault.right),
        effects=tuple(
            msgspec.structs.replace(one, targets=frozenset(names[old] for old in one.targets)) for one in fault.effects
        ),
    )


def _felt(answers: Sequence[Answer], offset_s: float) -> dict[int, Felt]:
    """What callers felt, by the second; whoever is over a limit has only itself to blame."""
    felt: dict[int, Felt] = {}
    for one in answers:
        second = felt.setdefault(int(one.at + offset_s), Felt())
        failed = one.status == 0 or one.status >= _FAILED
        second.asked += 1
        second.failed += failed
        second.hurt += failed or one.seconds > _SLOW_S
    return felt
