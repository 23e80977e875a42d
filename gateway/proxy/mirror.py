"""Copies of requests to another upstream, whose answers nobody waits for.

A copy is sent once the request's body is whole, and only if that is short: the copy holds it until then. It never
holds up, slows down or fails what it copies: it begins after that, has a bound of its own on how many are under way,
and whatever goes wrong is only counted. Copies carry ``X-Sentinel-Mirror: 1``, which no client can send through the
gateway.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.proxy.call import REPLAY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.forwarding import Call, Headers, Outbound, Sink, UpstreamFailure
    from gateway.domain.routing import Mirror
    from gateway.domain.upstreams import Timeouts
    from gateway.metrics import WorkerCounters

MIRRORED = b"x-sentinel-mirror: 1\r\n"
MOST_UNDER_WAY = 64  # copies per worker
MOST_ROUTES = 4096  # whose shares are remembered
MOST_DISCARDED_BYTES = REPLAY_BYTES  # of an answer read so that its connection can be kept; a longer one is cut off

_log = logs.get("proxy")


class MirroredCall(Protocol):
    """A copy on its way: domain.forwarding.Call that has yet to start."""

    timeouts: Timeouts

    def start(self) -> None:
        """Choose a target and go."""

    def write(self, chunk: bytes) -> None:
        """More of the request body."""

    def finish(self) -> None:
        """The request body is whole."""

    def cancel(self) -> None:
        """End it at once."""


class Mirrors:
    """The copies one worker has under way.

    Args:
        make: a call for an outbound request to the upstream of that name, or None where there is none.
    """

    def __init__(self, make: Callable[[Outbound, str, Sink], MirroredCall | None]) -> None:
        self._make = make
        self._parts: dict[tuple[str, str], float] = {}  # (route, upstream) → what has accumulated of the next copy
        self._under_way: set[_Discard] = set()
        self._counts: dict[tuple[str, str], int] = {}
        self._closed = False

    def follow(self, call: Call, outbound: Outbound, mirror: Mirror) -> Call:
        """Copy ``outbound`` if its turn has come; the driver goes on with the call that is returned."""
        if outbound.websocket_key or not self._is_due(outbound, mirror):
            return call
        if outbound.content_length > REPLAY_BYTES:
            self._count(mirror.upstream, "too_large")
            return call
        if outbound.content_length == len(outbound.body):
            self.body_whole(outbound, mirror.upstream, [outbound.body])
            return call
        return _Followed(call, outbound, mirror.upstream, self)

    def body_whole(self, outbound: Outbound, upstream: str, body: list[bytes]) -> None:
        """A body that was followed is whole: its copy can go."""
        asyncio.get_running_loop().call_soon(self._send, outbound, upstream, body)

    def body_too_large(self, upstream: str) -> None:
        """A body that was followed turned out to be too long."""
        self._count(upstream, "too_large")

    def over(self, discard: _Discard, outcome: str) -> None:
        """A copy has ended."""
        self._under_way.discard(discard)
        self._count(discard.upstream, outcome)

    def close(self) -> None:
        """Send nothing more, and end what is under way."""
        self._closed = True
        for discard in tuple(self._under_way):
            discard.stop()

    def take_counts(self, counters: WorkerCounters) -> None:
        """Hand over what was counted since the last time."""
        for (upstream, outcome), count in self._counts.items():
            counters.count("sentinel_mirrored_total", upstream, outcome, amount=count)
        self._counts.clear()

    def _is_due(self, outbound: Outbound, mirror: Mirror) -> bool:
        """Whether the share has accumulated to a whole request: exact, and no chance is involved."""
        if mirror.share >= 1:
            return True
        key = outbound.route.name, mirror.upstream
        accumulated = self._parts.get(key, 0.0) + mirror.share
        if len(self._parts) > MOST_ROUTES:  # of many configurations ago; beginning anew costs one copy at most
            self._parts.clear()
        due = accumulated >= 1 - 1e-9
        self._parts[key] = accumulated - 1 if due else accumulated
        return due

    def _send(self, outbound: Outbound, upstream: str, body: list[bytes]) -> None:
        if self._closed:
            return
        if len(self._under_way) >= MOST_UNDER_WAY:
            self._count(upstream, "skipped")
            return
        discard = _Discard(self, upstream)
        try:
            copy = msgspec.structs.replace(outbound, content_length=sum(map(len, body)), body=b"")
            call = self._make(copy, upstream, discard)
            if call is None:
                self._count(upstream, "skipped")
                return
            self._under_way.add(discard)
            discard.begin(call, body)
        except Exception:  # noqa: BLE001 - the border of a task: a mistake with a copy must not reach anything else
            _log.exception("mirror.failed")
            self.over(discard, "failed")

    def _count(self, upstream: str, outcome: str) -> None:
        key = upstream, outcome
        self._counts[key] = self._counts.get(key, 0) + 1


class _Followed:
    """A call whose body is collected for its copy; domain.forwarding.Call to the driver."""

    __slots__ = ("_body", "_body_bytes", "_call", "_mirrors", "_outbound", "_upstream", "cancel", "pause_reading",
                 "resume_reading")  # fmt: skip

    def __init__(self, call: Call, outbound: Outbound, upstream: str, mirrors: Mirrors) -> None:
        self._call = call
        self._outbound = outbound
        self._upstream = upstream
        self._mirrors = mirrors
        self._body: list[bytes] | None = []
        self._body_bytes = 0
        self.cancel, self.pause_reading, self.resume_reading = call.cancel, call.pause_reading, call.resume_reading

    def write(self, chunk: bytes) -> None:
        """More of the request body."""
        self._call.write(chunk)
        if self._body is not None:
            self._body_bytes += len(chunk)
            self._body.append(chunk)
            if self._body_bytes > REPLAY_BYTES:
                self._body = None
                self._mirrors.body_too_large(self._upstream)

    def finish(self) -> None:
        """The request body is whole."""
        self._call.finish()
        body, self._body = self._body, None
        if body is not None and self._outbound.content_length in {self._body_bytes, -1}:
            self._mirrors.body_whole(self._outbound, self._upstream, body)


class _Discard:
    """The sink of a copy: reads what comes and forgets it."""

    def __init__(self, mirrors: Mirrors, upstream: str) -> None:
        self.upstream = upstream
        self._mirrors = mirrors
        self._call: MirroredCall | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._discarded = 0
        self._ended = False

    def begin(self, call: MirroredCall, body: list[bytes]) -> None:
        """Send the copy."""
        timeout = call.timeouts
        whole_s = timeout.connect_s + timeout.header_s + timeout.idle_s
        self._call = call
        self._timer = asyncio.get_running_loop().call_later(whole_s, self._expire)
        call.start()
        for chunk in body:
            call.write(chunk)
        call.finish()

    def stop(self) -> None:
        """The worker stops."""
        self._cut("abandoned")

    def connected(self, target: str, *, attempt: int, reused: bool) -> None:
        """Nobody asks."""

    def head(self, status: int, headers: Headers) -> None:
        """Nobody asks."""

    def body(self, chunk: bytes) -> None:
        """Read on, within bounds."""
        self._discarded += len(chunk)
        if self._discarded > MOST_DISCARDED_BYTES:
            self._cut("answered")

    def end(self) -> None:
        """It was answered."""
        self._over("answered")

    def failed(self, failure: UpstreamFailure) -> None:  # noqa: ARG002 - its outcome is what counts
        """It was not."""
        self._over("failed")

    def pause(self) -> None:
        """The body is bounded already."""

    def resume(self) -> None:
        """The body is bounded already."""

    def _expire(self) -> None:
        self._cut("failed")

    def _cut(self, outcome: str) -> None:
        call = self._call
        if call is not None and not self._ended:
            call.cancel()
        self._over(outcome)

    def _over(self, outcome: str) -> None:
        if self._ended:
            return
        self._ended = True
        self._call = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._mirrors.over(self, outcome)
