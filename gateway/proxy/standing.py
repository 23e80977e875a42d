"""Which targets of an upstream take their full part, and what part the others take.

Three things hold a target back, and the strictest counts: an order of control (out, or a share of its usual traffic), a
passive ejection (out, then one probe at a time), and the slow start of one that came or came back. Whichever way
targets are balanced, held back is done here, so all ways do it alike:

Every target has its turn in one rotation by weight, held back or not. When the turn falls on a target that may only
take a share of its usual traffic, that share accumulates until it makes a whole request; otherwise the turn passes to
the targets in full service. So a half-open trial at share 0.1 gets exactly a tenth of what the target used to get,
however many targets are out beside it, and no chance is involved.

The rotation is the one nginx made known: each turn every target gains its weight, the highest is chosen and pays the
sum of all weights. Sequences interleave (weights 5, 1, 1 give a a b a c a a) instead of running in blocks.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from gateway.domain.upstreams import Target
    from gateway.proxy.outlier import Outliers

NONE_TRIED: frozenset[str] = frozenset()
WARMING_STEPS = 20  # in which a slow start gains weight: 5 % each


class Turn:
    """One target's place in a rotation."""

    __slots__ = ("credit", "name", "target", "weight")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.name = target.name
        self.weight = max(1, target.weight)
        self.credit = 0


def next_turn(turns: Sequence[Turn]) -> Turn:
    """Whose turn it is by smooth weighted round robin; ``turns`` is not empty."""
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


