"""The steps of a request, in one visible order; both drivers run these and nothing else.

request rules → route → authenticate → authorize → split → rate limit → (redirect, or the driver forwards) → record

Actions in force look at a request before it is authenticated, and again before its limits.
"""

from __future__ import annotations

from enum import Enum
from time import monotonic, time
from typing import TYPE_CHECKING, Final, Literal

from gateway import logs
from gateway.domain.access import AuthMode
from gateway.domain.orders import Orders
from gateway.domain.routing import Route
from gateway.domain.traffic import ErrorKind
from gateway.edge import answer, cors, record, redirect, request_rules, split
from gateway.edge.authorize import authorize
from gateway.edge.directed import MOST_CALLERS, Directed
from gateway.edge.exchange import Exchange, Outcome, Refusal, now_us
from gateway.edge.identifiers import Identifiers
from gateway.edge.open_websockets import OpenWebSockets
from gateway.edge.runtime import Runtime
from gateway.edge.token_bucket import LocalBuckets

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.domain.forwarding import Headers
    from gateway.domain.snapshot import Snapshot
    from gateway.edge.limits import Verdict
    from gateway.edge.rate_limit import RateLimiter
    from gateway.edge.record import RecordSink
    from gateway.edge.runtime import Router
    from gateway.metrics import WorkerCounters

log = logs.get("edge")

_NONE = AuthMode.NONE

ADMIN_ROUTE = Route(name="", path="/*", upstream="")  # what admin requests are forwarded under; never recorded


class Waiting(Enum):
    """The limiter has to ask Redis first; the outcome is given to the callback."""

    LIMITER = "limiter"


LATER: Final = Waiting.LIMITER  # an attribute of an enum class costs as much as a call
Admission = Outcome | Literal[Waiting.LIMITER]


class Steps:
    """What a worker does with every request, by the snapshot in force.

    Args:
        snapshot: the first one; :meth:`apply` takes the later ones.
        make_router: builds the router of a snapshot's routes.
        secret: looks up the value of an environment variable by name; empty when it is not set.
        limiter: answers whether an exchange is within its limits.
        records: where finished requests go.
        counters: the worker's own counters.
        clock: seconds since the epoch, for the expiry of tokens, keys and directives.
        live_workers: how many workers share a caller's limit on this node.

    Raises:
        ConfigError: the snapshot's token policy cannot be used in this process.
    """

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        make_router: Callable[[tuple[Route, ...]], Router],
        secret: Callable[[str], str],
        limiter: RateLimiter,
        records: RecordSink,
        counters: WorkerCounters,
        clock: Callable[[], float] = time,
        live_workers: Callable[[], int] = lambda: 1,
    ) -> None:
        self._make_router = make_router
        self._secret = secret
        self._limiter = limiter
        self._records = records
        self._counters = counters
        self._clock = clock
        self._identifiers = Identifiers()
        self._orders = Orders()
        self._limited = LocalBuckets(MOST_CALLERS)
        self._live_workers = live_workers
        self.websockets = OpenWebSockets(counters)
        self.runtime = Runtime(snapshot, make_router(snapshot.routes), secret)
        self._direct(self.runtime)
        limiter.apply(snapshot.policy)

    def compile(self, snapshot: Snapshot) -> Runtime:
        """What :meth:`swap` takes. Touches nothing in use, so it may run in a thread when there are many routes.

        Raises:
            ConfigError: the snapshot cannot be used in this process; the one in force stays.
        """
        before = self.runtime
        same_routes = snapshot.routes == before.snapshot.routes
        router = before.router if same_routes else self._make_router(snapshot.routes)
        return Runtime(snapshot, router, self._secret, before)

    def swap(self, runtime: Runtime) -> None:
        """Put a compiled snapshot in force; requests under way keep theirs. Raises ConfigError like :meth:`compile`."""
        self._limiter.apply(runtime.policy)
        self._direct(runtime)
        self.runtime = runtime

    def apply(self, snapshot: Snapshot) -> None:
        """Compile and swap at once."""
        self.swap(self.compile(snapshot))

    def admit(self, exchange: Exchange, then: Callable[[Outcome], None]) -> Admission:
        """None when the request may go on, an answer of our own when not, or WAITING and ``then`` gets it later."""
        runtime = exchange.runtime
        refusal = self._read(exchange, runtime) or _find_route(exchange, runtime)
        route = exchange.route
        if refusal is not None or route is None:
            return refusal
        directed = runtime.directed
        if directed is not None and (refusal := directed.at_the_door(exchange, route)) is not None:
            return refusal
        if route.auth is not _NONE:
            refusal = runtime.authenticator.authenticate(exchange, route.auth, self._clock())
            if refusal is not None:
                return refusal
        if (route.scopes or route.roles) and (refusal := authorize(route, exchange.principal)) is not None:
            return refusal
        if route.split is not None:
            exchange.upstream = split.choose(route, exchange)
        if directed is None:
            exchange.limits = runtime.limits(route, exchange.principal)
        elif (refusal := directed.inside(exchange, route)) is not None:
            return refusal
        exchange.auth_at = now = now_us()
        verdict = self._limiter.take(exchange, lambda verdict: then(self._conclude(exchange, verdict, now_us())))
        return LATER if verdict is None else self._conclude(exchange, verdict, now)

    def admit_admin(self, exchange: Exchange) -> Outcome:
        """Requests for control in shared mode: well formed is all that is asked, control does the rest itself."""
        exchange.recorded = True  # its traffic is none of the services'
        exchange.route = ADMIN_ROUTE
        refusal = self._read(exchange, exchange.runtime)
        exchange.auth_at = exchange.limit_at = now_us()
        return refusal

    def reject(self, peer: str, why: Refusal, started_at: int, *, is_new: bool) -> tuple[Headers, bytes]:
        """The answer to what never became a whole request; ``started_at`` is monotonic microseconds.

        With ``is_new`` it is recorded, because no exchange of its own will be.
        """
        exchange = Exchange(
            method=b"", path=b"", query=b"", headers=[], runtime=self.runtime, peer=peer, started_at=started_at
        )
        self._identifiers.assign(exchange)
        _, headers, body = answer.own(exchange, why)
        exchange.bytes_out = len(body)
        if is_new:
            self.finish(exchange)
        return headers, body

    def finish(self, exchange: Exchange) -> None:
        """Give back what it held and write the record, once, however it ended."""
        if exchange.slots is not None:
            self._limiter.release(exchange)
        record.finish(exchange, self._records)

    def _direct(self, runtime: Runtime) -> None:
        """Let the actions in force that concern requests hold for those of this snapshot."""
        in_force = self._orders.accept(runtime.snapshot.directives, wall=self._clock(), now=monotonic())
        directed = Directed(in_force, runtime, self._limited, self._counters, self._live_workers)
        runtime.directed = directed or None

    def _read(self, exchange: Exchange, runtime: Runtime) -> Refusal | None:
        refusal = request_rules.judge(exchange, runtime.policy)
        self._identifiers.assign(exchange)
        if runtime.policy.trusted_proxies:
            exchange.client, exchange.trusted_peer = runtime.addresses.resolve(
                exchange.peer, exchange.facts.get(b"x-forwarded-for")
            )
        if refusal is None and runtime.access is not None:
            return runtime.access.judge(exchange.client)
        return refusal

    def _conclude(self, exchange: Exchange, verdict: Verdict, now: int) -> Outcome:
        """What the verdict means; it came at ``now``, which is at once where nobody had to be asked."""
        exchange.limit_at = now
        exchange.verdict = verdict
        if verdict.allowed:
            away = exchange.route is not None and exchange.route.redirect is not None
            return redirect.reply(exchange) if away else None
        if verdict.unavailable:
            return Refusal(
                503,
                ErrorKind.LIMITER_UNAVAILABLE,
                "Limits cannot be checked right now, and this route is closed meanwhile.",
                headers=((b"retry-after", b"1"),),
            )
        limit = verdict.refused_by()
        if limit is not None:
            route = exchange.route.name if exchange.route is not None else ""
            self._counters.count("sentinel_rate_limited_total", route, limit.scope)
        retry_after_s = verdict.retry_after_s()
        return Refusal(
            429,
            ErrorKind.RATE_LIMITED,
            verdict.detail(),
            headers=((b"retry-after", b"%d" % retry_after_s),),
        )


