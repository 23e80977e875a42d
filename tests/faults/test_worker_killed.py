"""A worker is killed with its hands full: its own clients see it break off, its sibling's see nothing."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

import pytest

from tests.faults import wires
from tests.faults.wires import Place, is_over, rest, until
from tests.scenarios import shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

    from tests.integration.edge.edge_world import Wire
    from tests.integration.edge.websocket_world import ServerWire

Pair = tuple["Wire", "ServerWire"]


@pytest.fixture(params=wires.DRIVERS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("killed")
    with wires.place(folder, request.param, {"api": ""}, server="workers = 2") as made:
        yield made


def worker_of(place: Place, wire: Wire) -> psutil.Process:
    """Which worker has that client's connection."""
    port = wire.socket.getsockname()[1]
    for number in (1, 2):
        worker = place.gateway.child(f"worker {number}")
        if any(one.raddr and one.raddr.port == port for one in worker.net_connections("tcp")):
            return worker
    message = "no worker has it"
    raise LookupError(message)


def begun(place: Place, path: str) -> Pair:
    """A download of which half has come."""
    wire = place.ask(path)
    upstream = place.origins["api"].connection()
    upstream.request()
    upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nhalf")
    assert wire.head()[0] == 200
    assert wire.body(4) == b"half"
    return wire, upstream


def test_only_its_own_clients_and_upstreams_notice_a_worker_that_is_killed(place: Place) -> None:
    pairs: dict[int, list[Pair]] = {}
    number = 0
    while len(pairs) < 2 or number < 8:  # until both have some
        assert number < 200
        pair = begun(place, f"/api/{number}")
        pairs.setdefault(worker_of(place, pair[0]).pid, []).append(pair)
        number += 1
    killed = place.gateway.child("worker 1")
    killed.kill()
    for wire, upstream in pairs.pop(killed.pid):
        assert rest(wire) in {(b"", "closed"), (b"", "reset")}, "four bytes are missing, so nobody takes it for whole"
        assert is_over(upstream, 2)
    (others,) = pairs.values()
    for wire, upstream in others:
        upstream.send(b"done")
        assert wire.body(4) == b"done"
    until(lambda: place.gateway.has_replaced(killed, "worker 1"), 20, "back")
    records = {one["path"] for one in place.gateway.records()}
    place.gateway.wait(
        lambda: len({one["path"] for one in place.gateway.records()}) >= len(others),
        10,
        f"recorded, not only {records}",
    )


def test_new_clients_are_served_while_a_worker_is_dead(place: Place) -> None:
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                place.serve("api")
            except (queue.Empty, OSError, AssertionError):  # nobody came for a while, or its worker was killed
                continue

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    statuses = []
    for number in range(60):
        if number == 10:
            place.gateway.child("worker 2").kill()
        wire = place.wire()
        try:
            wire.send(b"GET /api/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            statuses.append(wire.head()[0])
        except (OSError, AssertionError):  # one that the dead one had taken already
            statuses.append(0)
        wire.close()
    over.set()
    assert set(statuses) <= {200, 0}
    assert statuses.count(0) <= 1
    place.gateway.wait(lambda: shop.metric(place.gateway, "sentinel_workers") == 2, 20, "it is back, and counted")
