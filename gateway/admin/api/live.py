"""The live tail as Server-Sent Events: a bounded number of streams, a heartbeat, and an end when the session ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec
from starlette.responses import StreamingResponse

from gateway.admin import tenancy
from gateway.admin.api.shapes import RequestRow, shown
from gateway.errors import TooManyAttemptsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Self

    from gateway.domain.identity import Actor
    from gateway.domain.traffic import RequestRecord

MOST_STREAMS = 32
HEARTBEAT_S = 15.0  # below the idle timeout of common proxies (nginx: 60 s)
LONGEST_S = 3600.0  # a browser reconnects by itself; a forgotten tab does not stay for ever
_encode = msgspec.json.Encoder().encode
R = TypeVar("R", bound="tenancy.Owned")
R_contra = TypeVar("R_contra", contravariant=True)


class LiveQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests to follow."""

    route: str = ""
    upstream: str = ""
    tenant: str = ""
    status: int = 0  # exact, or 1..5 for a class

    def fits(self, record: RequestRecord) -> bool:
        """Whether the reader wants this one."""
        return (
            self.route in {"", record.route}
            and self.upstream in {"", record.upstream}
            and self.tenant in {"", record.tenant}
            and self.status in {0, record.status, record.status // 100}
        )


class Wanted(Protocol[R_contra]):
    """A reader's filter."""

    def fits(self, record: R_contra, /) -> bool:
        """Whether the reader wants this one."""
        ...


def request_event(record: RequestRecord) -> bytes:
    """A record as one event of the stream."""
    return b"event: request\ndata: " + _encode(shown(record, RequestRow)) + b"\n\n"


class LiveStreams:
    """Hands out streams, at most ``most`` at a time."""

    def __init__(self, *, most: int = MOST_STREAMS, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._most = most
        self._heartbeat_s = heartbeat_s
        self.open = 0

    def response(
        self,
        records: AsyncIterator[R],
        *,
        actor: Actor,
        wanted: Wanted[R],
        event: Callable[[R], bytes],
        still_allowed: Callable[[], Awaitable[bool]],
    ) -> StreamingResponse:
        """A stream of what belongs to the caller.

        Args:
            records: a fresh subscription; closed with the stream.
            actor: whose records.
            wanted: the reader's filter.
            event: one of them as the stream carries it.
            still_allowed: asked at every heartbeat; the stream ends when it says no.

        Raises:
            TooManyAttemptsError: every stream is taken.
        """
        if self.open >= self._most:
            raise TooManyAttemptsError(
                f"all {self._most} live streams are taken", retry_after_s=10.0, remedy="Close one, or try again later."
            )
        events = self._events(records, actor, wanted, event, still_allowed)
        return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def _events(
        self,
        records: AsyncIterator[R],
        actor: Actor,
        wanted: Wanted[R],
        event: Callable[[R], bytes],
        still_allowed: Callable[[], Awaitable[bool]],
    ) -> AsyncGenerator[bytes, None]:
        self.open += 1
        try:
            async with _Following(records) as following:
                yield b"retry: 3000\n: connected\n\n"
                clock = asyncio.get_running_loop().time
                ends_at = clock() + LONGEST_S
                beats_at = clock() + self._heartbeat_s
                while clock() < ends_at and not following.over:
                    record = await following.next(within_s=beats_at - clock())
                    if record is not None and tenancy.sees(actor, record) and wanted.fits(record):
                        yield event(record)
                    if clock() >= beats_at:
                        beats_at = clock() + self._heartbeat_s
                        if not await still_allowed():
                            return
                        yield b": beat\n\n"
        finally:
            self.open -= 1


class _Following(Generic[R]):
    """A subscription one can wait on for a while without losing the record that comes just after."""

    def __init__(self, records: AsyncIterator[R]) -> None:
        self._records = records
        self._pending: asyncio.Task[R | None] | None = None
        self.over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pending is not None:
            self._pending.cancel()
            await asyncio.gather(self._pending, return_exceptions=True)
        if isinstance(self._records, AsyncGenerator):
            await self._records.aclose()

    async def next(self, *, within_s: float) -> R | None:
        """The next record, or None when none came in time; ``over`` is set at the end."""
        self._pending = self._pending or asyncio.create_task(self._advance())
        await asyncio.wait({self._pending}, timeout=max(0.0, within_s))
        if not self._pending.done():
            return None
        record, self._pending = self._pending.result(), None
        return record

    async def _advance(self) -> R | None:
        try:
            return await anext(self._records)
        except StopAsyncIteration:  # control is closing
            self.over = True
            return None
