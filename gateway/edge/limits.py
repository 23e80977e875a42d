"""The limits one request is under, compiled once per route and plan: buckets, names, Redis arguments, header fields.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11 (May 2026): RateLimit-Policy says what was agreed (q per
w seconds), RateLimit what is left (r) and in how many seconds there is more (t). Limits that only watch (shadow mode)
stand behind the others everywhere and are in no field.
"""

from __future__ import annotations

from hashlib import blake2b
from time import time_ns
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.domain.limits import ConcurrencyLimit, Limit, LimitMode, Quota, Scope
from gateway.edge.periods import EPOCH_S, MONTH, TICKS_PER_S, period
from gateway.edge.token_bucket import Bucket, bucket, quota
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.domain.forwarding import Headers
    from gateway.domain.identity import Principal
    from gateway.domain.routing import Route
    from gateway.edge.exchange import Exchange

MAX_WHOM = 96  # characters: an e-mail address and a tenant fit
MAX_RULES = 1023  # of each kind in one set: what the script's word of parts can say
WATCHING, LEASING, SETTLING, NOT_CHARGING = 1 << 10, 1 << 20, 1 << 21, 1 << 22  # what else that word can say
LEAST_LEASED = 128  # a limit whose burst or count is below this is never leased: an eighth of it is less than 16
LONGEST_LEASE = TICKS_PER_S
LEASED_PART = 16  # of the time a bucket takes to fill: what a lease may hold back of it

# An attribute of an enum class costs as much as a call.
_ROUTE, _TENANT, _KEY, _CLIENT = Scope.ROUTE, Scope.TENANT, Scope.KEY, Scope.CLIENT

LimitKey = tuple[str, str]  # name of the limit, whom it counts


class Asking(Protocol):
    """As much of a request as says whom a limit counts."""

    @property
    def principal(self) -> Principal:
        """Who it was proven to come from."""
        ...

    @property
    def route(self) -> Route | None:
        """What it was matched to."""
        ...

    @property
    def client(self) -> str:
        """The address it came from."""
        ...


