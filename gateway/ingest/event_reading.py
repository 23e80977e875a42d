"""Reads events out of a request body, item by item: what is wrong with one does not cost the others. Pure.

A body is one event, a list of events, or ``{"events": [...]}``. Each item is judged by itself and either becomes an
:class:`~gateway.domain.event.Event` or a :class:`~gateway.domain.event.Refusal` that names the field.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from gateway.domain.event import Event, EventSeverity, Fact, Refusal
from gateway.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_EVENTS = 1000
MOST_FIELDS = 32
# A clock may go wrong by minutes, and a zone be mistaken for another; more than a day ahead is a wrong time.
AHEAD_S = 86_400.0
_LONGEST_VALUE = 1024
_LONGEST_DETAIL = 200

Agent = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$")]
Kind = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._:-]*$")]
TraceId = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?$")]


class NewEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One event. ``id`` makes sending it again harmless; without one, it is made of everything else in the event."""

    agent_id: Agent
    kind: Kind
    severity: EventSeverity = EventSeverity.INFO
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    message: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    fields: Annotated[dict[str, Fact], msgspec.Meta(max_length=MOST_FIELDS)] = {}
    trace_id: TraceId = ""
    id: Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[A-Za-z0-9._:-]*$")] = ""
    tenant: Annotated[str, msgspec.Meta(max_length=128)] = ""


class Batch(NamedTuple):
    """What a body held."""

    events: tuple[Event, ...]
    refused: tuple[Refusal, ...]


_decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_event = msgspec.json.Decoder(NewEvent).decode


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def read(body: bytes, *, tenant: str, now: float) -> Batch:
    """The events of a body.

    Args:
        body: JSON as it was received.
        tenant: the sender's own; empty for one who may report for any.
        now: when it was received, seconds since the epoch.

    Raises:
        InvalidInputError: it is no JSON, or neither event nor list, or too many; then nothing was taken.
    """
    items = _items(body)
    events: list[Event] = []
    refused: list[Refusal] = []
    for index, raw in enumerate(items):
        try:
            events.append(_event(bytes(raw), tenant, now, index))
        except InvalidInputError as error:
            refused.append(Refusal(index, error.field, str(error)))
    return Batch(tuple(events), tuple(refused))


def _items(body: bytes) -> Sequence[msgspec.Raw]:
    start = body.lstrip()[:1]
    try:
        if start == b"[":
            items: Sequence[msgspec.Raw] = _decode_batch(body)
        elif start == b"{" and _is_envelope(body):
            items = _decode_envelope(body).events
        else:
            return (msgspec.Raw(body),)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _invalid(error) from error
    if not items:
        raise InvalidInputError("the batch is empty", field="events", remedy="send at least one event")
    if len(items) > MOST_EVENTS:
        raise InvalidInputError(
            f"a batch holds at most {MOST_EVENTS} events, this one {len(items)}",
            field="events",
            remedy="send it in parts",
        )
    return items


def _is_envelope(body: bytes) -> bool:
    return "events" in msgspec.json.decode(body, type=dict[str, msgspec.Raw])


def _event(raw: bytes, tenant: str, now: float, index: int) -> Event:
    try:
        new = _decode_event(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _invalid(error) from error
    if tenant and new.tenant not in {"", tenant}:
        raise InvalidInputError(f"you may only report for tenant {tenant}", field="tenant")
    at = now if new.at is None else new.at.timestamp()
    if at > now + AHEAD_S:
        raise InvalidInputError("more than a day ahead of our clock", field="at")
    if at < 0:
        raise InvalidInputError("before 1970", field="at")
    _check_fields(new.fields)
    if "\x00" in new.message or "\x00" in new.tenant:
        raise InvalidInputError("a NUL character", field="message" if "\x00" in new.message else "tenant")
    return Event(
        # The same words at the same time from the same agent are the same event, if nobody says otherwise.
        id=new.id or sha256(raw + (b"" if new.at else f"{now} {index}".encode())).hexdigest()[:32],
        agent_id=new.agent_id,
        kind=new.kind,
        severity=new.severity,
        at=at,
        received_at=now,
        message=new.message,
        fields=new.fields,
        tenant=tenant or new.tenant,
        trace_id=new.trace_id,
    )


def _check_fields(fields: dict[str, Fact]) -> None:
    for name, value in fields.items():
        if not name or len(name) > 64 or not name.isprintable():  # noqa: PLR2004 - as long as a kind
            raise InvalidInputError("names of fields are 1 to 64 printable characters", field="fields")
        if isinstance(value, str) and (len(value) > _LONGEST_VALUE or "\x00" in value):
            raise InvalidInputError(
                f"longer than {_LONGEST_VALUE} characters, or with NUL in it", field=f"fields.{name}"
            )


def _invalid(error: Exception) -> InvalidInputError:
    """Msgspec's message ends in ``- at `$.field``` if it knows the place, or names the unknown field."""
    text, _, place = str(error).partition(" - at `")
    field = place.rstrip("`").removeprefix("$").lstrip(".")
    named = text.partition("field `")[2].partition("`")[0]  # an unknown field, or one that is missing
    if not field or field in {"key", "[...]"}:
        field = named or field
    told = (
        text[:_LONGEST_DETAIL] if isinstance(error, msgspec.MsgspecError) else "not clean UTF-8, or nested too deeply"
    )
    return InvalidInputError(told, field=field[:_LONGEST_DETAIL])
