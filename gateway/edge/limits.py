"""The limits one request is under, compiled once per route and plan: buckets, names, Redis arguments, header fields.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11 (May 2026): RateLimit-Policy says what was agreed (q per
w seconds), RateLimit what is left (r) and in how many seconds there is more (t).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from gateway.domain.limits import Limit, Scope
from gateway.edge.token_bucket import TICKS_PER_S, Bucket, bucket

if TYPE_CHECKING:
    from gateway.domain.forwarding import Headers
    from gateway.edge.exchange import Exchange

MEMO_ENTRIES = 10_000  # encoded keys kept, as many as verified tokens, about 300 bytes each; emptied when full
MAX_WHOM = 96  # characters: an e-mail address and a tenant fit

LimitKey = tuple[str, str]  # name of the limit, whom it counts


class LimitSet:
    """Limits that are charged together, in the order the operator wrote them."""

    def __init__(self, limits: tuple[Limit, ...]) -> None:
        self.limits = limits
        self._shares: dict[int, tuple[Bucket, ...]] = {}
        arguments: list[int] = [len(limits)]
        for part in self.buckets(1):
            arguments += part
        self.argument_count = len(arguments)
        self.arguments = b"".join(_bulk(b"%d" % argument) for argument in arguments)
        quoted = [_quoted(limit.name) for limit in limits]
        self._remaining = tuple(b"%s;r=%%d;t=%%d" % name.replace(b"%", b"%%") for name in quoted)
        self.policy_field = b", ".join(
            b"%s;q=%d;w=%d" % (name, max(1, round(limit.rate * limit.window_s)), limit.window_s)
            for name, limit in zip(quoted, limits, strict=True)
        )

    def buckets(self, share: int) -> tuple[Bucket, ...]:
        """The buckets of one worker out of ``share``."""
        found = self._shares.get(share)
        if found is None:
            found = tuple(bucket(limit.rate, limit.burst, share) for limit in self.limits)
            self._shares[share] = found
        return found

    def keys(self, exchange: Exchange) -> list[LimitKey]:
        """Which buckets this exchange is charged to."""
        return [(limit.name, _short(_counted(limit.scope, exchange))) for limit in self.limits]

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
    no limits, or Redis is away and the route is open or closed then.
    """

    __slots__ = ("allowed", "answers", "at", "limits", "unavailable")

    def __init__(
        self,
        *,
        limits: LimitSet | None = None,
        answers: list[int] | None = None,
        at: int = 0,
        unavailable: bool = False,
    ) -> None:
        self.limits = limits
        self.answers = answers
        self.at = at
        self.unavailable = unavailable
        self.allowed = not unavailable and self.refused_by() is None

    def refused_by(self) -> Limit | None:
        """The limit that was used up; of several the one that takes longest to have a token again."""
        if self.limits is None or self.answers is None:
            return None
        worst, longest = None, 0
        for index, limit in enumerate(self.limits.limits):
            wait = self.answers[self.at + 3 * index + 1]
            if wait > longest:
                worst, longest = limit, wait
        return worst

    def retry_after_s(self) -> int:
        """Whole seconds, at least 1, until a request can be admitted again."""
        if self.limits is None or self.answers is None:
            return 1
        waits = self.answers[self.at + 1 : self.at + 3 * len(self.limits.limits) : 3]
        return max(1, -(-max(waits) // TICKS_PER_S))

    def fields(self) -> Headers:
        """RateLimit-Policy and RateLimit, or nothing when no bucket was asked."""
        if self.limits is None or self.answers is None:
            return []
        return [
            (b"ratelimit-policy", self.limits.policy_field),
            (b"ratelimit", self.limits.remaining_field(self.answers, self.at)),
        ]


UNLIMITED = Verdict()


class EncodedKeys:
    """Redis keys as protocol text. What the caller says of itself goes in as a digest, so it can forge no other key."""

    def __init__(self) -> None:
        self._memo: dict[LimitKey, bytes] = {}

    def encoded(self, key: LimitKey) -> bytes:
        """``sentinel:{digest of whom}:name`` as a RESP bulk string; braces: one slot of a cluster per caller."""
        found = self._memo.get(key)
        if found is None:
            if len(self._memo) >= MEMO_ENTRIES:
                self._memo.clear()
            name, whom = key
            digest = blake2b(whom.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
            found = self._memo[key] = _bulk(f"sentinel:{{{digest}}}:{name}".encode())
        return found


def _counted(scope: Scope, exchange: Exchange) -> str:
    """Whom a limit of that scope counts; an identity the caller does not have falls back to the next wider one.

    NUL separates the parts: it is in no name that comes out of a header, and the kind stands first, so no subject can
    be spelled to look like a tenant.
    """
    principal = exchange.principal
    if scope is Scope.ROUTE:
        return f"r\0{exchange.route.name if exchange.route else ''}"
    if scope is Scope.TENANT and principal.tenant:
        return f"t\0{principal.tenant}"
    if scope is Scope.KEY and principal.key_id:
        return f"k\0{principal.kind}\0{principal.key_id}"
    if scope is not Scope.CLIENT and principal.subject:
        return f"s\0{principal.kind}\0{principal.tenant}\0{principal.subject}"
    return f"c\0{exchange.client}"


def _short(whom: str) -> str:
    """Long names as a digest, so that tables bounded in entries are bounded in bytes as well."""
    if len(whom) <= MAX_WHOM:
        return whom
    return blake2b(whom.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _quoted(name: str) -> bytes:
    """A Structured Field string (RFC 9651 section 3.3.3); what is not visible ASCII becomes "?"."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in name)
    return b'"' + plain.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"'


def _bulk(value: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(value), value)
