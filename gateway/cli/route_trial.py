"""Takes one request through the steps of a worker as a configuration has them, and tells of each. Sends nothing.

Routes, rules, access, limits and the head for the upstream are the worker's own code. Only proof of identity is taken
on trust: whoever runs this says who the caller would be.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from gateway.config.checking import limit_text
from gateway.domain.access import AuthMode
from gateway.domain.path_template import encoded
from gateway.domain.traffic import ErrorKind
from gateway.edge import answer
from gateway.edge.authenticate import Authenticator
from gateway.edge.exchange import Exchange, Refusal, Reply
from gateway.edge.limits import counted
from gateway.edge.rate_limit import RateLimiter
from gateway.edge.steps import Steps
from gateway.metrics import WorkerCounters
from gateway.proxy.headers import UnforwardableError, request_head
from gateway.proxy.route_difference import difference
from gateway.proxy.router import Router

if TYPE_CHECKING:
    from gateway.domain.identity import Principal
    from gateway.domain.limits import ConcurrencyLimit, Limit, Quota, TenantPlan
    from gateway.domain.routing import Route
    from gateway.domain.snapshot import Snapshot
    from gateway.domain.upstreams import Upstream
    from gateway.edge.exchange import Outcome

NEAR = 5  # routes told of that came close

_URL = re.compile(r"(?:(https?)://([^/?#]+))?([^?#]*)(?:\?([^#]*))?(#.*)?", re.IGNORECASE)


class Asked(NamedTuple):
    """The request to try."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    client: str = "127.0.0.1"
    caller: Principal | None = None


class Step(NamedTuple):
    """One step and what it makes of the request: "pass", "stop", "answer", or "info" where it decides nothing."""

    step: str
    verdict: str
    detail: str


class Trial(NamedTuple):
    """What becomes of the request. ``status`` is 0 when it would be forwarded."""

    status: int
    detail: str
    route: str
    steps: list[Step]
    near: list[tuple[str, str]]  # route, why not
    fields: list[str]  # of the gateway's own answer
    head: list[str]  # what the upstream would get

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "status": self.status or None,
            "detail": self.detail,
            "route": self.route or None,
            "steps": [step._asdict() for step in self.steps],
            "near": [{"route": name, "difference": why} for name, why in self.near],
            "answer": self.fields,
            "upstream_request": self.head,
        }


class _Rows:
    """Where the record of the trial goes: nowhere."""

    def append(self, row: tuple[Any, ...]) -> None:
        """Forget it."""


class _OnTrust(Authenticator):
    """Believes whoever asks who the caller is; without a caller the worker's own judgement of the request stands."""

    caller: Principal | None = None

    def authenticate(self, exchange: Exchange, mode: AuthMode, now: float) -> Refusal | None:
        """Give the exchange its principal, of the kind the route asks for."""
        if self.caller is None or mode is AuthMode.NONE:
            return super().authenticate(exchange, mode, now)
        kind = "jwt" if mode is AuthMode.ANY else mode.value
        exchange.principal = msgspec.structs.replace(self.caller, kind=kind)
        return None


def attempt(snapshot: Snapshot, asked: Asked) -> Trial:
    """Take the request through the steps."""
    # Tokens, keys and Redis need secrets; the policies that do not are all in force.
    bare = msgspec.structs.replace(
        snapshot, jwt=(), keys=(), policy=msgspec.structs.replace(snapshot.policy, redis=False)
    )
    counters = WorkerCounters()
    steps = Steps(
        snapshot=bare,
        make_router=Router,
        secret=lambda _name: "",
        limiter=RateLimiter(counters),
        records=_Rows(),
        counters=counters,
    )
    trusting = _OnTrust(bare, lambda _name: "", None)
    trusting.caller = asked.caller
    steps.runtime.authenticator = trusting
    exchange = _exchange(steps, asked)
    outcome = steps.admit(exchange, lambda _late: None)
    if not isinstance(outcome, Refusal | Reply):
        outcome = None
    return _told(snapshot, exchange, outcome)


