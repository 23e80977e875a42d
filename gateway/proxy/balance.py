"""Which target the next request goes to: smooth weighted round robin, with ejections taken into account.

Every target has its turn in one rotation by weight, ejected or not. When the turn falls on a target that may only take
a share of its usual traffic, that share accumulates until it makes a whole request; otherwise the turn passes to a
second rotation over the targets in full service. So a half-open trial at share 0.1 gets exactly a tenth of what the
target used to get, however many targets are out beside it, and no chance is involved.

The rotation is the one nginx made known: each turn every target gains its weight, the highest is chosen and pays the
sum of all weights. Sequences interleave (weights 5, 1, 1 give a a b a c a a) instead of running in blocks.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from gateway.domain.snapshot import DirectiveKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gateway.domain.snapshot import Directive
    from gateway.domain.upstreams import Target

_NONE: frozenset[str] = frozenset()


class _Turn:
    """One target's place in a rotation."""

    __slots__ = ("credit", "target", "weight")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.weight = max(1, target.weight)
        self.credit = 0


def _next(turns: list[_Turn]) -> _Turn:
    best = turns[0]
    if len(turns) == 1:
        return best
    total = 0
    for turn in turns:
        turn.credit += turn.weight
        total += turn.weight
        if turn.credit > best.credit:
            best = turn
    best.credit -= total
    return best


class Rotation:
    """The targets of one upstream and whose turn it is. Times are monotonic seconds."""

    def __init__(self, targets: tuple[Target, ...]) -> None:
        self.targets = targets
        self.panicked = 0  # requests sent to ejected targets because every target was out
        self._all = [_Turn(target) for target in targets]
        self._full = [_Turn(target) for target in targets]
        self._ejections: tuple[tuple[str, float, float], ...] = ()
        self._shares: dict[str, float] = {}  # ejected targets only
        self._accumulated: dict[str, float] = {}
        self._next_expiry = inf

    def eject(self, ejections: Iterable[tuple[str, float, float]], now: float) -> None:
        """Replace all ejections by these: target name, share of its usual traffic in [0, 1), and when it ends."""
        self._ejections = tuple(ejections)
        self._settle(now)

    def shares(self, now: float) -> dict[str, float]:
        """How much of its usual traffic each target gets."""
        if now >= self._next_expiry:
            self._settle(now)
        return {target.name: self._shares.get(target.name, 1.0) for target in self.targets}

    def pick(self, now: float, *, tried: Collection[str] = _NONE) -> Target | None:
        """The target for the next request, or None when all were tried.

        Args:
            now: monotonic seconds; ejections that have ended are forgotten first.
            tried: names of targets that refused this request already.
        """
        if now >= self._next_expiry:
            self._settle(now)
        if tried:
            return self._another(tried)
        if not self._all:
            return None
        turn = _next(self._all)
        if not self._shares:
            return turn.target
        if self._takes(turn.target.name):
            return turn.target
        return self._instead(turn).target

    def _takes(self, name: str) -> bool:
        share = self._shares.get(name)
        if share is None:
            return True
        accumulated = self._accumulated.get(name, 0.0) + share
        # A hair under one, so that ten times 0.1 makes a request despite binary fractions.
        whole = accumulated >= 1 - 1e-9
        self._accumulated[name] = accumulated - 1 if whole else accumulated
        return whole

    def _instead(self, turn: _Turn) -> _Turn:
        """Who takes a turn that an ejected target may not take."""
        if self._full:
            return _next(self._full)
        trial = [other for other in self._all if self._shares.get(other.target.name, 1.0) > 0]
        if trial:
            # Nothing is in full service: a target that was judged fit for a trial is better than one that was not.
            return max(trial, key=lambda other: other.credit)
        self.panicked += 1
        return turn

    def _another(self, tried: Collection[str]) -> Target | None:
        """A second choice for the same request: full service first, then trials, ejected ones only in a panic."""
        left = [turn for turn in self._all if turn.target.name not in tried]
        fit = [turn for turn in left if turn.target.name not in self._shares]
        fit = fit or [turn for turn in left if self._shares[turn.target.name] > 0]
        if not fit and left and len(self._shares) == len(self._all) and not any(self._shares.values()):
            self.panicked += 1
            fit = left
        return max(fit, key=lambda turn: turn.credit).target if fit else None

    def _settle(self, now: float) -> None:
        """Recompute who is out; several ejections of one target count as the strictest."""
        names = {target.name for target in self.targets}
        self._ejections = tuple(ejection for ejection in self._ejections if ejection[2] > now and ejection[0] in names)
        shares: dict[str, float] = {}
        for name, share, _ in self._ejections:
            shares[name] = min(shares.get(name, 1.0), max(0.0, share))
        shares = {name: share for name, share in shares.items() if share < 1}
        if shares.keys() != self._shares.keys():
            self._full = [_Turn(target) for target in self.targets if target.name not in shares]
        self._shares = shares
        self._accumulated = {name: self._accumulated.get(name, 0.0) for name in shares}
        self._next_expiry = min((until for _, _, until in self._ejections), default=inf)


class Orders:
    """The directives in force, translated to monotonic deadlines and fenced against a leader of the past.

    A directive's deadline is set once, when it is first seen: its time to live or what is left of it by the wall
    clock, whichever is shorter. Later jumps of the wall clock neither prolong nor cut it.
    """

    def __init__(self) -> None:
        self.highest_fence = 0
        self.refused = 0  # directives of a leader that has been replaced
        self._deadlines: dict[Directive, float] = {}

    def accept(self, directives: Iterable[Directive], *, wall: float, now: float) -> dict[Directive, float]:
        """Take the directives of a snapshot; returns those in force with the monotonic second each one ends.

        One accepted before stays, even under a new leader, until it ends or the snapshot no longer lists it. A new
        one whose fence is lower than the highest ever seen is refused.
        """
        accepted: dict[Directive, float] = {}
        for directive in sorted(directives, key=lambda directive: directive.fence):
            deadline = self._deadlines.get(directive)
            if deadline is None:
                if directive.fence < self.highest_fence:
                    self.refused += 1
                    continue
                to_live = directive.expires_at - directive.issued_at
                deadline = now + min(to_live, directive.expires_at - wall)
                self.highest_fence = directive.fence
            accepted[directive] = deadline
        self._deadlines = accepted  # ended ones stay listed, so that they cannot begin again
        return {directive: deadline for directive, deadline in accepted.items() if deadline > now}


def ejections_of(upstream: str, orders: dict[Directive, float]) -> list[tuple[str, float, float]]:
    """What :meth:`Rotation.eject` takes, for one upstream."""
    return [
        (directive.target, directive.share, deadline)
        for directive, deadline in orders.items()
        if directive.upstream == upstream and directive.kind is DirectiveKind.EJECT_TARGET
    ]
