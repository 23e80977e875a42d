"""The addresses behind a target's name, looked up again and again so that a move is noticed without a restart.

A name is looked up when its target becomes known and every ``resolve_s`` after that, in the background: opening a
connection uses what is known and waits only if nothing is yet. A lookup that fails keeps the last addresses. Addresses
are tried in turn, so that all of them get connections; one that just failed is tried after the others.
"""

from __future__ import annotations

import asyncio
import random
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gateway import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

UNIX = "unix:"
MAX_ADDRESSES = 64  # of one name; a resolver that answers more is not believed to mean all of them
LOOKUPS_AT_ONCE = 4  # a dead name server holds a thread for half a minute: it must not hold all of them
RETRY_S = 1.0  # after a failed lookup the next one is not sooner, however many connections are wanted
MAX_RETRY_S = 5.0  # and not later, even where names are looked up rarely
AVOID_S = 10.0  # how long an address that failed stands behind the others
_JITTER = 0.2  # share of the interval it may come sooner: workers do not all ask in the same instant

_log = logs.get("proxy")


def is_name(host: str) -> bool:
    """Whether ``host`` has to be looked up: it is neither an address nor a Unix socket."""
    if host.startswith(UNIX):
        return False
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return False


def interleaved(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Both families in turn, beginning with the family of the first, without repetition (RFC 8305 §4)."""
    unique = tuple(dict.fromkeys(addresses))[:MAX_ADDRESSES]
    six = [address for address in unique if ":" in address]
    four = [address for address in unique if ":" not in address]
    first, second = (six, four) if unique and ":" in unique[0] else (four, six)
    merged: list[str] = []
    for place in range(max(len(first), len(second))):
        merged += [*first[place : place + 1], *second[place : place + 1]]
    return tuple(merged)


async def system_lookup(host: str, port: int) -> tuple[str, ...]:
    """What the system's resolver says, in its order (RFC 6724): in a thread of the event loop, never on it."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses: list[str] = []
    for family, _, _, _, place in found:
        address = str(place[0])
        if family == socket.AF_INET6 and len(place) == 4 and place[3] and "%" not in address:  # noqa: PLR2004 - RFC 3493
            address = f"{address}%{place[3]}"  # link-local: meaningless without its interface
        addresses.append(address)
    return tuple(addresses)


class Resolver:
    """Looks names up, a few at a time. One for a worker.

    Args:
        lookup: awaited with host and port; raises OSError (or ValueError) when there is no answer.
        chance: numbers in [0, 1) for the jitter.
    """

    def __init__(
        self,
        lookup: Callable[[str, int], Awaitable[tuple[str, ...]]] = system_lookup,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.lookups = {"resolved": 0, "failed": 0}
        self._lookup = lookup
        self._chance = chance
        self._permits = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    def jittered(self, interval_s: float) -> float:
        """An interval a little shorter."""
        return interval_s * (1 - _JITTER * self._chance())

    async def addresses(self, host: str, port: int) -> tuple[str, ...]:
        """Every address of ``host``, families in turn.

        Raises:
            OSError: there is none.
        """
        try:
            async with self._permits:
                found = interleaved(await self._lookup(host, port))
            if not found:
                raise socket.gaierror(socket.EAI_NONAME, "no address")
        except ValueError as error:  # what getaddrinfo says of a label that is too long (UnicodeError), or of a NUL
            self.lookups["failed"] += 1
            raise socket.gaierror(socket.EAI_NONAME, "not a name") from error
        except OSError:
            self.lookups["failed"] += 1
            raise
        self.lookups["resolved"] += 1
        return found


class Name:
    """One name and what it stands for now.

    Args:
        on_gone: called when an answer no longer holds all addresses the one before did.
    """

    def __init__(
        self,
        resolver: Resolver,
        host: str,
        port: int,
        resolve_s: float,
        on_gone: Callable[[], None],
    ) -> None:
        self.resolve_s = resolve_s
        self.known: tuple[str, ...] = ()
        self._resolver = resolver
        self._host = host
        self._port = port
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._resting = False
        self._failing = False
        self._failed_at = float("-inf")
        self._problem: OSError | None = None
        self._turn = 0
        self._avoided: dict[str, float] = {}
        self._look_up()

    async def addresses(self) -> tuple[str, ...]:
        """Where to connect, in the order to try; another address is first each time.

        Raises:
            OSError: the name does not resolve, and never has.
        """
        if not self.known:
            now = self._loop.time()
            if self._task is None and now - self._failed_at >= RETRY_S:
                self._look_up()
            if self._task is not None:
                await asyncio.shield(self._task)
            if not self.known:
                raise self._problem or socket.gaierror(socket.EAI_NONAME, "not looked up")
        known = self.known
        if len(known) == 1:
            return known
        first = self._turn = (self._turn + 1) % len(known)
        turned = known[first:] + known[:first]
        if not self._avoided:
            return turned
        now = self._loop.time()
        self._avoided = {address: until for address, until in self._avoided.items() if until > now}
        # Sorting is stable: those in good standing first, each group in its turn.
        return tuple(sorted(turned, key=self._avoided.__contains__))

    def failed(self, address: str) -> None:
        """No connection could be made to ``address``: others go first for a while."""
        if address in self.known:
            self._avoided[address] = self._loop.time() + AVOID_S

    def rest(self) -> None:
        """Look nothing up by itself any more; who still wants a connection may wait for the lookup under way."""
        self._resting = True
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        """Look nothing up any more, and leave the lookup under way."""
        self.rest()
        if self._task is not None:
            self._task.cancel()

    def _look_up(self) -> None:
        self._timer = None
        if self._task is None:
            self._task = self._loop.create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            found = await self._resolver.addresses(self._host, self._port)
        except OSError as error:
            self._note_failure(error)
            wait_s = min(max(self.resolve_s, RETRY_S), MAX_RETRY_S)
        else:
            self._note(found)
            wait_s = self.resolve_s
        finally:
            self._task = None
        if not self._resting:
            self._timer = self._loop.call_later(self._resolver.jittered(wait_s), self._look_up)

    def _note(self, found: tuple[str, ...]) -> None:
        if self._failing:
            self._failing = False
            _log.info("name.resolved", host=self._host, addresses=len(found))
        # A resolver that rotates its answer says nothing new: keeping the order keeps the turns even.
        gone = frozenset(self.known) - frozenset(found)
        if gone or len(found) != len(self.known):
            if self.known:
                _log.info("name.moved", host=self._host, addresses=len(found), gone=len(gone))
            self.known = found
            self._avoided = {address: until for address, until in self._avoided.items() if address in found}
        if gone:
            self._on_gone()

    def _note_failure(self, error: OSError) -> None:
        self._problem = error
        self._failed_at = self._loop.time()
        if not self._failing:
            self._failing = True
            _log.warning("name.unresolved", host=self._host, kept=len(self.known), error=str(error.strerror or error))
