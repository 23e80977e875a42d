"""What Redis said before and still answers: tokens a worker has on lease, and callers who have none for a while.

A busy caller's worker takes some tokens at once and spends them without asking again. They are charged when they are
leased; lua/token_bucket.lua charges them as if all were spent at the end of the lease's life, so over any window no
more than burst + rate·t are admitted, by however many workers (docs/adr/0012). What is not spent is given back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.limits import LEASING, NOT_CHARGING, SETTLING, Verdict, bulk
from gateway.edge.periods import TICKS_PER_S

if TYPE_CHECKING:
    from gateway.edge.limit_groups import Group
    from gateway.edge.limits import LimitSet

HOT = 8  # checks of one caller within HEAT_S before a lease is thought of
HEAT_S = 1.0
MOST, LEAST = 64, 16  # tokens of one lease; the script takes no fewer than LEAST
# The part of a lease's life that is used: a node's clock may run a little slower than Redis's (0.05 % is NTP's worst).
SAFE_PART = 0.99
EXHAUSTED_S = 1.0  # longest time a caller is refused without asking: so long a flush of Redis may go unnoticed


class Lease:
    """Tokens taken at once. Times are monotonic seconds; ``life`` is ticks, ``since`` a tick of Redis's clock."""

    __slots__ = (
        "_answers",
        "_buckets",
        "_limits",
        "expires_at",
        "generation",
        "group",
        "life",
        "sent_at",
        "settled",
        "since",
        "spent",
        "tokens",
    )

    def __init__(
        self, group: Group, limits: LimitSet, answers: list[int], granted: tuple[int, int], sent_at: float
    ) -> None:
        """``answers`` are those to the check the lease came with, ``granted`` its tokens and tick."""
        self.group = group
        self._limits = limits
        self._buckets = limits.buckets(1)
        self._answers = answers
        self.tokens, self.since = granted
        self.life = limits.lease
        self.spent = 0
        self.settled = False
        self.generation = 0  # of the connection it came by
        self.sent_at = sent_at
        self.expires_at = sent_at + SAFE_PART * self.life / TICKS_PER_S
        for each, reset in zip(self._buckets, answers[2::3], strict=True):
            if each.interval < 0:  # what is charged to this day is spent in this day
                self.expires_at = min(self.expires_at, sent_at + SAFE_PART * reset / TICKS_PER_S)

    def verdict(self, now: float) -> Verdict | None:
        """One token spent, or None when there is none or its time is over."""
        if self.spent == self.tokens or now >= self.expires_at:
            return None
        self.spent = spent = self.spent + 1
        passed = int((now - self.sent_at) * TICKS_PER_S)
        answers = self._answers.copy()
        at = 0
        for interval, _ in self._buckets:
            answers[at] -= spent
            reset = answers[at + 2] - passed + (spent * interval if interval > 0 else 0)
            answers[at + 2] = max(reset, 0)
            at += 3
        return Verdict(self._limits, answers, 0, True)

    def settlement(self) -> list[int]:
        """What the script needs to take back what was not spent; see there."""
        life = self.life
        moved = [
            max(0, life - reset) if each.interval > 0 else 0
            for each, reset in zip(self._buckets, self._answers[2::3], strict=True)
        ]
        return [self.since, self.tokens - self.spent, life, *moved]


class Exhausted:
    """A caller who has no token until then, as Redis said."""

    __slots__ = ("_answers", "_limits", "_sent_at", "_until", "refused")

    def __init__(self, limits: LimitSet, verdict: Verdict, sent_at: float) -> None:
        at = verdict.at
        self._limits = limits
        self._answers = (verdict.answers or [])[at : at + 3 * len(limits.rules)]
        self._sent_at = sent_at
        # From before the question on, so it ends no later than what Redis said.
        self._until = sent_at + min(EXHAUSTED_S, verdict.longest_wait() / TICKS_PER_S)
        self.refused = 0

    def verdict(self, now: float) -> Verdict | None:
        """The same refusal, its times brought up to now; None when Redis may have a token again."""
        if now >= self._until:
            return None
        self.refused += 1
        passed = int((now - self._sent_at) * TICKS_PER_S)
        answers = self._answers.copy()
        for at in range(0, len(answers), 3):
            if answers[at + 1]:
                answers[at + 1] = max(1, answers[at + 1] - passed)
            answers[at + 2] = max(0, answers[at + 2] - passed)
        return Verdict(limits=self._limits, answers=answers)


def wanted(group: Group, limits: LimitSet, now: float) -> int:
    """How many tokens to ask for on lease: what this caller spends in a lease's life, 0 when that is too few."""
    if group.leasing or group.heat < HOT:
        return 0
    per_s = group.heat / max(now - group.heated_at, 0.001)
    tokens = min(MOST, int(per_s * limits.lease / TICKS_PER_S))
    return tokens if tokens >= LEAST else 0


def is_hot(group: Group, now: float) -> bool:
    """Note one check of this caller; at every HOTth it is worth a thought whether to lease."""
    if now - group.heated_at > HEAT_S:
        group.heated_at = now
        group.heat = 1
        return False
    group.heat += 1
    return group.heat % HOT == 0


def arguments(limits: LimitSet, tokens: int, over: Lease | None, *, charging: bool = True) -> tuple[int, bytes]:
    """Number and text of a group's script arguments with a lease asked for, one settled, or both."""
    word = limits.word
    more: list[int] = []
    if tokens:
        word += LEASING
        more += (tokens, limits.lease)
    if over is not None:
        word += SETTLING
        more += over.settlement()
    if not charging:
        word += NOT_CHARGING
    text = b"".join([bulk(b"%d" % word), *[bulk(b"%d" % each) for each in more], *limits.pairs])
    return 1 + len(more) + 2 * len(limits.rules), text
