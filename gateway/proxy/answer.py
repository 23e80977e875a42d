"""Reads one answer after another from the bytes of an upstream connection, and passes them to the sink.

The head of an answer and chunked bodies go through llhttp (httptools). A body with a Content-Length that does not fit
into the first read, and one that lasts until the connection closes, bypass it: the bytes go on as they were read.

An answer whose head came in one read and is of the plainest kind does not get there: :mod:`gateway.proxy.plain_answer`
knows it by its lines.

The parser's callbacks only note what happened. :attr:`AnswerReader.phase` is looked at when the parser has returned:
a connection that were freed from within a callback would take the bytes left in the same read for the next client's
answer. No I/O happens here.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import httptools

from gateway import logs
from gateway.proxy.headers import BadAnswerError, answer_head
from gateway.proxy.plain_answer import MAX_PLAIN_BYTES, PlainHead, plain_head, whole_body

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers, Sink

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 256  # fields of one head; real answers have a few dozen
MAX_INTERIM = 8  # 1xx answers before the final one; real servers send one or two
MAX_SILENT_BYTES = 64 * 1024  # chunk extensions and trailers in a row without a byte of body

_SWITCHING, _FIRST_FINAL, _LAST = 101, 200, 599
_FIRST = 100
_BODILESS = frozenset({204, 304})
_HEAD_TOO_LARGE = "the head of the answer is larger than 64 KiB"
_UNASKED_UPGRADE = "answered 101, but no upgrade was asked for"
_FALSE_UPGRADE = "answered 101 to a WebSocket handshake without taking it"

_log = logs.get("proxy")


class Phase(IntEnum):
    """Where an answer stands; the order is the order of time."""

    IDLE = 0  # no answer is due
    HEAD = 1
    BODY = 2
    WHOLE = 3
    BROKEN = 4


# An attribute of an enum class costs as much as a call; these are looked at for every read.
_HEAD, _BODY, _WHOLE = Phase.HEAD, Phase.BODY, Phase.WHOLE


class AnswerReader:
    """The reading side of one connection.

    Args:
        plainly: read plain heads without the parser. That changes nothing but the time it takes.

    Attributes:
        phase: where the answer stands.
        untouched: whether not one byte of it has arrived.
        problem: with BROKEN, what the upstream did wrong; empty when the mistake was our own.
        whole: a plain answer that came in one read, status, fields and body, of which the sink has not heard; or None.
        switched: whether the connection is a WebSocket now: its body is whatever comes, until the upstream closes.
    """

    __slots__ = (
        "_accept",
        "_fields",
        "_head_bytes",
        "_head_only",
        "_interim",
        "_keep_alive",
        "_parsed",
        "_parser",
        "_plainly",
        "_remaining",
        "_silent",
        "_sink",
        "_surplus",
        "_takes_whole",
        "_until_close",
        "phase",
        "problem",
        "switched",
        "whole",
    )

    def __init__(self, *, plainly: bool = True) -> None:
        self._parser: httptools.HttpResponseParser | None = None
        self._sink: Sink
        self._head_only = False
        self._plainly = plainly
        self._takes_whole = False
        self.whole: tuple[int, Headers, bytes] | None = None
        self.phase = Phase.IDLE
        self._head_bytes = 0
        self._keep_alive = False
        self._surplus = False  # bytes came after the end of the answer
        self._forget()

    def _forget(self) -> None:
        """Begin anew with what only unusual answers touch."""
        self._parsed = False
        self.problem = ""
        self._fields: Headers = []
        self._interim = 0
        self._silent = 0
        self._remaining = -1  # bytes of body still to come; -1 while the parser or the closing decides
        self._until_close = False
        self._accept = b""  # the Sec-WebSocket-Accept that a 101 must have; empty when no upgrade was asked for
        self.switched = False

    def expect(self, sink: Sink, head_only: bool, takes_whole: bool = False) -> None:  # noqa: FBT001, FBT002 - as below
        """Wait for the answer to a request that is being sent.

        Args:
            sink: hears of it, unless it is told of a whole one by who reads :attr:`whole`.
            head_only: the request's method is HEAD.
            takes_whole: the sink need not hear of an answer that comes in one piece; see :attr:`whole`.

        Called for every request, and Python takes twice as long to call by keyword.
        """
        if self._parsed:
            self._forget()
        self._sink = sink
        self._head_only = head_only
        self._takes_whole = takes_whole
        self._head_bytes = 0
        self._keep_alive = self._surplus = False
        self.phase = _HEAD

    def expect_websocket(self, accept: bytes) -> None:
        """The answer may be a 101, if it shows ``accept``: the upstream then took the handshake as its own."""
        self._accept = accept
        self._parsed = True

    def stop(self) -> None:
        """Nothing more goes to the sink, not even from a read that is under way."""
        self.phase = Phase.IDLE

    @property
    def untouched(self) -> bool:
        """Whether an answer is due and not one byte of it has arrived."""
        return self.phase is Phase.HEAD and self._head_bytes == 0

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another answer after this one."""
        return self._keep_alive and not self._surplus

    def feed(self, data: bytes) -> Phase:
        """Read some bytes; where the answer stands after them."""
        if self.phase is _HEAD:
            if not self._head_bytes and self._plainly and not self._head_only:
                end = data.find(b"\r\n\r\n", 0, MAX_PLAIN_BYTES) + 4
                plain = plain_head(data[:end])
                if plain is not None:
                    if self._takes_whole and self._is_whole(plain, data, end):
                        return _WHOLE
                    if len(data) - end <= plain.length:
                        return self._plain_answer(plain, data, end)
            self._parsed, self._remaining = True, -1
            self._head_bytes += len(data)
            self._parse(data)
            # Also stops one endless field, which the parser would gather up without limit.
            if self._head_bytes > MAX_HEAD_BYTES:
                self._break_in(_HEAD, _HEAD_TOO_LARGE)
        elif self._parser is not None:
            self._silent += len(data)
            self._parse(data)
            if self._silent > MAX_SILENT_BYTES:
                self._break_in(_BODY, "64 KiB of chunk extensions or trailers without any body")
        else:
            self._pass_on(data)
        return self.phase

    def _is_whole(self, plain: PlainHead, data: bytes, end: int) -> bool:
        """Whether all of an answer is there whose head ends at ``end``; if so, it waits in :attr:`whole`."""
        status, headers, length, keep_alive = plain
        body = data[end:] if length >= 0 else whole_body(data, end)
        if body is None or (length >= 0 and len(body) != length):
            return False
        self._head_bytes = end
        self._keep_alive = keep_alive
        self.whole = status, headers, body
        self.phase = _WHOLE
        return True

    def _plain_answer(self, plain: PlainHead, data: bytes, end: int) -> Phase:
        """Read an answer whose head ends at ``end``; no more follows than its body."""
        status, headers, length, self._keep_alive = plain
        self._head_bytes = end
        self._remaining = length
        self.phase = _BODY if length else _WHOLE
        if len(data) - end < length:
            self._parser = None  # the rest bypasses it
        try:
            self._sink.head(status, headers)
            if len(data) > end and self.phase is _BODY:  # the sink may have stopped us
                self._pass_on(data[end:])
        except Exception:  # noqa: BLE001 - where the parser would have caught it as well
            self._parsed = True
            self._confess()
        return self.phase

    def closed(self) -> Phase:
        """The upstream closed its side: the regular end of a body that lasts until then."""
        if self.phase is Phase.BODY and self._until_close:
            self.phase = Phase.WHOLE
        return self.phase

    # --- what the parser calls ---

    def on_message_begin(self) -> None:
        """First byte of a message; after the answer's end it is a byte too many."""
        if self.phase >= Phase.WHOLE:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head; trailers are dropped: nobody said they may be merged (RFC 9110 §6.5.1)."""
        if self.phase is Phase.HEAD:
            self._fields.append((name, value))
            if len(self._fields) > MAX_HEADERS:
                self._break(f"more than {MAX_HEADERS} headers in the answer")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        parser = self._parser
        if self.phase is not Phase.HEAD or parser is None:
            return
        status = parser.get_status_code()
        if status < _FIRST_FINAL or status > _LAST:
            if status == _SWITCHING and self._accept:
                self._switch()
            else:
                self._interim_head(status)
            return
        # More may have been read than the head; only then is it worth adding up.
        if self._head_bytes > MAX_HEAD_BYTES and sum(len(n) + len(v) for n, v in self._fields) > MAX_HEAD_BYTES:
            self._break(_HEAD_TOO_LARGE)
            return
        try:
            head = answer_head(self._fields, status)
        except BadAnswerError as error:
            self._break(str(error))
            return
        self.phase = Phase.BODY
        # The parser cannot know of HEAD: it takes an answer without a length for one that ends with the connection.
        # With chunked, servers that send a body all the same cannot be told from those that do not.
        if self._head_only:
            self._keep_alive = not (head.close or head.chunked) and parser.get_http_version() == "1.1"
        else:
            self._keep_alive = parser.should_keep_alive()
            if status not in _BODILESS and not head.chunked:
                self._remaining = head.length
                self._until_close = head.length < 0
        self._sink.head(status, head.headers)

    def on_body(self, chunk: bytes) -> None:
        """Some bytes of the body."""
        if self.phase is not Phase.BODY:
            return
        if self._head_only:
            self._surplus = True  # an answer to HEAD has no body, whatever follows
            return
        self._silent = 0
        if self._remaining > 0:
            self._remaining -= len(chunk)
        self._sink.body(chunk)

    def on_message_complete(self) -> None:
        """The answer is whole; an interim one is not meant, nor one that has no end."""
        if self.phase is Phase.BODY and not self.switched:
            self.phase = Phase.WHOLE

    # --- the inside ---

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self._confess(error.__context__)
        except httptools.HttpParserError as error:
            if self.phase is Phase.WHOLE:
                self._surplus = True
            else:
                self._break(f"broke the protocol: {error}")
        if self._head_only and self.phase is not Phase.HEAD:
            # It waits for a body that will not come, or took "proxy-connection: close" for the end of the connection.
            self._parser = None
            if self.phase is Phase.BODY:
                self.phase = Phase.WHOLE
        elif self.phase is Phase.BODY and (self._remaining > 0 or self._until_close):
            self._parser = None  # the bytes bypass it from here

    def _confess(self, error: BaseException | None = None) -> None:
        """Our own mistake or the sink's, not the upstream's: say so, or it would be taken for a bad answer."""
        _log.error("proxy.callback_failed", exc_info=error or True)
        self.phase, self.problem = Phase.BROKEN, ""

    def _switch(self) -> None:
        """A 101 that was asked for: only with proof that the upstream speaks WebSocket (RFC 6455 section 4.1).

        Without it, bytes of the client's choosing would reach a server that may take them for requests.
        """
        fields = [(name.lower(), value.strip()) for name, value in self._fields]
        names = [name for name, _ in fields]
        proofs = [value for name, value in fields if name == b"sec-websocket-accept"]
        if proofs != [self._accept] or (b"upgrade", b"websocket") not in [(n, v.lower()) for n, v in fields]:
            self._break(_FALSE_UPGRADE)
        elif b"content-length" in names or b"transfer-encoding" in names:
            self._break("answered 101 with a body")
        else:
            self.phase, self.switched, self._until_close = Phase.BODY, True, True
            self._sink.head(_SWITCHING, answer_head(self._fields, _SWITCHING).headers)

    def _upgraded(self, rest: bytes) -> None:
        """The parser is done with this connection; ``rest`` came behind the head."""
        if not self.switched:
            self._break(_UNASKED_UPGRADE)
        elif rest and self.phase is Phase.BODY:  # the sink may have stopped us
            self._sink.body(rest)

    def _interim_head(self, status: int) -> None:
        self._fields = []
        self._interim += 1
        if status == _SWITCHING:
            self._break(_UNASKED_UPGRADE)
        elif status < _FIRST or status > _LAST:
            self._break(f"answered with the status {status}")
        elif self._interim > MAX_INTERIM:
            self._break(f"more than {MAX_INTERIM} interim answers")

    def _pass_on(self, data: bytes) -> None:
        if self._remaining < 0:
            self._sink.body(data)
            return
        if len(data) > self._remaining:
            data, self._surplus = data[: self._remaining], True
        self._remaining -= len(data)
        self._sink.body(data)
        if self._remaining == 0 and self.phase is _BODY:  # the sink may have stopped us
            self.phase = _WHOLE

    def _break_in(self, phase: Phase, problem: str) -> None:
        if self.phase is phase:
            self._break(problem)

    def _break(self, problem: str) -> None:
        if Phase.IDLE < self.phase < Phase.BROKEN:
            self.phase, self.problem = Phase.BROKEN, problem
