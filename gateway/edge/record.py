"""A finished exchange becomes one row: a plain tuple in the order of domain.traffic.RECORD_FIELDS.

Every request is recorded. Minute sums are made from the rows in control, so leaving out some successes here would make
the sums wrong; sampling has to happen behind the sums, not before them.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Protocol

from gateway.edge.exchange import now_us

if TYPE_CHECKING:
    from gateway.edge.exchange import Exchange

# Bytes are decoded as Latin-1: every byte has a character, and what is not ASCII is shown as received, not lost.
_PATH, _QUERY, _AGENT, _NAME = 2048, 1024, 256, 256

_METHODS = {method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}


class RecordSink(Protocol):
    """Where rows go. The spool's writer implements it; ``append`` neither blocks nor raises."""

    def append(self, row: tuple[object, ...]) -> None:
        """Take one finished request."""


def finish(exchange: Exchange, sink: RecordSink) -> None:
    """Stamp the end and append the row. Idempotent: an exchange is recorded once, whoever ends it first."""
    if exchange.recorded:
        return
    exchange.recorded = True
    exchange.ended_at = exchange.ended_at or now_us()
    sink.append(row(exchange, time()))


def row(exchange: Exchange, completed_at: float) -> tuple[object, ...]:
    """The row of an ended exchange; ``completed_at`` is seconds since the epoch.

    A stamp that was never reached takes the place of the one after it, so the time goes to the stage that was under way
    when the exchange ended, and the six parts always add up to the duration. A client that is slow with its body counts
    as waiting, not as a slow upstream.
    """
    ended = exchange.ended_at
    started = exchange.started_at
    steps = exchange.steps_at
    auth = exchange.auth_at or ended
    limit = exchange.limit_at or ended
    connected = exchange.connected_at or ended
    first_byte = exchange.first_byte_at or ended
    route = exchange.route
    principal = exchange.principal
    agent = exchange.facts.get(b"user-agent")
    return (
        exchange.request_id,
        completed_at,
        _METHODS.get(exchange.method) or exchange.method.decode("latin-1")[:32],
        exchange.path[:_PATH].decode("latin-1"),
        exchange.query[:_QUERY].decode("latin-1") if exchange.query else "",
        exchange.status,
        route.name if route is not None else "",
        exchange.upstream,
        exchange.target,
        principal.tenant[:_NAME],
        principal.subject[:_NAME],
        exchange.client,
        agent[:_AGENT].decode("latin-1") if agent else "",
        exchange.error,
        exchange.bytes_in,
        exchange.bytes_out,
        ended - started,
        steps - started + exchange.upload_us,
        auth - steps,
        limit - auth,
        connected - limit - exchange.upload_us,
        first_byte - connected,
        ended - first_byte,
        exchange.attempts,
        exchange.trace_id,
        exchange.span_id,
        exchange.parent_id,
    )