def _exchange(steps: Steps, asked: Asked) -> Exchange:
    found = _URL.fullmatch(asked.url)
    scheme, authority, path, query, fragment = found.groups() if found else (None, None, asked.url, None, None)
    fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in asked.headers]
    if not any(name == b"host" for name, _ in fields):
        host = authority or "localhost"
        fields.insert(0, (b"host", host.encode("ascii" if host.isascii() else "idna")))
    raw = encoded(path or "/")
    return Exchange(
        method=asked.method.upper().encode("latin-1"),
        path=raw,
        query=encoded(query or ""),
        headers=fields,
        runtime=steps.runtime,
        peer=asked.client,
        scheme=(scheme or "http").lower().encode(),
        target_form=raw + encoded(fragment or ""),
    )


def _told(snapshot: Snapshot, exchange: Exchange, outcome: Outcome) -> Trial:
    route = exchange.route
    steps = _before_route(exchange, outcome)
    fields: list[str] = []
    head: list[str] = []
    if route is not None:
        steps += _of_route(snapshot, exchange, route, outcome.status if isinstance(outcome, Refusal) else 0)
        upstream = exchange.runtime.upstreams.get(exchange.upstream)
        if outcome is None and upstream is not None:
            steps += _of_upstream(route, upstream)
            try:
                head = _lines(request_head(answer.outbound(exchange, route, upstream)))
            except UnforwardableError as error:
                outcome = Refusal(error.status, ErrorKind.BAD_REQUEST, str(error))
    if outcome is not None:
        status, sent, _ = answer.own(exchange, outcome)
        fields = [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in sent]
        verdict = "stop" if isinstance(outcome, Refusal) else "answer"
        detail = outcome.detail if isinstance(outcome, Refusal) else _of_reply(outcome)
        steps.append(Step("answer", verdict, f"{status}: {detail}"))
        return Trial(status, detail, route.name if route else "", steps, _near(snapshot, exchange), fields, head)
    detail = f"goes to {exchange.upstream}" if exchange.upstream else "goes to the application"
    return Trial(0, detail, route.name if route else "", steps, _near(snapshot, exchange), fields, head)


def _before_route(exchange: Exchange, outcome: Outcome) -> list[Step]:
    if exchange.route is None and isinstance(outcome, Refusal):
        what = {403: "access", 404: "route", 405: "route"}.get(outcome.status, "request rules")
        return [Step(what, "stop", outcome.detail)]
    policy = exchange.runtime.policy
    listed = (
        f", {len(policy.allow)} allowed and {len(policy.deny)} denied networks" if policy.allow or policy.deny else ""
    )
    return [
        Step("request rules", "pass", "well formed"),
        Step("client", "pass", f"{exchange.client}{listed}"),
    ]


def _of_route(snapshot: Snapshot, exchange: Exchange, route: Route, refused: int) -> list[Step]:
    asked = [f"{one.name}: {one.value}" for one in route.headers] + [f"?{one.name}={one.value}" for one in route.query]
    where = f"{' '.join(sorted(route.methods)) or 'any method'} {route.host or 'any host'} {route.path}"
    steps = [Step("route", "pass", f"{route.name}: {', '.join([where, *asked])}")]
    access = exchange.runtime.route_access.get(route.name)
    if access is not None:
        verdict = "stop" if access.judge(exchange.client) else "pass"
        listed = [
            f"{word} {' '.join(cidrs)}" for word, cidrs in (("deny", route.deny), ("allow", route.allow)) if cidrs
        ]
        steps.append(Step("access", verdict, f"{exchange.client}; {', '.join(listed)}"))
    if route.cors is not None:
        steps.append(Step("cors", "info", f"origins {', '.join(route.cors.origins)}"))
    who, admitted = exchange.principal, bool(exchange.auth_at)
    verdict = "stop" if refused == HTTPStatus.UNAUTHORIZED else "pass" if admitted or who.kind else "info"
    steps.append(Step("authenticate", verdict, f"{route.auth}: {_caller(who) if who.kind else 'nobody signed in'}"))
    if route.scopes or route.roles:
        needed = [f"scopes {' '.join(sorted(route.scopes))}"] if route.scopes else []
        needed += [f"a role of {' '.join(sorted(route.roles))}"] if route.roles else []
        verdict = "pass" if admitted else "stop" if who.kind and refused == HTTPStatus.FORBIDDEN else "info"
        steps.append(Step("authorize", verdict, f"needs {' and '.join(needed)}"))
    if route.split is not None:
        shares = ", ".join(f"{share.upstream} {share.weight}" for share in route.split.shares)
        how = f"sticky by {route.split.sticky}" if route.split.sticky else "by turns"
        steps.append(Step("split", "info", f"{exchange.upstream if admitted else 'one'} of {shares}, {how}"))
    steps += _limits(snapshot, exchange, route)
    if route.redirect is not None:
        steps.append(Step("redirect", "info", f"{route.redirect.status} to {route.redirect.to}"))
    return steps