class LimitSet:
    """Limits that are charged together, in the order the operator wrote them: rates, then quotas.

    Attributes:
        rules: rates and quotas, those that refuse (``enforced``, so many as ``refusing``) before those that only watch.
        concurrency: limits of what is under way at once, which this process counts by itself.
        only: the scope of the only limit, None where there are several.
        sole: whether they are one rate that refuses, which is what most routes have.
        lease: ticks a lease of these limits may live; 0 when they are never leased.
        identity: the same for two sets of the same content.
    """

    def __init__(
        self,
        limits: tuple[Limit, ...],
        quotas: tuple[Quota, ...] = (),
        concurrency: tuple[ConcurrencyLimit, ...] = (),
    ) -> None:
        written: tuple[Limit | Quota, ...] = (*limits, *quotas)
        enforced = tuple(rule for rule in written if rule.mode is LimitMode.ENFORCE)
        watching = tuple(rule for rule in written if rule.mode is LimitMode.SHADOW)
        if max(len(enforced), len(watching)) > MAX_RULES:
            raise ConfigError(f"a route is under more than {MAX_RULES} limits", remedy="leave some out")
        self.rules = enforced + watching
        self.enforced = enforced
        self.refusing = len(enforced)
        self.watching = len(watching)
        self.concurrency = concurrency
        self.only = self.rules[0].scope if len(self.rules) == 1 else None
        self.has_quotas = any(isinstance(rule, Quota) for rule in self.rules)
        self.identity = blake2b(msgspec.json.encode(self.rules), digest_size=16).hexdigest()
        self._shares: dict[int, tuple[Bucket, ...]] = {}
        self._names = tuple(_key_name(rule) for rule in self.rules)
        self.sole = self.refusing == len(self.rules) == 1 and isinstance(self.rules[0], Limit)
        whole = self.buckets(1)
        self.pairs = tuple(bulk(b"%d" % each.interval) + bulk(b"%d" % each.capacity) for each in whole)
        self.word = self.refusing + WATCHING * self.watching
        self.arguments = bulk(b"%d" % self.word) + b"".join(self.pairs)
        self.answer_count = 3 * len(self.rules)
        self.argument_count = 1 + 2 * len(self.rules)
        self.lease = _lease(self.rules, whole) if not self.watching else 0
        quoted = [_quoted(rule.name) for rule in enforced]
        self._remaining = tuple(b"%s;r=%%d;t=%%d" % name.replace(b"%", b"%%") for name in quoted)
        self._months = sum(each.interval == MONTH for each in whole[: self.refusing])
        policy = b", ".join(
            b"%s;q=%d;w=%s" % (name.replace(b"%", b"%%"), _agreed(rule), _window(rule))
            for name, rule in zip(quoted, enforced, strict=True)
        )
        self._policy = policy if self._months else policy.replace(b"%%", b"%")
        self._line: bytes | None = None  # of the usual set: one limit that refuses
        if self.refusing == 1 and not self._months:
            self._line = b"ratelimit-policy: %b\r\nratelimit: %b\r\n" % (policy, self._remaining[0])

    def buckets(self, share: int) -> tuple[Bucket, ...]:
        """The buckets of one worker out of ``share``. Quotas are whole: workers of a node count them together."""
        found = self._shares.get(share)
        if found is None:
            found = tuple(
                bucket(rule.rate, rule.burst, share) if isinstance(rule, Limit) else quota(rule.count, rule.period)
                for rule in self.rules
            )
            self._shares[share] = found
        return found

    def keys(self, exchange: Exchange) -> list[LimitKey]:
        """Which buckets this exchange is charged to."""
        if self.only is not None:
            return [(self._names[0], counted(self.only, exchange))]
        return [(name, counted(rule.scope, exchange)) for name, rule in zip(self._names, self.rules, strict=True)]

    def whom(self, exchange: Exchange) -> Hashable:
        """Whom all of these limits count, as one value."""
        if self.only is not None:
            return counted(self.only, exchange)
        return tuple([counted(rule.scope, exchange) for rule in self.rules])

    def policy_field(self) -> bytes:
        """The RateLimit-Policy field's value; how long this month is depends on the moment."""
        if not self._months:
            return self._policy
        return self._policy % ((period(MONTH, wall_ticks()).seconds,) * self._months)

    def lines(self, answers: list[int], at: int) -> bytes:
        """Both fields as lines of a head, each with its end; nothing where no limit refuses."""
        if self._line is not None:
            reset = answers[at + 1] or answers[at + 2]
            return self._line % (answers[at], -(-reset // TICKS_PER_S))
        if not self.refusing:
            return b""
        fields = self.policy_field(), self.remaining_field(answers, at)
        return b"ratelimit-policy: %b\r\nratelimit: %b\r\n" % fields

    def remaining_field(self, answers: list[int], at: int) -> bytes:
        """The RateLimit field's value for three integers per bucket that begin at ``answers[at]``."""
        parts = []
        for template in self._remaining:
            left, wait, reset = answers[at : at + 3]
            parts.append(template % (left, -(-(wait or reset) // TICKS_PER_S)))
            at += 3
        return b", ".join(parts)


class Verdict:
    """What the limiter decided for one exchange.

    ``limits`` and ``answers`` (three integers per bucket, from ``at``) are missing when no bucket was asked: there are
    no limits, as much is under way as ``busy`` allows, or Redis is away and the route is open or closed then.
    """

    __slots__ = ("allowed", "answers", "at", "busy", "limits", "unavailable")

    def __init__(
        self,
        limits: LimitSet | None = None,
        answers: list[int] | None = None,
        at: int = 0,
        allowed: bool | None = None,  # noqa: FBT001 - made for every request, and half as fast by keyword
        *,
        unavailable: bool = False,
        busy: ConcurrencyLimit | None = None,
    ) -> None:
        """``allowed`` is for who knows it already; it is read off the answers otherwise."""
        self.limits = limits
        self.answers = answers
        self.at = at
        self.unavailable = unavailable
        self.busy = busy
        if allowed is None:
            allowed = not unavailable and busy is None and (answers is None or self.refused_by() is None)
        self.allowed = allowed

    def refused_by(self) -> Limit | Quota | ConcurrencyLimit | None:
        """The limit that was used up; of several the one that takes longest to have a token again."""
        if self.limits is None or self.answers is None:
            return self.busy
        worst, longest = None, 0
        wait = self.at + 1
        for rule in self.limits.enforced:
            if self.answers[wait] > longest:
                worst, longest = rule, self.answers[wait]
            wait += 3
        return worst

    def watched(self) -> list[Limit | Quota]:
        """The limits in shadow mode that would have refused what was admitted."""
        if not self.allowed or self.limits is None or self.answers is None:
            return []
        rules, waits = self.limits.rules, self.answers[self.at + 1 :: 3]
        return [rules[index] for index in range(self.limits.refusing, len(rules)) if waits[index]]

    def longest_wait(self) -> int:
        """Ticks until a request can be admitted again, as far as the buckets know."""
        if self.limits is None or self.answers is None:
            return 0
        return max(self.answers[self.at + 1 : self.at + 3 * self.limits.refusing : 3], default=0)

    def retry_after_s(self) -> int:
        """Whole seconds, at least 1, until a request can be admitted again."""
        return max(1, -(-self.longest_wait() // TICKS_PER_S))

    def detail(self) -> str:
        """What the refused caller is told."""
        what = "The limit is used up" if self.busy is None else "As many requests as may be at once are under way"
        return f"{what}; try again in {self.retry_after_s()} s."

    def lines(self) -> bytes:
        """What :meth:`fields` says, as lines of a head."""
        return b"" if self.limits is None or self.answers is None else self.limits.lines(self.answers, self.at)

    def fields(self) -> Headers:
        """RateLimit-Policy and RateLimit, or nothing when no bucket was asked or none of them refuses."""
        if self.limits is None or self.answers is None or not self.limits.refusing:
            return []
        return [
            (b"ratelimit-policy", self.limits.policy_field()),
            (b"ratelimit", self.limits.remaining_field(self.answers, self.at)),
        ]


UNLIMITED = Verdict()


def wall_ticks() -> int:
    """Ticks since 2020 by this machine's clock."""
    return time_ns() // 125 - EPOCH_S * TICKS_PER_S


def counted(scope: Scope, exchange: Asking) -> str:
    """Whom a limit of that scope counts; an identity the caller does not have falls back to the next wider one.

    NUL separates the parts: it is in no name that comes out of a header, and the kind stands first, so no subject can
    be spelled to look like a tenant. Long names become digests, so that tables bounded in entries are bounded in bytes.
    """
    principal = exchange.principal
    if scope is _ROUTE:
        whom = f"r\0{exchange.route.name if exchange.route else ''}"
    elif scope is _TENANT and principal.tenant:
        whom = f"t\0{principal.tenant}"
    elif scope is _KEY and principal.key_id:
        whom = f"k\0{principal.kind}\0{principal.key_id}"
    elif scope is not _CLIENT and principal.subject:
        whom = f"s\0{principal.kind}\0{principal.tenant}\0{principal.subject}"
    else:
        whom = f"c\0{exchange.client}"
    return whom if len(whom) <= MAX_WHOM else digest(whom)


def digest(text: str) -> str:
    """128 bits of a text in hexadecimal."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def bulk(value: bytes) -> bytes:
    """A RESP bulk string."""
    return b"$%d\r\n%s\r\n" % (len(value), value)


def _agreed(rule: Limit | Quota) -> int:
    return max(1, round(rule.rate * rule.window_s)) if isinstance(rule, Limit) else rule.count


def _window(rule: Limit | Quota) -> bytes:
    if isinstance(rule, Limit):
        return b"%d" % rule.window_s
    return b"86400" if rule.period == "day" else b"%d"  # filled in when the moment is known


def _key_name(rule: Limit | Quota) -> str:
    """A quota's period is part of its key: the number of a day is none of a month, and neither is a bucket's state."""
    return rule.name if isinstance(rule, Limit) else f"{rule.name}/{rule.period}"


def _lease(rules: tuple[Limit | Quota, ...], buckets: tuple[Bucket, ...]) -> int:
    """How long a lease may live: all its buckets together must be able to spare what they gain meanwhile."""
    life = LONGEST_LEASE
    for rule, each in zip(rules, buckets, strict=True):
        if (rule.burst if isinstance(rule, Limit) else rule.count) < LEAST_LEASED:
            return 0
        if each.interval > 0:
            life = min(life, each.capacity // LEASED_PART)
    return life if rules else 0


def _quoted(name: str) -> bytes:
    """A Structured Field string (RFC 9651 section 3.3.3); what is not visible ASCII becomes "?"."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in name)
    return b'"' + plain.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"'
