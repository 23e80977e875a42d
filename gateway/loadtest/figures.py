"""What a scenario saw: requests by kind, seconds, and the judgements on them. Pure; ``at_s`` is any clock's time."""

from __future__ import annotations

import msgspec

from gateway.domain.histogram import Histogram, bin_of, merge, quantile

MAX_ERRORS_KEPT = 20  # distinct texts; the rest is counted under one
MAX_KINDS = 32
OTHER = "other"


class Check(msgspec.Struct, frozen=True):
    """One judgement: what should hold, whether it did, and the figures it was judged by."""

    name: str
    held: bool
    detail: str


class Second(msgspec.Struct, frozen=True):
    """One second of a scenario. Latency is of the answers that came in it; None when none came."""

    at_s: int
    requests: int
    errors: int
    users: int
    p50_ms: float | None = None
    p95_ms: float | None = None


class Kind(msgspec.Struct, frozen=True):
    """Requests of one name, such as "admitted" or "beside slow clients"."""

    name: str
    requests: int
    errors: int
    length: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Seen(msgspec.Struct, frozen=True):
    """All of a scenario, as the process that ran it tells it."""

    seconds: float
    requests: int
    errors: int
    kinds: tuple[Kind, ...]
    whole: Kind
    error_texts: dict[str, int]
    checks: tuple[Check, ...]


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line from the process that runs a scenario."""

    second: Second | None = None
    seen: Seen | None = None


class Cost(msgspec.Struct, frozen=True):
    """What the gateway used meanwhile; None of it is known of a gateway that was not started here.

    ``rss_mib`` are of the workers: before, at the peak, after.
    """

    worker_us: float
    control_us: float
    rss_mib: tuple[float, float, float]


class Outcome(msgspec.Struct, frozen=True):
    """A scenario that is over. ``failure`` says why there is nothing to judge, when it is so."""

    name: str
    title: str
    users: int
    timeline: tuple[Second, ...] = ()
    seen: Seen | None = None
    checks: tuple[Check, ...] = ()
    cost: Cost | None = None
    failure: str = ""

    @property
    def held(self) -> bool:
        """Whether there was something to judge, and every judgement was good."""
        return not self.failure and bool(self.checks) and all(check.held for check in self.checks)


class Group:
    """Requests of one name while they are being counted. Durations are kept in bins of 1 %."""

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.length = 0
        self.max_ms = 0.0
        self.histogram: Histogram = {}

    def add(self, duration_ms: float, length: int, *, failed: bool) -> None:
        """Count one request."""
        self.requests += 1
        self.errors += failed
        self.length += length
        self.max_ms = max(self.max_ms, duration_ms)
        index = bin_of(int(duration_ms * 1000))
        self.histogram[index] = self.histogram.get(index, 0) + 1

    def quantile_ms(self, q: float) -> float | None:
        """The q-quantile, None when nothing was counted."""
        found = quantile(self.histogram, q)
        return None if found is None else found / 1000

    def kind(self, name: str) -> Kind:
        """The figures so far."""
        at = {q: self.quantile_ms(q) or 0.0 for q in (0.5, 0.95, 0.99)}
        return Kind(name, self.requests, self.errors, self.length, at[0.5], at[0.95], at[0.99], self.max_ms)


class Recorder:
    """Counts what comes in, by name and by second."""

    def __init__(self, begun_s: float) -> None:
        self.begun_s = begun_s
        self.first_sent_s: float | None = None
        self.last_answered_s = begun_s
        self.error_texts: dict[str, int] = {}
        self._groups: dict[str, Group] = {}
        self._second = Group()

    def add(self, name: str, at_s: float, duration_ms: float, length: int, error: str = "") -> None:
        """Count a request that was answered, or failed, at ``at_s``."""
        sent_s = at_s - duration_ms / 1000
        self.first_sent_s = sent_s if self.first_sent_s is None else min(self.first_sent_s, sent_s)
        self.last_answered_s = max(self.last_answered_s, at_s)
        for group in (self.group(name), self._second):
            group.add(duration_ms, length, failed=bool(error))
        if error:
            known = error in self.error_texts or len(self.error_texts) < MAX_ERRORS_KEPT
            text = error if known else OTHER
            self.error_texts[text] = self.error_texts.get(text, 0) + 1

    def group(self, name: str) -> Group:
        """The requests of this name, those of names beyond the bound together."""
        found = self._groups.get(name)
        if found is None:
            found = self._groups.setdefault(name if len(self._groups) < MAX_KINDS else OTHER, Group())
        return found

    def second(self, now_s: float, users: int) -> Second:
        """What came in since this was called last, and begin anew."""
        group, self._second = self._second, Group()
        p50_ms, p95_ms = group.quantile_ms(0.5), group.quantile_ms(0.95)
        return Second(round(now_s - self.begun_s), group.requests, group.errors, users, p50_ms, p95_ms)

    def span_s(self) -> float:
        """From the first request sent to the last answer."""
        return self.last_answered_s - (self.begun_s if self.first_sent_s is None else self.first_sent_s)

    def seen(self, checks: tuple[Check, ...]) -> Seen:
        """All of it, with what was made of it."""
        whole = Group()
        for group in self._groups.values():
            whole.requests += group.requests
            whole.errors += group.errors
            whole.length += group.length
            whole.max_ms = max(whole.max_ms, group.max_ms)
            merge(whole.histogram, group.histogram)
        kinds = tuple(group.kind(name) for name, group in self._groups.items())
        return Seen(
            self.span_s(), whole.requests, whole.errors, kinds, whole.kind("all"), dict(self.error_texts), checks
        )