class Standing:
    """The targets of one upstream and how each of them stands. Times are monotonic seconds.

    What differs between the ways to balance is in two methods: :meth:`_best`, and how :meth:`pick` goes on when nobody
    is held back.

    Args:
        targets: of the upstream.
        panic: the share of targets in full service below which ejections are ignored.
        slow_start_s: how long a target that came back takes to reach its full weight.
        outliers: who is out by its own answers.
    """

    def __init__(
        self,
        targets: tuple[Target, ...],
        *,
        panic: float = 0.0,
        slow_start_s: float = 0.0,
        outliers: Outliers | None = None,
    ) -> None:
        self.targets = targets
        self.panicked = 0  # requests sent to ejected targets, because too few others were left
        self._panic = panic
        self._slow_start_s = slow_start_s
        self._outliers = outliers
        self._changes = 0 if outliers is None else outliers.changes
        self._all = [Turn(target) for target in targets]
        self._full = [Turn(target) for target in targets]
        self._ejections: tuple[tuple[str, float, float], ...] = ()
        self._shares: dict[str, float] = {}  # of those held back only; 1 for one that waits for a probe
        self._probing: frozenset[str] = frozenset()
        self._away: frozenset[str] = frozenset()  # ejected, by whom ever
        self._ignored: frozenset[str] = frozenset()  # the same, while a panic makes them take requests
        self._held = False  # whether any of this matters to the next request
        self._warming: dict[str, float] = {}  # target → since when it gains weight
        self._accumulated: dict[str, float] = {}
        self._next_change = inf

    def eject(self, ejections: Iterable[tuple[str, float, float]], now: float) -> None:
        """Replace all orders by these: target name, share of its usual traffic in [0, 1), and when it ends."""
        self._ejections = tuple(ejections)
        self._settle(now)

    def follow(self, before: Standing, now: float) -> None:
        """Go on where the standing of the former definition left off; targets it did not have are new."""
        known = {target.name for target in before.targets}
        names = {target.name for target in self.targets}
        self.panicked = before.panicked
        self._ejections = before._ejections
        self._away = before._away & names
        if self._slow_start_s:
            self._warming = {name: since for name, since in before._warming.items() if name in names}
            self._warming |= dict.fromkeys(names - known, now)
        self._settle(now)

    def outliers_changed(self, now: float) -> bool:
        """Look again if a target went out or came back by its answers, and say whether one did."""
        if self._outliers is None or self._outliers.changes == self._changes:
            return False
        self._settle(now)
        return True

    def shares(self, now: float) -> dict[str, float]:
        """How much of its usual traffic each target gets; 0 for one that only gets probes."""
        if now >= self._next_change:
            self._settle(now)
        return {
            target.name: 0.0 if target.name in self._probing else self._shares.get(target.name, 1.0)
            for target in self.targets
        }

    def pick(self, now: float, *, tried: Collection[str] = NONE_TRIED, key: bytes = b"") -> Target | None:
        """The target for the next request, or None when all were tried.

        Args:
            now: monotonic seconds; what has ended by then is forgotten first.
            tried: names of targets that refused this request already.
            key: whose request it is, for those who keep callers and targets together.
        """
        if now >= self._next_change:
            self._settle(now)
        if tried:
            return self._another(tried, now, key)
        if not self._all:
            return None
        if self._held:
            return self._pick_held(now, key)
        return self._best(self._all, now, key).target

    def started(self, name: str) -> None:
        """A request goes to that target."""

    def finished(self, name: str, now: float, *, seconds: float, failed: bool) -> None:
        """It is over: ``seconds`` until its answer began, or until it was clear that none comes."""

    def _best(self, turns: Sequence[Turn], now: float, key: bytes) -> Turn:  # noqa: ARG002 - subclasses need them
        """The one to take among several that all may; ``turns`` is not empty."""
        return max(turns, key=lambda turn: turn.credit)

    def _pick_held(self, now: float, key: bytes) -> Target:
        turn = next_turn(self._all)
        if self._ignored:
            return self._counted(self._best(self._all, now, key)).target
        if turn.name in self._shares and self._takes(turn.name, now):
            return turn.target
        return self._instead(turn, now, key).target

    def _instead(self, turn: Turn, now: float, key: bytes) -> Turn:
        """Who takes a turn that is not left to a target held back."""
        if self._full:
            return self._best(self._full, now, key)
        trial = [other for other in self._all if self._fit(other.name, now)]
        # Nothing is in full service: a target that was judged fit for a trial is better than one that was not.
        return max(trial, key=lambda other: other.credit) if trial else self._counted(turn)

    def _another(self, tried: Collection[str], now: float, key: bytes) -> Target | None:
        """A second choice for the same request: full service first, then trials, ejected ones only in a panic."""
        left = [turn for turn in self._all if turn.name not in tried]
        fit = [turn for turn in left if turn.name not in self._shares]
        fit = fit or [turn for turn in left if self._fit(turn.name, now)]
        if not fit and left and not any(self._fit(turn.name, now) for turn in self._all):
            fit = left
        return self._counted(self._best(fit, now, key)).target if fit else None

    def _counted(self, turn: Turn) -> Turn:
        """The same, with a note if only a panic sends a request there."""
        if turn.name in self._ignored or not self._shares.get(turn.name, 1.0):
            self.panicked += 1
        return turn

    def _fit(self, name: str, now: float) -> bool:
        """Whether a target may take any requests at all."""
        return self._shares.get(name, 1.0) > 0 and (name not in self._probing or self._probe_free(name, now))

    def _probe_free(self, name: str, now: float) -> bool:
        return self._outliers is not None and self._outliers.probe_free(name, now)

    def _takes(self, name: str, now: float) -> bool:
        """Whether a target held back takes a request whose turn is its own."""
        if name in self._probing and not self._probe_free(name, now):
            return False
        accumulated = self._accumulated.get(name, 0.0) + self._shares[name]
        # A hair under one, so that ten times 0.1 makes a request despite binary fractions.
        whole = accumulated >= 1 - 1e-9
        self._accumulated[name] = accumulated - 1 if whole else accumulated
        return whole

    def _settle(self, now: float) -> None:
        """Recompute how everyone stands; several ejections of one target count as the strictest."""
        names = {target.name for target in self.targets}
        self._ejections = tuple(ejection for ejection in self._ejections if ejection[2] > now and ejection[0] in names)
        changes = [until for _, _, until in self._ejections]
        shares: dict[str, float] = {}
        for name, share, _ in self._ejections:
            if share < 1:
                shares[name] = min(shares.get(name, 1.0), max(0.0, share))
        probing = self._take_outliers(shares, changes, now)
        away = frozenset(shares)
        if self._slow_start_s:
            for name in self._away - away:
                self._warming[name] = now
        self._away = away
        self._probing = probing
        self._ignored = away if len(names) - len(away) < self._panic * len(names) else frozenset()
        if self._ignored:
            shares, self._probing = {}, frozenset()
        self._take_warming(shares, changes, now)
        if shares.keys() != self._shares.keys():
            self._full = [Turn(target) for target in self.targets if target.name not in shares]
        self._shares = shares
        self._held = bool(shares or self._ignored)
        self._accumulated = {name: self._accumulated.get(name, 0.0) for name in shares}
        self._next_change = min(changes, default=inf)

    def _take_outliers(self, shares: dict[str, float], changes: list[float], now: float) -> frozenset[str]:
        """Add who is out by its answers; returns those of them that take probes."""
        if self._outliers is None:
            return frozenset()
        self._changes = self._outliers.changes
        probing = set[str]()
        for name, until in self._outliers.away().items():
            if until > now:
                shares[name] = 0.0
                changes.append(until)
            else:
                shares.setdefault(name, 1.0)
                probing.add(name)
        return frozenset(probing)

    def _take_warming(self, shares: dict[str, float], changes: list[float], now: float) -> None:
        """Add who is still gaining weight, unless it is held back otherwise."""
        step_s = self._slow_start_s / WARMING_STEPS
        warm: dict[str, float] = {}
        for name, since in tuple(self._warming.items()):
            steps = int((now - since) / step_s + 1e-9) + 1
            if steps >= WARMING_STEPS:
                del self._warming[name]
            elif name not in self._away:
                warm[name] = steps / WARMING_STEPS
                changes.append(since + steps * step_s)
        if warm and len(warm) + len(shares) == len(self.targets):
            # Nobody is in full service who could take the rest: the warmest count as if they were.
            warmest = max(warm.values())
            warm = {name: share / warmest for name, share in warm.items() if share < warmest}
        shares |= warm