def _find_route(exchange: Exchange, runtime: Runtime) -> Outcome:
    router = runtime.router
    if runtime.has_cors and exchange.method == b"OPTIONS" and (answered := _preflight(exchange, runtime)) is not None:
        return answered
    method = exchange.method
    exchange.route = route = router.match(
        "GET" if method == b"GET" else method.decode("ascii"),
        exchange.host,
        exchange.path,
        exchange.headers,
        exchange.query,
    )
    if route is not None:
        if runtime.route_access and (why := _judge_address(exchange, runtime)) is not None:
            return why
        exchange.upstream = route.upstream
        exchange.max_body_bytes = route.max_body_bytes or runtime.policy.max_body_bytes
        if exchange.content_length > exchange.max_body_bytes:
            return request_rules.body_too_large(exchange.max_body_bytes)
        return None
    allowed = router.allowed_methods(exchange.host, exchange.path, exchange.headers, exchange.query)
    if allowed:
        names = ", ".join(sorted(allowed))
        return Refusal(
            405,
            ErrorKind.NO_ROUTE,
            f"This path takes {names}.",
            headers=((b"allow", names.encode("ascii", "replace")),),
        )
    return Refusal(404, ErrorKind.NO_ROUTE, "No route matches this host and path.")


def _preflight(exchange: Exchange, runtime: Runtime) -> Outcome:
    """The answer to a CORS preflight, by the route of the request it announces; None where that has no ``cors``."""
    method = cors.requested_method(exchange)
    if not method or runtime.answers is None:
        return None
    route = runtime.router.match(method, exchange.host, exchange.path, exchange.headers, exchange.query)
    if route is None or route.cors is None:
        return None
    exchange.route = route
    rules = runtime.answers.of(exchange).cors
    if rules is None:  # it has one as the route has; the type cannot say so
        return None
    return _judge_address(exchange, runtime) or rules.preflight(exchange)


def _judge_address(exchange: Exchange, runtime: Runtime) -> Refusal | None:
    access = runtime.route_access.get(exchange.route.name) if exchange.route is not None else None
    return access.judge(exchange.client) if access is not None else None
