"""Request ids and W3C trace context: continued when well formed, begun otherwise.

Source: https://www.w3.org/TR/trace-context/ section 3.2 (traceparent).
"""

from __future__ import annotations

import os
import random
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.edge.exchange import Exchange

# Visible ASCII only: an id is echoed in a header and stands in logs. 128 is room for anything that identifies.
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")

# A later version than 00 may append fields after another "-"; version ff is forbidden.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_ZERO_TRACE = b"0" * 32
_ZERO_SPAN = b"0" * 16
_NO_SPAN = "0" * 16  # as drawn, which the specification forbids of a span and, twice, of a trace

STOCK = 64


class Identifiers:
    """Gives every exchange its request id and span. One per worker, made after the worker was started.

    A request id is 16 random hex digits of this worker's life and a counter: unique by construction, cheap, and in
    order of arrival, which keeps index pages of the store together.
    """

    def __init__(self) -> None:
        self._life = os.urandom(8).hex()
        self._count = 0
        # Ids need to be unlikely to collide, not hard to guess; a system call for each would cost more than the rest.
        self._bytes = random.Random(os.urandom(16)).randbytes  # noqa: S311 - uniqueness, not secrecy
        self._drawn = ""  # hex digits of STOCK spans and traces; drawn together, one costs a third
        self._at = 0

    def assign(self, exchange: Exchange) -> None:
        """Fill in request id, trace id, our span id and the parent's from the headers found."""
        facts = exchange.facts
        given = facts.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            exchange.request_id = given.decode("ascii")
        else:
            self._count += 1
            exchange.request_id = f"{self._life}{self._count:08x}"
        at = self._at
        if at == len(self._drawn):
            at = self._draw()
        drawn = self._drawn
        self._at = at + 48
        exchange.span_id = drawn[at : at + 16]
        exchange.trace_id = drawn[at + 16 : at + 48]
        parent = facts.get(b"traceparent")
        if parent is not None:
            self._continue_trace(exchange, parent)

    def _draw(self) -> int:
        """Draw a stock of digits, in which neither a span nor a trace is all zeros; its first place."""
        drawn = _NO_SPAN
        while _NO_SPAN in drawn:
            drawn = self._bytes(STOCK * 24).hex()
        self._drawn = drawn
        return 0

    @staticmethod
    def _continue_trace(exchange: Exchange, traceparent: bytes) -> None:
        found = _TRACEPARENT.fullmatch(traceparent)
        if found is None:
            return
        version, trace, span, flags, more = found.groups()
        if trace == _ZERO_TRACE or span == _ZERO_SPAN or (version == b"00" and more is not None):
            return
        exchange.trace_id = trace.decode("ascii")
        exchange.parent_id = span.decode("ascii")
        exchange.trace_flags = flags.decode("ascii")
