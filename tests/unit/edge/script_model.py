"""lua/token_bucket.lua in Python: what the script must do, leases and settlements included, written a second time."""

from __future__ import annotations

from gateway.edge.periods import period
from gateway.edge.token_bucket import PERIOD, Bucket, charge

SMALLEST, PART = 16, 8


class Model:
    """The states of one Redis; every method takes the tick of the moment."""

    def __init__(self) -> None:
        self.states: dict[str, int] = {}

    def call(
        self,
        now: int,
        keys: list[str],
        buckets: list[Bucket],
        refusing: int,
        lease: tuple[int, int] | None = None,
        settle: tuple[int, ...] | None = None,
        *,
        charging: bool = True,
    ) -> list[int]:
        """One group: the answers the script gives for it."""
        if settle is not None:
            self._settle(now, keys[:refusing], buckets, settle)
        if not charging:
            return []
        states, answers = charge([self.states.get(key) for key in keys], buckets, now, now, refusing)
        for key, state in zip(keys, states, strict=True):
            if state is not None:
                self.states[key] = state
        if lease is not None:
            answers += (self._lease(now, keys[:refusing], buckets, answers, *lease), now)
        return answers

    def _lease(self, now, keys, buckets, answers, wanted, life) -> int:
        moved = {}
        tokens = 0 if any(answers[1 : 3 * len(keys) : 3]) else wanted
        for key, (interval, capacity) in zip(keys, buckets, strict=False):
            state = self.states.get(key, now)
            if interval < 0:
                left = capacity - state % PERIOD
            else:
                state = max(state, now + life)
                left = (now + capacity - state) // interval
            moved[key] = state
            tokens = min(tokens, left // PART)
        if tokens < SMALLEST:
            return 0
        for key, (interval, _) in zip(keys, buckets, strict=False):
            self.states[key] = moved[key] + tokens * max(interval, 0) + (tokens if interval < 0 else 0)
        return tokens

    def _settle(self, now, keys, buckets, settle) -> None:
        since, unspent, life, *given_up = settle
        early = life - (now - since)
        for key, (interval, _), more in zip(keys, buckets, given_up, strict=False):
            state = self.states.get(key)
            if state is None or since > now:
                continue
            if interval < 0:
                span = period(interval, now)
                if since >= span.start and state // PERIOD == span.number:
                    self.states[key] = max(span.number * PERIOD, state - unspent)
                continue
            back = unspent * interval
            back = back + min(more, early) if early >= 0 else max(0, back + early)
            self.states[key] = state - back
