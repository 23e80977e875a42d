"""What a request is matched to, and everything a route says of it."""

from __future__ import annotations

import msgspec

from gateway.domain.access import AuthMode
from gateway.domain.limits import ConcurrencyLimit, Limit, Quota, WhenUnavailable


class FieldMatch(msgspec.Struct, frozen=True):
    """A header field or query parameter a route asks for; ``value`` "*" takes any. Names of headers in lower case."""

    name: str
    value: str


class Redirect(msgspec.Struct, frozen=True):
    """Sends the client elsewhere: ``to`` is a URL or path with ``{captures}``; the query goes with it.

    The host of a URL is fixed, or ``{host}``: the one the client asked for.
    """

    to: str
    status: int = 308  # 301, 302, 303, 307, 308


class SplitShare(msgspec.Struct, frozen=True):
    """One upstream's part of a route's requests; weights are relative."""

    upstream: str
    weight: int


class Canary(msgspec.Struct, frozen=True):
    """Requests with this header field or cookie go to ``upstream``, whatever the weights say."""

    source: str  # "header:NAME" (lower case) or "cookie:NAME"
    value: str  # "*": any
    upstream: str


class Split(msgspec.Struct, frozen=True):
    """Divides a route's requests among upstreams. With ``sticky`` the same caller always gets the same one."""

    shares: tuple[SplitShare, ...]
    canaries: tuple[Canary, ...] = ()
    sticky: str = ""  # "", "subject", "client", "header:NAME", "cookie:NAME"


class Mirror(msgspec.Struct, frozen=True):
    """Sends a copy of a share of the requests to another upstream; nobody waits for its answers."""

    upstream: str
    share: float = 1.0


class Retry(msgspec.Struct, frozen=True):
    """What may be tried again: at most ``attempts`` more, and not more than ``budget`` of the upstream's requests.

    ``on``: "connect" (nothing was sent), "reset" (closed before an answer), "timeout" (no answer in time), or a status
    from 500 to 599. Everything but "connect" is only repeated for idempotent methods whose body is still at hand.
    """

    attempts: int = 1
    on: frozenset[str] = frozenset({"connect"})
    budget: float = 0.2


class Cors(msgspec.Struct, frozen=True):
    """Which pages of other origins may call (the Fetch standard, CORS protocol). ``origins`` ("*": any) are exact."""

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    headers: tuple[str, ...] = ("authorization", "content-type")
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age_s: int = 600


class HeaderRules(msgspec.Struct, frozen=True):
    """Changes to header fields, in this order: remove, set (replace or add), add. Names in lower case."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()


NO_RULES = HeaderRules()


class Route(msgspec.Struct, frozen=True, cache_hash=True, omit_defaults=True):
    """What a request is matched to.

    ``path`` is exact (``/orders``), a template whose ``{name}`` takes one whole segment (``/orders/{id}``), or either
    with ``/*`` at its end: ``/orders/*`` matches ``/orders`` and everything below it. An empty ``methods`` or ``host``
    matches any. ``rewrite`` is the whole path the upstream gets; it and ``redirect`` may use ``{name}`` and, for what
    ``/*`` took, ``{rest}``. ``upstream`` is empty for a redirect, and the first share's where there is a ``split``.
    """

    name: str
    path: str
    upstream: str
    methods: frozenset[str] = frozenset()
    host: str = ""
    headers: tuple[FieldMatch, ...] = ()
    query: tuple[FieldMatch, ...] = ()
    strip_prefix: str = ""
    rewrite: str = ""
    redirect: Redirect | None = None
    split: Split | None = None
    mirror: Mirror | None = None
    retry: Retry | None = None
    auth: AuthMode = AuthMode.NONE
    scopes: frozenset[str] = frozenset()  # all of them
    roles: frozenset[str] = frozenset()  # any of them
    allow: tuple[str, ...] = ()  # CIDR of clients; empty: everyone not denied
    deny: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    quotas: tuple[Quota, ...] = ()
    concurrency: tuple[ConcurrencyLimit, ...] = ()
    limit_unavailable: WhenUnavailable = WhenUnavailable.LOCAL
    cors: Cors | None = None
    request_headers: HeaderRules = NO_RULES
    response_headers: HeaderRules = NO_RULES
    max_body_bytes: int = 0  # 0: the policy's
    compress: bool = False
