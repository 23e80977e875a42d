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
    SHIFT_WEIGHT = "shift_weight"  # a split route's requests to its other upstreams
    ROLL_BACK = "roll_back"  # the configuration to the revision before
    LIMIT_CALLER = "limit_caller"
    BLOCK_CALLER = "block_caller"
    TIGHTEN_LIMIT = "tighten_limit"  # of a route, for everybody
    SHED_LOAD = "shed_load"  # a share of an upstream's requests, answered here
    OPEN_CIRCUIT = "open_circuit"  # all of an upstream's requests
    RUN_OUTSIDE = "run_outside"  # what the operator configured under [actions]


# What stays as it was done, instead of ending by itself.
FOR_GOOD = frozenset({ActionKind.ROLL_BACK, ActionKind.RUN_OUTSIDE})
ABOUT_CALLERS = frozenset({ActionKind.LIMIT_CALLER, ActionKind.BLOCK_CALLER})
ABOUT_LOAD = frozenset({ActionKind.SHED_LOAD, ActionKind.OPEN_CIRCUIT, ActionKind.TIGHTEN_LIMIT})


class ActionState(StrEnum):
    """Where an action stands."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    RUNNING = "RUNNING"  # begun outside the gateway, its end not yet known
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    EXECUTED = "EXECUTED"
    FAILED = "FAILED"
    REVERTED = "REVERTED"
    KEPT = "KEPT"  # done for good: it stays without anybody holding it
    UNKNOWN = "UNKNOWN"  # control ended between beginning and knowing the end: a person has to look


ACTION_TRANSITIONS: dict[ActionState, frozenset[ActionState]] = {
    ActionState.PENDING: frozenset({ActionState.APPROVED, ActionState.REJECTED, ActionState.EXPIRED}),
    ActionState.APPROVED: frozenset(
        {ActionState.RUNNING, ActionState.EXECUTED, ActionState.FAILED, ActionState.EXPIRED}
    ),
    ActionState.RUNNING: frozenset({ActionState.EXECUTED, ActionState.FAILED, ActionState.UNKNOWN}),
    ActionState.EXECUTED: frozenset({ActionState.REVERTED, ActionState.FAILED, ActionState.KEPT}),
    ActionState.REJECTED: frozenset(),
    ActionState.EXPIRED: frozenset(),
    ActionState.FAILED: frozenset(),
    ActionState.REVERTED: frozenset(),
    ActionState.KEPT: frozenset(),
    ActionState.UNKNOWN: frozenset(),
}

# What is in force or about to be: while one of these stands, the incident is not planned for again, nor closed.
ACTIVE = frozenset({ActionState.APPROVED, ActionState.RUNNING, ActionState.EXECUTED})

_BOUND = ("id", "incident_id", "tenant", "kind", "upstream", "target", "ttl_s", "risk", "effect", "expires_at")
_BOUND_SINCE = (
    "route",
    "caller",
    "amount",
    "by_plan",
    "command",
    "revision",
)  # left out while empty, as on older actions


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

    The samples are taken at execution: ``target`` what is ill, ``siblings`` what it is measured by (the other targets
    of its upstream, a split's other upstreams, or the same traffic before it began), ``place`` where the incident
    shows, ``others`` all other upstreams.
    """

    signal: str = "error_rate"  # a Signal
    slow_us: int = 0  # for latency: a request slower than this is bad
    onset: float = 0.0
    route: str = ""  # the incident's place
    place_upstream: str = ""
    patience_s: float = 10.0  # how long the upstream may take to answer: an earlier look sees only the quick answers
    apart: tuple[str, ...] = ()  # upstreams with a trouble or an action of their own: no control for this one
    settle_s: float = 0.0  # how long what was done takes to show
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
    route: str = ""  # the route acted on; empty: all of the upstream's
    caller: str = ""  # who is limited or blocked: "client 10.0.0.9", "subject acme/ana", "tenant acme"
    amount: float = 0.0  # share shed, factor of a limit, or requests per second a caller keeps
    by_plan: tuple[tuple[str, float], ...] = ()  # share shed of the callers on each plan of limits; "" for none
    command: str = ""  # which of [actions]
    revision: int = 0  # the configuration to go back to
    from_revision: int = 0  # the one that is left, and returned to if it was not to blame
    blast: float = 0.0  # share of the upstream's requests that is concerned, 0..1, as seen when it was proposed
    dry: bool = False  # written down, and nothing was done
    undo_command: str = ""  # which of [actions] takes it back; empty: nothing does

    @property
    def object(self) -> str:
        """What is acted on, as people say it."""
        if self.command:
            return f"{self.command} for {self.upstream}"
        if self.revision:
            return f"configuration revision {self.from_revision}"
        if self.caller:
            return f"{self.caller} on {self.route or self.upstream}"
        if self.target:
            return f"{self.target} of {self.upstream}"
        if self.route and self.upstream:
            return f"{self.upstream} on route {self.route}"
        return self.upstream or f"route {self.route}"

    @property
    def fingerprint(self) -> str:
        """A digest of what would be done: shown beside the button, and quoted by the approval that comes back.

        It covers everything the person who decides relies on; the other texts are derived from these.
        """
        bound = [str(getattr(self, name)) for name in _BOUND]
        bound += [f"{name}={value}" for name in _BOUND_SINCE if (value := getattr(self, name))]
        return sha256(msgspec.json.encode(bound)).hexdigest()[:32]

    def moved_to(self, state: ActionState) -> Action:
        """This action in another state.

        Raises:
            ConflictError: the table does not allow the step, for instance a second approval; names who was first.
        """
        if state not in ACTION_TRANSITIONS[self.state]:
            by = f" by {self.decided_by}" if self.decided_by else ""
            raise ConflictError(f"action {self.id} is already {self.state}{by}; it cannot become {state}")
        return msgspec.structs.replace(self, state=state)
