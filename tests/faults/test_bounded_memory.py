"""Ten thousand of everything a caller can make up: tokens, keys, addresses, paths, hosts, agents. Nothing grows by it.

The tables' bounds are made small, so that ten thousand are many times what they may hold.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx2
import jwt
import pytest

from tests import running
from tests.faults import wires
from tests.faults.wires import Place, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

COUNT = 10_000
MIB = 1024 * 1024
MORE = int(1.5 * MIB)  # what ten thousand more may cost; without a bound they cost 2.5 MiB
SMALL = """
if ROLE == "edge":
    from gateway.edge import authenticate, rate_limit
    rate_limit.RateLimiter.__init__.__kwdefaults__["max_local"] = 500
"""


class Flooded:
    def __init__(self, place: Place) -> None:
        self.place = place

    @property
    def worker(self) -> psutil.Process:
        return self.place.gateway.child("worker 1")

    def flood(self, request: Callable[[int], str], first: int, count: int = COUNT) -> set[int]:
        """Send so many requests, each another one; the statuses."""
        wire = self.place.wire()
        statuses = set()
        for start in range(first, first + count, 50):
            wire.send("".join(request(number) for number in range(start, start + 50)).encode())
            for _ in range(50):
                statuses.add(wire.answer()[0])
        wire.close()
        return statuses

    def grows(self, request: Callable[[int], str], expected: set[int]) -> int:
        """By how many bytes the worker grows with the second ten thousand; the first may fill tables."""
        assert self.flood(request, 0) == expected
        before = self.worker.memory_info().rss
        assert self.flood(request, COUNT) == expected
        return self.worker.memory_info().rss - before


@pytest.fixture(scope="module", params=wires.DRIVERS)
def flooded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flooded]:
    # A redirect is answered after everything else was done: no upstream slows the flood down.
    more = """
[auth.jwt]

[[routes]]
name = "limited"
match = { path = "/limited/{id}/*" }
redirect = "/elsewhere"
limit = "1/h burst 2 per client"

[[routes]]
name = "known"
match = { path = "/known" }
redirect = "/elsewhere"
auth = "any"
limit = "1/h burst 2 per subject"
"""
    folder = tmp_path_factory.mktemp("memory")
    server = 'trusted_proxies = ["127.0.0.1"]'
    with wires.place(folder, request.param, {"api": ""}, server=server, more=more, before=SMALL) as made:
        yield Flooded(made)


def ask(path: str, fields: str = "") -> str:
    return f"GET {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n"


def test_addresses_and_paths_that_differ_each_time_cost_nothing_that_stays(flooded: Flooded) -> None:
    def request(number: int) -> str:
        address = f"2001:db8::{number:x}"
        return ask(
            f"/limited/{number}/{'x' * 100}?q={number}", f"x-forwarded-for: {address}\r\nuser-agent: a{number}\r\n"
        )

    assert flooded.grows(request, {308}) < MORE


def test_tokens_and_keys_that_are_made_up_cost_nothing_that_stays(flooded: Flooded) -> None:
    def request(number: int) -> str:
        forged = f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ7bnVtYmVyfSJ9.{number:043d}"
        field = f"authorization: Bearer {forged}\r\n" if number % 2 else f"x-api-key: sk_{number:040d}\r\n"
        return ask("/known", field)

    assert flooded.grows(request, {401}) < MORE


def test_good_tokens_that_differ_each_time_cost_no_more_than_their_table_may_hold(flooded: Flooded) -> None:
    until_s = int(time.time()) + 600

    def request(number: int) -> str:
        good = jwt.encode({"sub": f"caller-{number}", "exp": until_s}, running.SECRET, "HS256")
        return ask("/known", f"authorization: Bearer {good}\r\n")

    # The table of verified tokens holds 10,000 or so: it is full after the first.
    assert flooded.grows(request, {308}) < MORE


def test_routes_that_do_not_exist_make_no_series_of_their_own(flooded: Flooded) -> None:
    before = series(flooded)
    control = flooded.place.gateway.child("control")

    def request(number: int) -> str:
        return ask(f"/made-up-{number}/{number}", f"host-{number}: x\r\n").replace(
            "host: a", f"host: h{number}.example"
        )

    assert flooded.flood(request, 0) == {404}
    memory = control.memory_info().rss
    assert flooded.flood(request, COUNT) == {404}
    until(lambda: counted(flooded) >= 2 * COUNT, 60, "control has read them all")
    after = series(flooded)
    assert not any("made-up" in line or "example" in line for line in after)
    assert len(after) <= len(before) + 60
    assert control.memory_info().rss - memory < 48 * MIB, "beside the caches of its database"


def test_methods_that_are_made_up_share_a_series(flooded: Flooded) -> None:
    wire = flooded.place.wire()
    for method in ("PROPFIND", "MKCOL", "PURGE", "REPORT", "SEARCH"):
        wire.send(f"{method} /nowhere HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        wire.answer()
    time.sleep(0.5)
    methods = {line.split('method="')[1].split('"')[0] for line in series(flooded) if 'method="' in line}
    assert methods <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other", ""}


def series(flooded: Flooded) -> list[str]:
    text = httpx2.get(f"{flooded.place.gateway.admin_url}/metrics", timeout=20).text
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def counted(flooded: Flooded) -> float:
    lines = [
        line for line in series(flooded) if line.startswith("sentinel_requests_total") and 'status_class="4xx"' in line
    ]
    return sum(float(line.rpartition(" ")[2]) for line in lines)
