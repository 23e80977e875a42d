"""A call whose end somebody learns from: the balancer, the ejections, the circuit; and which may be tried again.

Requests of plain upstreams on routes without retries do not come here: :mod:`gateway.proxy.call` is enough for them.

What is tried again, beyond what every call does: a connection that could not be made; and, for idempotent methods whose
whole body is still at hand, an answer that did not come, and one with a status the route names. Its head is swallowed.
If the rest of it came in the same read, the connection is kept; else it is dropped, since nobody knows when it ends.
Nothing is tried again once the client has a byte. Another target is preferred; the same one is asked after a pause.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.domain.forwarding import UpstreamFailure
from gateway.domain.traffic import ErrorKind
from gateway.proxy.call import UpstreamCall
from gateway.proxy.outlier import NO_PROBE
from gateway.proxy.retry import CONNECT, RESET, TIMEOUT, pause_s, repeatable
from gateway.proxy.service import UNWATCHED

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers, Outbound, Sink
    from gateway.domain.routing import Retry
    from gateway.proxy.service import UpstreamService

_SERVER_ERROR = 500
CIRCUIT_OPEN = "too many requests to this upstream failed; it is left alone for a moment"

# What an upstream or target is blamed for. Queues of our own, clients that left and requests that could not be written
# say nothing about it.
_BLAME = frozenset(
    {
        ErrorKind.UPSTREAM_UNAVAILABLE,
        ErrorKind.UPSTREAM_TIMEOUT,
        ErrorKind.UPSTREAM_PROTOCOL,
        ErrorKind.UPSTREAM_TRUNCATED,
    }
)


def _ignore(chunk: bytes) -> None:
    """The body of an answer that nobody gets to see."""


class _Front:
    """The sink as the connection sees it: the head is looked at, everything else goes straight through."""

    __slots__ = ("body", "connected", "end", "failed", "head", "pause", "resume")

    def __init__(self, sink: Sink, call: WatchedCall) -> None:
        self.head = call.answered
        self.connected, self.body, self.end = sink.connected, sink.body, sink.end
        self.failed, self.pause, self.resume = sink.failed, sink.pause, sink.resume


class WatchedCall(UpstreamCall):
    """An UpstreamCall that reports how each attempt and the whole ended.

    Args:
        retry: what may be tried again; None: only what every call repeats.
        extra_head: further lines of the request's head, each with its line end.
    """

    __slots__ = (
        "_begun_at",
        "_client",
        "_extra_head",
        "_front",
        "_key",
        "_open",
        "_probe",
        "_retries",
        "_retry",
        "_seconds",
        "_status",
        "_swallowed",
        "_ticket",
        "_timer",
        "_upstream",
    )

    def __init__(
        self,
        service: UpstreamService,
        outbound: Outbound,
        sink: Sink,
        retry: Retry | None,
        *,
        extra_head: bytes = b"",
    ) -> None:
        self._client = sink
        self._upstream = service
        self._front: Any = _Front(sink, self)
        super().__init__(service, outbound, self._front)
        self.takes_whole = hasattr(sink, "whole")
        self._extra_head = extra_head
        self._keeps = retry is not None
        self._key = b"" if service.key_of is None else service.key_of(outbound)
        self._retry = retry
        self._retries = 0
        self._ticket: tuple[int, int] | None = None  # while the whole is under way
        self._open = False  # whether an attempt is under way
        self._probe = NO_PROBE
        self._begun_at = self._seconds = 0.0  # of the attempt: when it began, and how long until its head came
        self._status = 0  # of the answer the client gets
        self._swallowed = False  # an answer that nobody gets to see is being read
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Ask the circuit, then go on like any call."""
        now = self._upstream.now()
        if self._retry is not None:
            self._upstream.budget.request(now)
        self._ticket = self._upstream.admit(now)
        if self._ticket is None:
            self._done = True
            self._client.failed(
                UpstreamFailure(
                    ErrorKind.CIRCUIT_OPEN, 503, CIRCUIT_OPEN, retry_after_s=self._upstream.retry_after_s(now)
                )
            )
            return
        super().start()

    def finish(self) -> None:
        """The request body is whole, or a WebSocket is over."""
        super().finish()
        if self._done:
            self._let_go()

    # --- what the pool calls ---

    def unreachable(self, reason: str, *, timed_out: bool) -> None:
        """Nothing was sent: another target may have it, and the route may allow more than that."""
        name = self._target
        self._upstream.note_failure(name, ErrorKind.UPSTREAM_UNAVAILABLE, reason)
        self._attempt_over(well=False)
        self._tried = (*self._tried, name)
        self._attempt += 1
        now = self._upstream.now()
        if not timed_out and now < self.connect_by and self._try_target(now):
            return
        if self._may_retry(CONNECT):
            self._again()
        else:
            self._fail(ErrorKind.UPSTREAM_UNAVAILABLE, 502, reason)

    # --- what the connection calls ---

    def answered(self, status: int, headers: Headers) -> None:
        """The head of an answer: the client's, or one that is swallowed for another attempt."""
        if self._calls_for_another(status):
            self._swallowed = True
            self._front.body = _ignore
            # After this read: by then the answer is whole and its connection free, or it is not.
            asyncio.get_running_loop().call_soon(self._swallow)
            return
        self._status = status
        self._client.head(status, headers)

    def answered_at_once(self, status: int, headers: Headers, body: bytes) -> None:
        """The whole answer: the client's, or one that nobody gets to see and whose connection is free already."""
        if self._done:
            return
        if self._calls_for_another(status):
            self._connection = None
            self._after_swallowed()
            return
        self._conclude(well=status < _SERVER_ERROR)
        self._part()
        super().answered_at_once(status, headers, body)

    def answer_whole(self) -> None:
        """Everything was delivered, or swallowed."""
        if self._done:
            return
        if self._swallowed:
            self._connection = None
            self._after_swallowed()
            return
        self._conclude(well=self._status < _SERVER_ERROR)
        self._part()
        super().answer_whole()

    def answer_broken(self, kind: ErrorKind, status: int, detail: str, *, untouched: bool) -> None:
        """No whole answer from this connection."""
        if self._done:
            return
        if self._swallowed:
            self._connection = None
            self._after_swallowed()
            return
        if not self._may_repeat(kind, untouched=untouched):
            self._attempt_over(well=_well(kind))
            reason = TIMEOUT if kind is ErrorKind.UPSTREAM_TIMEOUT else RESET if untouched else ""
            if reason and self._may_retry(reason):
                self._connection = None
                self._upstream.note_failure(self._target, kind, detail)
                self._again()
                return
        super().answer_broken(kind, status, detail, untouched=untouched)

    # --- the inside ---

    def _request_head(self) -> bytes:
        head = super()._request_head()
        return head[:-2] + self._extra_head + b"\r\n" if self._extra_head else head

    def _try_target(self, now: float) -> bool:
        chosen = self._upstream.choose_watched(now, self._tried, self._key)
        if chosen is None:
            if not self._tried:
                self._fail(ErrorKind.UPSTREAM_UNAVAILABLE, 502, "the upstream has no targets")
            return False
        target, self._pool, self._probe = chosen
        self._target = target.name
        self._open, self._begun_at, self._seconds = True, now, 0.0
        self._front.body = self._client.body
        self._pool.acquire(self, now)
        return True

    def _calls_for_another(self, status: int) -> bool:
        """Note that an answer has this status; whether it is one for which another attempt may be made."""
        now = self._upstream.now()
        self._seconds = now - self._begun_at
        if status >= _SERVER_ERROR:
            return self._may_retry(str(status))
        if self._ticket is not None:
            self._upstream.answered_well(self._target, self._probe, self._ticket, now)
        return False

    def _may_retry(self, reason: str) -> bool:
        """Whether the route, the method, the body, the budget and the circuit all allow one more attempt."""
        retry = self._retry
        if retry is None or self._status or self._retries >= retry.attempts or self._done:
            return False
        kept = self._body is not None
        return repeatable(retry, reason, self._outbound.method, body_kept=kept) and self._upstream.may_retry(
            retry.budget, self._upstream.now()
        )

    def _again(self) -> None:
        """Another attempt: at a target that has not had this request yet, or after a pause at any."""
        service = self._upstream
        if self._retries:
            service.count_retry("failed")
        self._retries += 1
        if self._target not in self._tried:
            self._tried = (*self._tried, self._target)
        now = service.now()
        self.connect_by = now + self.timeouts.connect_s
        if not self._try_target(now):
            delay_s = pause_s(self._retries, service.chance())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._after_pause)

    def _after_pause(self) -> None:
        self._timer, self._tried = None, ()
        now = self._upstream.now()
        self.connect_by = now + self.timeouts.connect_s
        self._try_target(now)

    def _swallow(self) -> None:
        """The read that brought a swallowed head is over, and the rest of the answer was not in it."""
        if not self._swallowed or self._done:
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()
        self._after_swallowed()

    def _after_swallowed(self) -> None:
        self._swallowed = False
        self._attempt_over(well=False)
        self._again()

    def _attempt_over(self, *, well: bool | None) -> None:
        if self._open:
            self._open = False
            now = self._upstream.now()
            seconds = self._seconds or now - self._begun_at
            self._upstream.attempt_over(self._target, self._probe, now, seconds=seconds, well=well)

    def _conclude(self, *, well: bool | None) -> None:
        """The whole is over, and this is what became of it."""
        self._attempt_over(well=well)
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        if ticket is not UNWATCHED:
            self._upstream.concluded(ticket, self._upstream.now(), well=well)
        if self._retries:
            self._upstream.count_retry("abandoned" if well is None else "succeeded" if well else "failed")

    def _fail(self, kind: ErrorKind, status: int, detail: str) -> None:
        self._conclude(well=_well(kind))
        super()._fail(kind, status, detail)

    def _end(self) -> None:
        super()._end()
        self._let_go()

    def _let_go(self) -> None:
        """Nothing follows; if nobody said how it went, it was nobody's fault (or a WebSocket, which ends like this)."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._swallowed = False
        self._conclude(well=None)
        self._part()

    def _part(self) -> None:
        """Leave no cycle of references behind: they hold us, but we no longer hold them."""
        self.sink, self._front = self._client, None


def _well(kind: ErrorKind) -> bool | None:
    return False if kind in _BLAME else None
