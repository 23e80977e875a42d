"""The wall clock of the running program jumps an hour forth and back: limits and deadlines do not follow it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import jwt
import pytest

from tests import running, servers
from tests.faults import wires
from tests.faults.wires import Place, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR_S = 3600
BURST = 20

# Before anything of ours takes these functions: the wall clock is off by what stands in a file. Monotonic time is not.
CLOCK = """
import os, time
_real, _real_ns, _file = time.time, time.time_ns, {file!r}

def _off():
    try:
        with open(_file) as told:
            return int(told.read() or 0)
    except OSError:
        return 0

time.time = lambda: _real() + _off()
time.time_ns = lambda: _real_ns() + _off() * 1_000_000_000
"""


class Jumping:
    def __init__(self, place: Place, file: Path) -> None:
        self.place = place
        self._file = file

    def set_off(self, seconds: int) -> None:
        self._file.write_text(str(seconds))

    def count(self, path: str, requests: int) -> tuple[int, int]:
        """How many were let through and refused, one after another on one connection."""
        wire = self.place.wire()
        statuses = []
        for _ in range(requests):
            wire.send(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            statuses.append(wire.answer()[0])
        wire.close()
        assert set(statuses) <= {200, 429}
        return statuses.count(200), statuses.count(429)


PLACES = [(where, driver) for where in ("redis", "alone") for driver in wires.DRIVERS]


@pytest.fixture(scope="module", params=PLACES, ids=["-".join(place) for place in PLACES])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jumping]:
    where, driver = request.param
    folder = tmp_path_factory.mktemp("clock")
    file = folder / "off"
    limit = f'limit = "{BURST}/h burst {BURST} per client"'
    names = ("forth", "back", "slow", "token")
    with running.origin() as origin, servers.redis_server() as redis:
        upstreams = dict.fromkeys(names, f'targets = ["http://127.0.0.1:{origin.port}"]')
        upstreams["slow"] = 'timeout = { header = "700ms" }\nmax_connections = 1'
        on_redis = where == "redis"
        place = wires.place(
            folder,
            driver,
            upstreams,
            routes={"forth": limit, "back": limit, "token": 'auth = "jwt"'},
            more='[auth.jwt]\nleeway = "30s"\n' + ('[redis]\nbudget = "300ms"\n' if on_redis else ""),
            before=CLOCK.format(file=str(file)),
            **({"SENTINEL_REDIS__URL": redis.url} if on_redis else {}),
        )
        with place as made:
            yield Jumping(made, file)


@pytest.fixture
def jumping(shared: Jumping) -> Iterator[Jumping]:
    yield shared
    shared.set_off(0)
    shared.place.clear()


@pytest.mark.parametrize(("path", "off"), [("forth", HOUR_S), ("back", -HOUR_S)])
def test_a_jump_neither_fills_a_bucket_nor_locks_it(jumping: Jumping, path: str, off: int) -> None:
    assert jumping.count(f"/{path}/x", 10) == (10, 0)
    jumping.set_off(off)
    assert jumping.count(f"/{path}/x", 20) == (10, 10), "an hour would have filled it"
    jumping.set_off(0)
    assert jumping.count(f"/{path}/x", 5) == (0, 5)


@pytest.mark.parametrize("off", [HOUR_S, -HOUR_S])
def test_a_jump_neither_ends_a_deadline_nor_puts_it_off(jumping: Jumping, off: int) -> None:
    path = f"/slow/{off}"
    wire = jumping.place.ask(path)
    upstream = jumping.place.origins["slow"].connection()
    upstream.request()
    begun = time.monotonic()
    jumping.set_off(off)
    assert wire.answer()[0] == 504
    assert 0.4 < time.monotonic() - begun < 4
    record = jumping.place.record(path)
    assert 500_000 < record["duration_us"] < 4_000_000, "the ledger's times are no differences of wall clocks"
    jumping.set_off(0)
    jumping.place.works(f"{path}/after", "slow")


def test_a_token_is_judged_by_the_clock_that_holds_now(jumping: Jumping) -> None:
    bearer = jwt.encode({"sub": "a", "exp": time.time() + 600}, running.SECRET, "HS256")

    def status() -> int:
        return jumping.place.status("/token/x", fields=f"authorization: Bearer {bearer}\r\n")

    assert status() == 200
    jumping.set_off(HOUR_S)
    assert status() == 401, "remembered tokens end as well"
    jumping.set_off(0)
    until(lambda: status() == 200, 5, "it was not forgotten for good")
