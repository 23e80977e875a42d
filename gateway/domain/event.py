"""Events that programs report of themselves: what happened, to whom, how grave, with a few facts beside it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

Fact = str | int | float | bool | None


class EventSeverity(StrEnum):
    """How grave an event is, in rising order."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


RANK: dict[EventSeverity, int] = {severity: rank for rank, severity in enumerate(EventSeverity)}


class Event(msgspec.Struct, frozen=True):
    """One event. Every text in it was chosen by whoever sent it: escape, quote or redact it."""

    id: str  # unique per tenant and agent: the same one sent twice is kept once
    agent_id: str  # the program or machine that reports
    kind: str  # dotted lower case, such as "deploy.finished" or "file.opened"
    severity: EventSeverity
    at: float  # when it happened, by the agent's clock; seconds since the epoch
    received_at: float  # when it arrived, by ours: retention goes by it
    message: str = ""
    fields: dict[str, Fact] = {}
    tenant: str = ""  # empty: of the operator
    trace_id: str = ""  # 32 hex digits where the event belongs to a request


class Agent(msgspec.Struct, frozen=True):
    """Whoever reported events lately."""

    agent_id: str
    tenant: str
    events: int  # in the time looked at
    last_at: float  # when its latest arrived


class EventFilter(msgspec.Struct, frozen=True):
    """Which events of one agent; an empty field matches all. Newest first."""

    agent_id: str
    tenant: str | None = None  # None: whichever
    kind: str = ""  # exact, or "deploy." for everything that begins with it
    severity: EventSeverity | None = None  # this grave or graver
    since: float = 0.0  # seconds since the epoch, inclusive
    until: float = 0.0  # exclusive; 0: no end
    trace_id: str = ""
    limit: int = 50
    cursor: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Why one item of a batch was not taken."""

    index: int  # place in the batch, from 0
    field: str  # dotted path within the item; empty where the item as a whole is wrong
    detail: str


class Receipt(msgspec.Struct, frozen=True):
    """What became of a batch: every item is in exactly one of the three."""

    stored: int
    duplicates: int  # known already: nothing to do
    refused: tuple[Refusal, ...] = ()
