"""What comes back is not overrun: an upstream after a time of failures, an issuer of keys, a worker's clients."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx2
import jwt
import pytest

from tests import running, tokens
from tests.faults import wires
from tests.faults.wires import Place, until
from tests.scenarios import shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fault_proxy import FaultProxy

OPEN_S = 0.3
DOWN_S = 3.0
SAMPLE = 10  # requests before the breaker judges
CALLERS = 8
PER_S = 50.0
CONNECTIONS = 4
CIRCUIT = f"""
max_connections = {CONNECTIONS}
breaker = {{ errors = 0.5, requests = {SAMPLE}, open = "{OPEN_S * 1000:.0f}ms", window = "2s" }}
"""
QUICK = """
if ROLE == "control":
    from gateway.control import key_sets
    key_sets.UNKNOWN_S, key_sets.SETTLE_S, key_sets.FIRST_RETRY_S, key_sets.LOOK_S = 1.0, 0.3, 0.3, 0.1
if ROLE == "edge":
    from gateway.edge import unknown_keys
    unknown_keys.LOOK_S = 0.1
    from gateway.collect import spool
    spool.COUNTERS_S = 0.1
"""


class Down:
    """A gateway before an upstream with a circuit, and its network."""

    def __init__(self, place: Place, network: FaultProxy, issuer: running.Origin) -> None:
        self.place = place
        self.network = network
        self.issuer = issuer


@pytest.fixture(scope="module", params=wires.DRIVERS)
def down(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Down]:
    with ExitStack() as stack:
        origin = stack.enter_context(running.origin())
        issuer = stack.enter_context(running.origin())
        issuer.answer = lambda _method, _path: (200, key_set(1))
        network = stack.enter_context(wires.fault_proxy(origin.port))
        place = wires.place(
            tmp_path_factory.mktemp("recovery"),
            request.param,
            {
                "api": f'targets = ["http://127.0.0.1:{network.port}"]' + CIRCUIT,
                "keys": f'targets = ["http://127.0.0.1:{origin.port}"]',
            },
            routes={"keys": 'auth = "jwt"'},
            more=f'[auth.jwt]\nalgorithms = ["RS256"]\njwks_url = "http://127.0.0.1:{issuer.port}/jwks"\n',
            before=QUICK,
        )
        yield Down(stack.enter_context(place), network, issuer)


def test_an_upstream_that_is_down_is_left_alone_and_comes_back_without_a_herd(down: Down) -> None:
    network = down.network
    paths = tuple(f"/api/{number}" for number in range(CALLERS))
    with shop.calling(down.place.gateway.url, *paths, per_s=PER_S) as callers:
        until(lambda: callers.answers[200] >= 3 * CALLERS, 10, "all is well")
        good, before = callers.answers[200], network.accepted
        network.faults.hangs_up = True
        network.cut()
        time.sleep(DOWN_S)
        tried = network.accepted - before
        network.heal()
        healed = callers.answers[200]
        until(lambda: callers.answers[200] >= healed + 100, 20, "it is used again")
        refused = sum(count for status, count in callers.answers.items() if status in {502, 503})
        time.sleep(0.5)
        late = sum(count for status, count in callers.answers.items() if status in {502, 503}) - refused
    # An answer that had begun when the network was cut is broken off: it can become neither 502 nor 503.
    assert callers.answers.pop(0, 0) <= CONNECTIONS
    assert set(callers.answers) == {200, 502, 503}
    # Half of a window must have failed to open the circuit; then there is one trial each time it is half open.
    assert 1 <= tried <= good + SAMPLE + CALLERS + CONNECTIONS + DOWN_S / OPEN_S
    assert callers.answers[503] > callers.answers[502], "most were answered without asking"
    assert network.most_open <= CONNECTIONS, "nor did its return bring more connections than are allowed"
    assert late == 0


def test_an_open_circuit_says_when_to_come_back(down: Down) -> None:
    down.network.faults.hangs_up = True
    down.network.cut()
    with httpx2.Client(base_url=down.place.gateway.url) as client:
        deadline = time.monotonic() + 10
        while (answer := client.get("/api/x")).status_code != 503 and time.monotonic() < deadline:
            pass
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        down.network.heal()
        until(lambda: client.get("/api/x").status_code == 200, 10, "it closes")


def key_set(*numbers: int) -> bytes:
    keys = [tokens.jwk(tokens.private_key("RS256", number), kid=f"k{number}") for number in numbers]
    return json.dumps({"keys": keys}).encode()


def token(number: int) -> str:
    claims = {"sub": os.urandom(8).hex(), "exp": time.time() + 300}
    return jwt.encode(claims, tokens.private_key("RS256", number), "RS256", headers={"kid": f"k{number}"})


def ask(client: httpx2.Client, bearer: str) -> int:
    return client.get("/keys/x", headers={"authorization": f"Bearer {bearer}"}).status_code


def test_a_flood_of_unknown_keys_asks_the_issuer_a_few_times_and_finds_a_new_key(down: Down) -> None:
    with httpx2.Client(base_url=down.place.gateway.url) as client:
        flood = [token(2) for _ in range(100)]
        before, begun = len(down.issuer.seen), time.monotonic()
        while time.monotonic() - begun < 2.5:
            assert {ask(client, bearer) for bearer in flood} == {401}
        asked = len(down.issuer.seen) - before
        assert asked <= 2.5 / (1.0 * 0.8) + 1, "one at a time, and not more than once in a while"
        down.issuer.answer = lambda _method, _path: (200, key_set(1, 2))
        until(lambda: ask(client, token(2)) == 200, 15, "the new key is known")


def test_an_issuer_that_is_down_costs_nobody_who_is_known_and_is_asked_ever_less(down: Down) -> None:
    down.issuer.answer = lambda _method, _path: (500, b"")
    before = len(down.issuer.seen)
    with httpx2.Client(base_url=down.place.gateway.url) as client:
        begun = time.monotonic()
        while time.monotonic() - begun < 3:
            assert ask(client, token(3)) == 401
        assert len(down.issuer.seen) - before <= 5, "0.3 s, 0.6 s, 1.2 s … of pause, not at every look"
        assert ask(client, token(1)) == 200
