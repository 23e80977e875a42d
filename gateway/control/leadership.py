"""One control of all nodes leads: it holds a lease in the store and runs detection onwards; the others only ship."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from gateway import logs
from gateway.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

LEASE = "leader"
TTL_S = 15.0

_log = logs.get("control")


class Held(Protocol):
    """A lease that was won or renewed."""

    @property
    def fence(self) -> int:
        """Rises with every change of holder."""
        ...


class Leases(Protocol):
    """Where the lease is kept."""

    async def acquire(self, name: str, holder: str, ttl_s: float) -> Held | None:
        """Win or renew it; None while somebody else holds it. Raises StoreUnavailableError."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """Give it up."""
        ...


class Leadership:
    """Whether this control leads.

    While the store is away the leader goes on (nobody can win the lease meanwhile), and nobody else begins to lead. A
    control that has never seen the store leads its own node: an outage at start must not leave everybody blind.

    Attributes:
        leading: whether it leads now.
        since: since when, seconds since the epoch; None while it does not.
        store_up: whether the store answered the last look, so that an outage shows also where there is no traffic.
    """

    def __init__(self, leases: Leases, holder: str, *, on_fence: Callable[[int], object]) -> None:
        self._leases = leases
        self._holder = holder
        self._on_fence = on_fence
        self._asked = False
        self.leading = False
        self.since: float | None = None
        self.store_up = True

    async def look(self) -> bool:
        """Renew or try to win; True when there is a lead to take over: just won, or the store seen for the first time.

        Whoever led alone knows nothing yet of the incidents that stood open in the store.
        """
        before = self.leading and self._asked
        try:
            lease = await self._leases.acquire(LEASE, self._holder, TTL_S)
        except StoreUnavailableError as error:
            self.store_up = False
            begun = not self._asked and not self.leading
            if begun:
                self.leading = True
                _log.warning("leader.alone", reason=str(error))
            return begun
        self._asked = self.store_up = True
        self.leading = lease is not None
        if lease is not None:
            self._on_fence(lease.fence)
        if self.leading != before:
            _log.info("leader.won" if self.leading else "leader.lost", holder=self._holder)
            self.since = time.time() if self.leading else None
        return self.leading and not before

    async def resign(self) -> None:
        """Let another node lead at once instead of after the time to live."""
        if self.leading and self._asked:
            self.leading = False
            try:
                await self._leases.release(LEASE, self._holder)
            except StoreUnavailableError as error:
                _log.warning("leader.not_released", reason=str(error))
