"""What control does every five seconds, in order. No step's failure keeps the next from its turn."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from gateway import logs
from gateway.domain.window import FINE_S
from gateway.errors import SentinelError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.config.revisions import Revisions
    from gateway.control.directives import Board
    from gateway.control.gauges import Gauges
    from gateway.control.keys import PublishedKeys
    from gateway.control.leadership import Leadership
    from gateway.control.other_nodes import OtherNodes
    from gateway.control.revocations import PublishedRevocations
    from gateway.control.silences import Silences
    from gateway.pipeline import Pipeline

# A request of the last bin is in its batch after 200 ms and read 100 ms later; a second leaves room for a busy machine.
SETTLE_S = 1.0
RENEW_EVERY = 4  # rounds: a third of the time an ejection by health check lives
PURGE_EVERY = 720  # rounds: once an hour

_log = logs.get("control")


class Rounds:
    """Leads or follows, looks at traffic, keeps what could not be kept before.

    Args:
        leadership: whether this control leads.
        pipeline: detection onwards, for the leader.
        board: directives in force.
        keys: API keys in force.
        revocations: tokens and certificates that are refused.
        silences: what keeps incidents quiet.
        learn: by name, what is learned of others before each look: alerts, deploys.
        others: traffic of other nodes.
        revisions: the configuration's history.
        gauges: metrics of the moment.
        workers: how many workers are alive.
        observe_s: told how long a detection pass took.
        tell: says again what nobody answered, and what is told regularly; for the leader.
        purge: removes what is older than its retention.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        leadership: Leadership,
        pipeline: Pipeline,
        board: Board,
        keys: PublishedKeys,
        revocations: PublishedRevocations,
        silences: Silences,
        learn: Mapping[str, Callable[[], Awaitable[object]]],
        others: OtherNodes,
        revisions: Revisions,
        gauges: Gauges,
        workers: Callable[[], int],
        observe_s: Callable[[float], None],
        tell: Callable[[], Awaitable[object]],
        purge: Callable[[], Awaitable[object]],
        clock: Callable[[], float],
    ) -> None:
        self._leadership = leadership
        self._pipeline = pipeline
        self._board = board
        self._keys = keys
        self._revocations = revocations
        self._silences = silences
        self._learn = learn
        self._others = others
        self._revisions = revisions
        self._gauges = gauges
        self._workers = workers
        self._observe_s = observe_s
        self._tell = tell
        self._purge = purge
        self._clock = clock
        self._count = 0
        self._away: set[str] = set()  # steps that wait for the store

    async def run(self) -> None:
        """One round after the end of every five-second bin, until cancelled."""
        while True:
            await asyncio.sleep(FINE_S - (self._clock() - SETTLE_S) % FINE_S)
            await self.once()

    async def once(self) -> None:
        """One round."""
        self._count += 1
        await self._try("lead", self._lead)
        await self._try("silences", self._silences.refresh)
        await self._try("others", self._others.look)
        for what, step in self._learn.items():
            await self._try(what, step)
        if self._leadership.leading:
            await self._try("look", self._look)
            await self._try("tell", self._tell)
        await self._try("directives", self._board.sync)
        await self._try("keys", self._keys.publish)
        await self._try("revocations", self._revocations.publish)
        await self._try("revisions", self._revisions.record_missing)
        await self._try("revisions", self._revisions.follow)
        if self._count % RENEW_EVERY == 0:
            self._board.renew_health()
        if self._count % PURGE_EVERY == 0:
            await self._try("purge", self._purge)
        self._gauges.look(self._board.states(), self._workers())

    async def _lead(self) -> None:
        begun = await self._leadership.look()
        self._board.leading = self._leadership.leading
        if begun:
            await self._pipeline.take_over()

    async def _look(self) -> None:
        started = time.perf_counter()
        await self._pipeline.tick()
        self._observe_s(time.perf_counter() - started)

    async def _try(self, what: str, step: Callable[[], Awaitable[object]]) -> None:
        try:
            await step()
            self._away.discard(what)
        except StoreUnavailableError as error:
            if what not in self._away:  # once per outage, not every five seconds
                _log.warning("round.store_away", step=what, reason=str(error))
            self._away.add(what)
        except SentinelError as error:
            _log.error("round.failed", step=what, reason=str(error))
        except Exception:  # noqa: BLE001 - a task border: the next round must come whatever this one met
            _log.exception("round.crashed", step=what)
