"""How a target is reached: the addresses behind its name, its Unix socket, its TLS; and the race among addresses.

A :class:`Dialer` belongs to a worker and holds what targets share: the resolver, and one TLS context for each upstream.
A :class:`Way` belongs to the connections of one target. Addresses race as RFC 8305 has it: the next one is tried when
the one before failed or has been silent for a quarter of a second, and the first that stands wins.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import TYPE_CHECKING, TypeVar

from gateway.proxy.resolve import UNIX, Name, Resolver, is_name
from gateway.proxy.tls import TlsUnusableError, UpstreamContexts, plain_reason, server_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.upstreams import Target, Upstream
    from gateway.metrics import WorkerCounters
    from gateway.proxy.tls import UpstreamContext

NEXT_ADDRESS_S = 0.25  # RFC 8305 §5: Connection Attempt Delay

P = TypeVar("P", bound=asyncio.BaseProtocol)

# What opening a connection may raise. TimeoutError and ssl.SSLError are OSErrors; a name that TLS or the resolver
# cannot put into their own form is a ValueError.
DIAL_ERRORS = (OSError, ValueError, TlsUnusableError)


class Dialer:
    """What every target of a worker shares. Made and used on one event loop."""

    def __init__(self, resolver: Resolver | None = None) -> None:
        self.resolver = resolver or Resolver()
        self._contexts = UpstreamContexts()

    def way(self, upstream: Upstream, target: Target, on_gone: Callable[[], None]) -> Way:
        """The way to one target; ``on_gone`` is told when its name no longer stands for all it did."""
        context = self._contexts.of(upstream) if target.tls else None
        return Way(self.resolver, context, upstream, target, on_gone)

    def take_counts(self, counters: WorkerCounters) -> None:
        """Hand over what was counted since the last time."""
        for outcome, count in self.resolver.lookups.items():
            if count:
                counters.count("sentinel_name_lookups_total", outcome, amount=count)
                self.resolver.lookups[outcome] = 0

    def close(self) -> None:
        """Read no file any more."""
        self._contexts.close()


class Way:
    """The way to one target."""

    def __init__(
        self,
        resolver: Resolver,
        context: UpstreamContext | None,
        upstream: Upstream,
        target: Target,
        on_gone: Callable[[], None],
    ) -> None:
        self._target = target
        self._tls = upstream.tls
        self._context = context
        self._server_name = server_name(upstream.tls, target) if target.tls else None
        self._name: Name | None = None
        if is_name(target.host):
            self._name = Name(resolver, target.host, target.port, upstream.resolve_s, on_gone)

    def leads_to(self, upstream: Upstream, target: Target) -> bool:
        """Whether connections made this way are good for this (newer) definition as well."""
        ours = self._target
        return (ours.host, ours.port, ours.tls) == (target.host, target.port, target.tls) and (
            not target.tls or self._tls == upstream.tls
        )

    def change(self, upstream: Upstream) -> None:
        """Take what may change without a new way."""
        if self._name is not None:
            self._name.resolve_s = upstream.resolve_s

    async def open(self, make: Callable[[], P]) -> tuple[asyncio.Transport, P, str]:
        """Connect, and shake hands where there is TLS; the time for it is the caller's to bound.

        Returns:
            transport, protocol, and the address ("" where no name was looked up).

        Raises:
            OSError, ValueError, TlsUnusableError: see :func:`reason_of`.
        """
        context = None if self._context is None else await self._context.current()
        if self._name is None:
            return (*await self._connect(make, self._target.host, context), "")
        addresses = await self._name.addresses()
        if len(addresses) == 1:
            return (*await self._connect(make, addresses[0], context), addresses[0])
        return await self._race(make, addresses, context, self._name)

    def holds(self, address: str) -> bool:
        """Whether the target is still at ``address``, which :meth:`open` once gave."""
        return self._name is None or address in self._name.known

    def rest(self) -> None:
        """Nothing new is wanted of this target, except by who waits already."""
        if self._name is not None:
            self._name.rest()

    def close(self) -> None:
        """Look nothing up any more."""
        if self._name is not None:
            self._name.close()

    async def _connect(
        self, make: Callable[[], P], host: str, context: ssl.SSLContext | None
    ) -> tuple[asyncio.Transport, P]:
        loop = asyncio.get_running_loop()
        if host.startswith(UNIX):
            path = host.removeprefix(UNIX)
            return await loop.create_unix_connection(make, path, ssl=context, server_hostname=self._server_name)
        return await loop.create_connection(
            make, host, self._target.port, ssl=context, server_hostname=self._server_name
        )

    async def _race(
        self, make: Callable[[], P], addresses: tuple[str, ...], context: ssl.SSLContext | None, name: Name
    ) -> tuple[asyncio.Transport, P, str]:
        attempts: dict[asyncio.Task[tuple[asyncio.Transport, P]], str] = {}
        left = list(addresses)
        problem: BaseException = OSError("no address")
        winner: asyncio.Task[tuple[asyncio.Transport, P]] | None = None
        try:
            while left or attempts:
                if left:
                    address = left.pop(0)
                    attempts[asyncio.create_task(self._connect(make, address, context))] = address
                delay_s = NEXT_ADDRESS_S if left else None
                done, _ = await asyncio.wait(attempts, timeout=delay_s, return_when=asyncio.FIRST_COMPLETED)
                for attempt in done:
                    error = attempt.exception()
                    if error is None:
                        winner = attempt
                        return (*attempt.result(), attempts[attempt])
                    name.failed(attempts.pop(attempt))
                    problem = error
            raise problem
        finally:
            last = winner or next(reversed(attempts), None)
            for attempt, address in attempts.items():
                if attempt is last:
                    last = None
                elif last is not None:
                    name.failed(address)  # silent for at least NEXT_ADDRESS_S
                if attempt is not winner:
                    attempt.cancel()
                    attempt.add_done_callback(_discard)


def _discard(attempt: asyncio.Task[tuple[asyncio.Transport, P]]) -> None:
    """A connection that came too late to be of use."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[0].abort()


def reason_of(error: Exception) -> str:
    """In words that name no address: clients get to see them, and asyncio's own texts hold host and port."""
    if isinstance(error, TlsUnusableError):
        return f"no connection: {error}"
    if isinstance(error, ssl.SSLError):
        return f"no connection: {plain_reason(error)}"
    if isinstance(error, (socket.gaierror, ValueError)):
        return "no connection: the name does not resolve"
    number = getattr(error, "errno", None)
    if number is None and isinstance(error, ConnectionError):
        return "no connection: the target closed it at once"  # within the TLS handshake
    return f"no connection: {os.strerror(number)}" if number else "no connection: every address refused"
