"""A small world: payments with a few targets, traffic that follows the directives in force, and a clock."""

from __future__ import annotations

import random

import msgspec

from gateway.domain.diagnosis import Confidence, Diagnosis, Hypothesis, Report
from gateway.domain.histogram import bin_of
from gateway.domain.incident import Incident, IncidentState, Place, Severity, Signal
from gateway.domain.policy import RemediateSettings
from gateway.domain.routing import Route
from gateway.domain.snapshot import Directive, Snapshot
from gateway.domain.traffic import SeriesKey, Tally
from gateway.domain.upstreams import Target, Upstream
from gateway.domain.window import Window
from gateway.errors import ConflictError
from gateway.remediate.actions.edge import by_directive
from gateway.remediate.closed_loop import Remediation

T0 = 1_000_000.0
A, B, C, D = "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"


def upstream(name: str, *targets: str) -> Upstream:
    return Upstream(name=name, targets=tuple(Target(name=one, host=one.split(":")[0], port=1) for one in targets))


class Board:
    """A DirectiveBoard in memory."""

    def __init__(self) -> None:
        self.directives: dict[str, Directive] = {}
        self.lost = False
        self.clock = T0

    async def issue(self, directive: Directive) -> None:
        if self.lost:
            raise ConflictError("another control leads")
        self.directives[directive.id] = directive

    async def withdraw(self, directive_id: str) -> None:
        if self.lost:
            raise ConflictError("another control leads")
        self.directives.pop(directive_id, None)

    def active(self) -> tuple[Directive, ...]:
        return tuple(one for one in self.directives.values() if one.expires_at > self.clock)

    def fence(self) -> int:
        return 7


class World:
    """Traffic in five-second cells: orders calls payments; faults are shares of bad answers per target.

    ``slow_us`` answers of a slow target take that long. Draws are seeded, so a test's traffic never changes.
    """

    def __init__(self, *targets: str, per_s: float = 20.0, seed: int = 1) -> None:
        self.targets = targets or (A, B)
        self.per_s = per_s
        self.window = Window()
        self.board = Board()
        self.now = T0
        self.failing: dict[str, float] = {}
        self.slow: dict[str, float] = {}
        self.orders_failing = 0.0
        self.settings = RemediateSettings()
        self.draw = random.Random(seed)
        self.overload = False

    @property
    def snapshot(self) -> Snapshot:
        self.board.clock = self.now
        return Snapshot(
            revision=1,
            created_at=self.now,
            routes=(Route(name="orders", path="/orders/*", upstream="orders"),),
            upstreams=(
                msgspec.structs.replace(upstream("orders", "10.0.1.1:1"), depends_on=("payments",)),
                upstream("payments", *self.targets),
                upstream("elsewhere", *self.targets),
            ),
            directives=self.board.active(),
        )

    def remediation(self) -> Remediation:
        return Remediation(
            by_directive(self.board),
            self.window,
            lambda: self.snapshot,
            lambda: self.settings,
        )

    def run(self, seconds: int) -> None:
        """Let so much time pass, with traffic."""
        for _ in range(seconds // 5):
            self._cell()
            self.now += 5

    def _cell(self) -> None:
        shares = dict.fromkeys(self.targets, 1.0)
        self.board.clock = self.now + 1e-6
        for directive in self.board.active():
            shares[directive.target] = directive.share
        whole = sum(shares.values()) or 1
        cell: dict[SeriesKey, Tally] = {}
        failed = 0.0
        for target, share in shares.items():
            count = self._about(self.per_s * 5 * share / whole)
            ill = self.failing.get(target, 0.0)
            if self.overload and min(shares.values()) == 0:
                ill = max(ill, 0.9)
            bad = sum(self.draw.random() < ill for _ in range(count))
            failed += bad
            self._put(cell, "payments", target, count - bad, 200, target)
            self._put(cell, "payments", target, bad, 503, target)
        count = self._about(self.per_s * 5)
        total = sum(tally.requests for tally in cell.values()) or 1
        bad = sum(self.draw.random() < max(failed / total, self.orders_failing) for _ in range(count))
        self._put(cell, "orders", "10.0.1.1:1", count - bad, 200, "")
        self._put(cell, "orders", "10.0.1.1:1", bad, 502, "")
        self.window.add(int(self.now), cell)

    def _about(self, amount: float) -> int:
        return int(amount) + (self.draw.random() < amount % 1)

    def _put(self, cell: dict[SeriesKey, Tally], name: str, target: str, count: int, status: int, at: str) -> None:
        if not count:
            return
        key = SeriesKey("orders" if name == "orders" else "payments", name, target, "", "GET", status, "")
        tally = cell.setdefault(key, Tally())
        slow = self.slow.get(at, 0.0)
        for _ in range(count):
            duration = 900_000 if self.draw.random() < slow else self.draw.randint(8_000, 20_000)
            index = bin_of(duration)
            tally.latency[index] = tally.latency.get(index, 0) + 1
        tally.requests += count
        tally.errors += count if status >= 500 else 0

    def incident(self, *, signal: Signal = Signal.ERROR_RATE, onset: float | None = None, **fields: object) -> Incident:
        base = Incident(
            id="inc-1",
            dedup_key="payments:error_rate",
            state=IncidentState.ANALYZING,
            severity=Severity.P1,
            signal=signal,
            place=Place(route="orders", upstream="orders"),
            title="orders fails",
            opened_at=self.now,
            onset=self.now - 15 if onset is None else onset,
            updated_at=self.now,
        )
        return msgspec.structs.replace(base, **fields)


def blaming(*targets: str, suggested: tuple[str, ...] = (), upstream_name: str = "payments") -> Diagnosis:
    return Diagnosis(
        at=T0,
        evidence=(),
        hypotheses=tuple(
            Hypothesis(
                id=f"h{number}", statement=f"{target} fails", upstream=upstream_name, target=target, score=0.8**number
            )
            for number, target in enumerate(targets, 1)
        ),
        report=Report(
            source="rules",
            title="",
            summary="",
            root_cause="",
            inconclusive=False,
            confidence=Confidence.HIGH,
            confidence_score=0.9,
            affected=(),
            claims=(),
            steps=(),
            suggested_actions=suggested,
        ),
    )