def _limits(snapshot: Snapshot, exchange: Exchange, route: Route) -> list[Step]:
    """The limits of the route and of the tenant's plan, each with whom it would count."""
    who = exchange.principal
    plan_name = snapshot.tenant_plans.get(who.tenant, "") if who.kind else ""
    owners: list[Route | TenantPlan] = [route, *(plan for plan in snapshot.plans if plan.name == plan_name)]
    steps = []
    for owner in owners:
        limits: tuple[Limit | Quota | ConcurrencyLimit, ...] = (*owner.limits, *owner.quotas, *owner.concurrency)
        for limit in limits:
            key = counted(limit.scope, exchange).replace("\0", ":")
            steps.append(Step("limit", "info", f"{limit.name}: {limit_text(limit)}, counted for {key}"))
    return steps


def _of_upstream(route: Route, upstream: Upstream) -> list[Step]:
    targets = ", ".join(f"{target.name} × {target.weight}" for target in upstream.targets)
    by = f" by {upstream.hash_by}" if upstream.hash_by else ""
    timeout = upstream.timeout
    steps = [
        Step("upstream", "info", f"{upstream.name}: {targets}"),
        Step("balance", "info", f"{upstream.balance}{by}"),
        Step(
            "timeouts",
            "info",
            f"connect {timeout.connect_s:g} s, head {timeout.header_s:g} s, idle {timeout.idle_s:g} s",
        ),
    ]
    if (retry := route.retry) is not None:
        text = f"up to {retry.attempts} more on {', '.join(sorted(retry.on))}; budget {retry.budget:.0%}"
        steps.append(Step("retry", "info", text))
    if (breaker := upstream.breaker) is not None:
        of = f"at least {breaker.requests} requests in {breaker.window_s:g} s"
        text = f"opens for {breaker.open_s:g} s when {breaker.errors:.0%} of {of} fail"
        steps.append(Step("breaker", "info", text))
    if (outlier := upstream.outlier) is not None:
        text = f"ejects a target for {outlier.eject_s:g} s after {outlier.consecutive} failures in a row"
        steps.append(Step("outlier", "info", text))
    if route.mirror is not None:
        steps.append(Step("mirror", "info", f"{route.mirror.share:.0%} to {route.mirror.upstream}"))
    return steps


def _near(snapshot: Snapshot, exchange: Exchange) -> list[tuple[str, str]]:
    """The other routes that came closest, with what kept each of them from it."""
    method = exchange.method.decode("latin-1")
    found = []
    for order, route in enumerate(snapshot.routes):
        if route is not exchange.route and (exchange.route is None or route.name != exchange.route.name):
            told = difference(route, method, exchange.host, exchange.path, exchange.headers, exchange.query)
            found.append((told.progress, -order, route.name, told.reason or "it would do, but is less specific"))
    return [(name, why) for _, _, name, why in sorted(found, reverse=True)[:NEAR]]


def _of_reply(reply: Reply) -> str:
    return next(
        (f"to {value.decode('latin-1')}" for name, value in reply.headers if name == b"location"), "answered here"
    )


def _caller(who: Principal) -> str:
    tenant = f" of {who.tenant}" if who.tenant else ""
    return f"{who.subject or 'nobody'}{tenant}, taken on trust as {who.kind}"


def _lines(head: bytes) -> list[str]:
    return head.decode("latin-1").split("\r\n")[:-2]
