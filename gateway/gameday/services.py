"""The services game days are played on: the demo's three, and one that calls orders, so trouble can pass two hops.

Figures are those of the demo's processes on one machine: milliseconds of work each, tens of requests a second.
"""

from __future__ import annotations

from typing import NamedTuple

CONFIG = """\
[[upstreams]]
name = "checkout"
targets = ["http://10.20.0.1:9000", "http://10.20.0.2:9000"]
depends_on = ["orders"]
health = { path = "/healthz", interval = "5s" }

[[upstreams]]
name = "orders"
targets = ["http://10.20.1.1:9001", "http://10.20.1.2:9001"]
depends_on = ["catalog", "payments"]
health = { path = "/healthz", interval = "5s" }

[[upstreams]]
name = "payments"
targets = ["http://10.20.2.1:9002", "http://10.20.2.2:9002"]
health = { path = "/healthz", interval = "5s" }

[[upstreams]]
name = "catalog"
targets = ["http://10.20.3.1:9003", "http://10.20.3.2:9003", "http://10.20.3.3:9003"]
health = { path = "/healthz", interval = "5s" }

[[routes]]
name = "checkout"
match = { path = "/checkout" }
upstream = "checkout"
limit = "50/s burst 100 per client"

[[routes]]
name = "orders"
match = { path = "/orders/*" }
upstream = "orders"
limit = "50/s burst 100 per client"

[[routes]]
name = "payments"
match = { path = "/payments/*" }
upstream = "payments"
limit = "500/s burst 1000 per client"
limit_unavailable = "closed"

[[routes]]
name = "items"
match = { path = "/catalog/items/*" }
upstream = "catalog"
limit = "200/s burst 400 per client"

[[routes]]
name = "search"
match = { path = "/catalog/search" }
upstream = "catalog"
limit = "200/s burst 400 per client"

[remediate]
mode = "auto"
"""

HEADER_TIMEOUT_S = 10.0  # of the gateway, as configured by default
CALL_TIMEOUT_S = 5.0  # of a service that waits for another one
CLIENT_TIMEOUT_S = 15.0
OVERHEAD_S = 0.0004  # of the gateway itself
SLOW_TAIL, SLOW_TIMES = 0.01, 5.0  # one request in a hundred takes so many times as long
USUAL_ERRORS = 0.0015  # of requests fail on a good day, for reasons nobody looks into
NOT_FOUND = 0.01  # of items asked for do not exist
IMPATIENT = 0.001  # of clients leave before the answer


class Work(NamedTuple):
    """What one service does for a request by itself, and how many a second one of its targets can take."""

    median_s: float
    sigma: float  # of the logarithm
    capacity: float


WORK = {
    "checkout": Work(0.006, 0.35, 18.0),
    "orders": Work(0.008, 0.35, 22.0),
    "catalog": Work(0.004, 0.40, 30.0),
    "payments": Work(0.012, 0.45, 22.0),
}


class Step(NamedTuple):
    """One request as a route sees it."""

    service: str
    route: str
    method: str
    path: str


CHECKOUT = Step("checkout", "checkout", "POST", "/checkout")
ORDER = Step("orders", "orders", "POST", "/orders")
CHARGE = Step("payments", "payments", "POST", "/payments/charge")
ITEM = Step("catalog", "items", "GET", "/catalog/items/7")
SEARCH = Step("catalog", "search", "GET", "/catalog/search")

CALLS = {"checkout": (ORDER,), "orders": (ITEM, CHARGE)}
ENTRIES = ((CHECKOUT, 3.0), (ORDER, 6.0), (ITEM, 8.0), (SEARCH, 4.0))  # requests a second at noon
TENANTS = (("acme", 0.40), ("globex", 0.25), ("initech", 0.18), ("umbrella", 0.11), ("hooli", 0.06))
SUBJECTS_EACH = 5

# Somebody exports the catalog all day and is told 429 half of the time.
GREEDY_PER_S, GREEDY_ALLOWED_PER_S = 6.0, 3.0


class Caller(NamedTuple):
    """Who asks."""

    tenant: str
    subject: str
    client: str


CALLERS = {
    tenant: tuple(
        Caller(tenant, f"{tenant}-user-{number}", f"198.51.{100 + row}.{number + 1}") for number in range(SUBJECTS_EACH)
    )
    for row, (tenant, _) in enumerate(TENANTS)
}
GREEDY = Caller("acme", "acme-batch-export", "198.51.100.200")


def target_names(service: str) -> tuple[str, ...]:
    """``host:port`` of the service's targets."""
    network = {"checkout": 0, "orders": 1, "payments": 2, "catalog": 3}[service]
    count = 3 if service == "catalog" else 2
    return tuple(f"10.20.{network}.{number + 1}:{9000 + network}" for number in range(count))
