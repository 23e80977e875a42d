"""Values and fakes the edge's tests share: a snapshot, a router of a few lines, a list of rows, an exchange."""

from __future__ import annotations

from typing import Any

from gateway.domain.access import AuthMode
from gateway.domain.limits import Limit, Scope
from gateway.domain.routing import Route
from gateway.domain.snapshot import Snapshot
from gateway.domain.upstreams import Target, Upstream
from gateway.edge.exchange import Exchange
from gateway.edge.rate_limit import RateLimiter
from gateway.edge.steps import Steps
from gateway.metrics import WorkerCounters

SECRET = "a secret of more than thirty-two bytes, for tests"
ORDERS = Upstream(name="orders", targets=(Target(name="127.0.0.1:1", host="127.0.0.1", port=1),))
PER_CLIENT = Limit(name="orders", rate=1.0, burst=2, scope=Scope.CLIENT)


class PrefixRouter:
    """The agreed shape of a router, longest prefix first."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._routes = sorted(routes, key=lambda route: -len(route.path))

    def _with_path(self, host: str, path: bytes):
        text = path.decode("ascii")
        for route in self._routes:
            prefix = route.path.removesuffix("/*")
            below = route.path.endswith("/*") and text.startswith(prefix + "/")
            if (text == prefix or below) and route.host in {"", host}:
                yield route

    def match(self, method: str, host: str, path: bytes, headers=(), query=b"") -> Route | None:
        found = (route for route in self._with_path(host, path) if not route.methods or method in route.methods)
        return next(found, None)

    def allowed_methods(self, host: str, path: bytes, headers=(), query=b"") -> frozenset[str]:
        return frozenset().union(*(route.methods for route in self._with_path(host, path)))


class Rows:
    """A RecordSink that keeps what it gets."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def append(self, row: tuple[Any, ...]) -> None:
        self.rows.append(row)


def route(**changes: Any) -> Route:
    given: dict[str, Any] = {"name": "orders", "path": "/orders/*", "upstream": "orders", "auth": AuthMode.NONE}
    return Route(**(given | changes))


def snapshot(*routes: Route, **changes: Any) -> Snapshot:
    given: dict[str, Any] = {
        "revision": 1,
        "created_at": 0.0,
        "routes": routes or (route(),),
        "upstreams": (ORDERS,),
    }
    return Snapshot(**(given | changes))


def secret(_name: str) -> str:
    return SECRET


def steps(given: Snapshot | None = None, **changes: Any) -> Steps:
    counters = changes.pop("counters", None) or WorkerCounters()
    wired: dict[str, Any] = {
        "snapshot": given or snapshot(),
        "make_router": PrefixRouter,
        "secret": secret,
        "limiter": changes.pop("limiter", None) or RateLimiter(counters),
        "records": Rows(),
        "counters": counters,
    }
    return Steps(**(wired | changes))


def exchange(wired: Steps | None = None, **changes: Any) -> Exchange:
    given: dict[str, Any] = {
        "method": b"GET",
        "path": b"/orders/1",
        "query": b"",
        "headers": [(b"host", b"shop.example")],
        "peer": "192.0.2.1",
        "runtime": (wired or steps()).runtime,
    }
    extra = changes.pop("extra", [])
    made = Exchange(**(given | changes))
    made.headers = made.headers + extra
    return made
