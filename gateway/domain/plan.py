"""Typed actions, their risk and their life. The life cycle is the table below."""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256

import msgspec

from gateway.errors import ConflictError


class Risk(StrEnum):
    """SAFE runs by itself, MODERATE if configured, CRITICAL always asks."""

    SAFE = "SAFE"
    MODERATE = "MODERATE"
    CRITICAL = "CRITICAL"


class Mode(StrEnum):
    """observe: plan only; approve: SAFE runs, the rest asks; auto: SAFE and MODERATE run, CRITICAL asks."""

    OBSERVE = "observe"
    APPROVE = "approve"
    AUTO = "auto"


class ActionKind(StrEnum):
    """The catalogue. Nothing outside it can be planned, whatever a model says."""

    EJECT_TARGET = "eject_target"


class ActionState(StrEnum):
    """Where an action stands."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    EXECUTED = "EXECUTED"
    FAILED = "FAILED"
    REVERTED = "REVERTED"


ACTION_TRANSITIONS: dict[ActionState, frozenset[ActionState]] = {
    ActionState.PENDING: frozenset({ActionState.APPROVED, ActionState.REJECTED, ActionState.EXPIRED}),
    ActionState.APPROVED: frozenset({ActionState.EXECUTED, ActionState.FAILED, ActionState.EXPIRED}),
    ActionState.EXECUTED: frozenset({ActionState.REVERTED, ActionState.FAILED}),
    ActionState.REJECTED: frozenset(),
    ActionState.EXPIRED: frozenset(),
    ActionState.FAILED: frozenset(),
    ActionState.REVERTED: frozenset(),
}


_BOUND = ("id", "incident_id", "tenant", "kind", "upstream", "target", "ttl_s", "risk", "effect", "expires_at")


class Outcome(msgspec.Struct, frozen=True):
    """What the gateway's own traffic said about an action, before against after.

    ``verdict``: "watching", "helped", "no_effect" (undone and escalated), "worse" (undone and escalated),
    "too_little_traffic". Shares are errors per request in 0..1.
    """

    verdict: str
    before: float
    after: float
    requests_after: int
    decided_at: float
    statement: str


class Sample(msgspec.Struct, frozen=True):
    """How many of so many requests were bad: failed or, for latency, slower than the line drawn."""

    bad: int = 0
    requests: int = 0

    @property
    def share(self) -> float:
        """Bad ones per request, 0 when there were none."""
        return self.bad / self.requests if self.requests else 0.0


class Watch(msgspec.Struct, frozen=True):
    """What an action is judged by, saved with it so that a restarted control judges by the same.

    The samples are taken at execution: ``target`` the one acted on, ``siblings`` the upstream's other targets,
    ``place`` where the incident shows, ``others`` all other upstreams.
    """

    signal: str = "error_rate"  # a Signal
    slow_us: int = 0  # for latency: a request slower than this is bad
    onset: float = 0.0
    route: str = ""  # the incident's place
    place_upstream: str = ""
    patience_s: float = 10.0  # how long the upstream may take to answer: an earlier look sees only the quick answers
    before: Sample = Sample()
    target: Sample = Sample()
    siblings: Sample = Sample()
    place: Sample = Sample()
    others: Sample = Sample()


class Trial(msgspec.Struct, frozen=True):
    """Where an executed action stands on its way back: in full effect, or letting ``share`` of the traffic through."""

    share: float = 0.0  # 0: full effect
    since: float = 0.0  # when this phase began
    pause_s: float = 0.0  # full effect holds this long before the next trial
    failed: int = 0  # trials so far that met the fault again


class Action(msgspec.Struct, frozen=True):
    """One reversible step, bound to one incident. What is approved is exactly this: kind, upstream, target, ttl."""

    id: str
    incident_id: str
    kind: ActionKind
    upstream: str
    target: str
    ttl_s: float  # the effect ends by itself after this
    risk: Risk
    risk_reason: str
    effect: str  # what it does, in one sentence with numbers
    undo: str  # how it is taken back
    success_signal: str  # what must become true for it to count as helped
    state: ActionState
    created_at: float
    expires_at: float  # an undecided action lapses then
    tenant: str = ""
    decided_by: str = ""
    decided_at: float | None = None
    executed_at: float | None = None
    ended_at: float | None = None
    directive_id: str = ""
    note: str = ""  # why it failed, was rejected or reverted
    outcome: Outcome | None = None
    effect_until: float = 0.0  # when the directive in force ends by itself, seconds since the epoch
    watch: Watch = Watch()
    trial: Trial = Trial()

    @property
    def fingerprint(self) -> str:
        """A digest of what would be done: shown beside the button, and quoted by the approval that comes back.

        It covers everything the person who decides relies on; the other texts are derived from these.
        """
        return sha256(msgspec.json.encode([str(getattr(self, name)) for name in _BOUND])).hexdigest()[:32]

    def moved_to(self, state: ActionState) -> Action:
        """This action in another state.

        Raises:
            ConflictError: the table does not allow the step, for instance a second approval; names who was first.
        """
        if state not in ACTION_TRANSITIONS[self.state]:
            by = f" by {self.decided_by}" if self.decided_by else ""
            raise ConflictError(f"action {self.id} is already {self.state}{by}; it cannot become {state}")
        return msgspec.structs.replace(self, state=state)
