"""A connection to a target on which the caller speaks by itself, as after an upgrade, held within the pool's limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.errors import SentinelError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gateway.domain.traffic import ErrorKind

P = TypeVar("P", bound="asyncio.BaseProtocol")


class NoConnectionError(SentinelError):
    """There is no connection to be had; nothing was sent. The message names no address: clients may see it.

    Attributes:
        kind: UPSTREAM_UNAVAILABLE when the target could not be reached, OVERLOADED when its connections are used up.
        status: what the client gets, 502 or 503.
        timed_out: whether the connect timeout is used up; another target need not be tried then.
    """

    def __init__(self, kind: ErrorKind, status: int, detail: str, *, timed_out: bool = False) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status = status
        self.timed_out = timed_out


class RawConnection(Generic[P]):
    """An open transport and the caller's protocol on it.

    It takes one of the target's ``max_connections`` until :meth:`release`: call that from ``connection_lost``.
    """

    def __init__(self, transport: asyncio.Transport, protocol: P, forget: Callable[[RawConnection[P]], None]) -> None:
        self.transport = transport
        self.protocol = protocol
        self._forget: Callable[[RawConnection[P]], None] | None = forget

    def release(self) -> None:
        """Give the slot back. Idempotent."""
        forget, self._forget = self._forget, None
        if forget is not None:
            forget(self)
