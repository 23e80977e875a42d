"""Processor time to find a route and to write the head for its upstream, by the number of routes.

    python loadtests/routing_cost.py [--routes 10,1000,10000] [--calls 20000]

What is looked for is one route of each kind, and its cost must not grow with the number of routes.
"""

from __future__ import annotations

import argparse
import timeit
from typing import TYPE_CHECKING

from gateway.domain.forwarding import Headers, Outbound
from gateway.domain.identity import Principal
from gateway.domain.routing import FieldMatch, HeaderRules, Route
from gateway.domain.upstreams import Upstream
from gateway.proxy.headers import request_head
from gateway.proxy.router import Router

if TYPE_CHECKING:
    from collections.abc import Callable

HEADERS: Headers = [
    (b"host", b"h7.example"),
    (b"user-agent", b"bench/1.0"),
    (b"accept", b"*/*"),
    (b"authorization", b"Bearer " + b"x" * 180),
    (b"x-tenant", b"t7"),
]
KINDS: dict[str, Callable[[int], Route]] = {
    "prefix": lambda n: Route(name="r", path=f"/s{n}/*", upstream="u"),
    "exact": lambda n: Route(name="r", path=f"/s{n}/17", upstream="u"),
    "template": lambda n: Route(name="r", path=f"/s{n}/{{id}}", upstream="u"),
    "host": lambda n: Route(name="r", path="/*", host=f"h{n}.example", upstream="u"),
    "header": lambda n: Route(name="r", path="/*", upstream="u", headers=(FieldMatch("x-tenant", f"t{n}"),)),
}
ROUTES: dict[str, Route] = {
    "nothing changed": Route(name="r", path="/*", upstream="u"),
    "rewrite": Route(name="r", path="/s7/{id}", upstream="u", rewrite="/v2/{id}"),
    "header rules": Route(
        name="r", path="/s7/{id}", upstream="u", request_headers=HeaderRules(set=(("x-user", "{subject}"),))
    ),
}


def cost_us(call: Callable[[], object], calls: int) -> float:
    """The least of five measurements: everything else that happens on the machine only adds."""
    return min(timeit.repeat(call, number=calls, repeat=5)) / calls * 1e6


def main() -> None:
    """Print one line for each kind of route and each kind of head."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--routes", default="10,1000,10000")
    parser.add_argument("--calls", type=int, default=20_000)
    options = parser.parse_args()
    counts = [int(text) for text in options.routes.split(",")]
    print(f"{'match, µs':<18}" + "".join(f"{count:>10}" for count in counts))
    for kind, make in KINDS.items():
        figures = []
        for count in counts:
            router = Router([make(number) for number in range(count)])
            found = cost_us(lambda router=router: router.match("GET", "h7.example", b"/s7/17", HEADERS), options.calls)
            figures.append(f"{found:>10.2f}")
        print(f"{kind:<18}" + "".join(figures))
    for kind, route in ROUTES.items():
        outbound = Outbound(
            method=b"GET",
            path=b"/s7/17",
            query=b"",
            headers=HEADERS,
            content_length=0,
            route=route,
            upstream=Upstream("u", ()),
            host=b"h7.example",
            client=b"192.0.2.7",
            principal=Principal(kind="jwt", subject="user-1", tenant="acme", scopes=frozenset({"orders:read"})),
            request_id=b"0123456789abcdef00000001",
            traceparent=b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",
        )
        found = cost_us(lambda outbound=outbound: request_head(outbound), options.calls)
        print(f"head, {kind:<16} {found:.2f} µs")


if __name__ == "__main__":
    main()
