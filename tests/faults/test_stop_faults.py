"""SIGTERM while everything is under way at once: nothing is cut before the deadline, everything after it."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.domain.websocket import accept_of
from tests.faults import wires
from tests.faults.wires import Place, is_over, rest, until
from tests.integration.edge.websocket_world import KEY, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.edge.edge_world import Wire
    from tests.integration.edge.websocket_world import ServerWire

EVENT = b"data: something\n\n"
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNK
UPSTREAMS = dict.fromkeys(("rest", "up", "wait", "sse", "ws"), "")


class Under:
    """One of everything under way, both ends of each."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.rest = place.ask("/rest/x")
        place.serve("rest", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine")
        assert self.rest.answer()[0] == 200
        self.up = place.ask("/up/x", method="POST", fields="content-length: 8\r\n")
        self.up.send(b"four")
        self.up_end = self._taken("up")
        assert self.up_end.body(4) == b"four"
        self.wait = place.ask("/wait/x")
        self.wait_end = self._taken("wait")
        self.sse = place.ask("/sse/x")
        self.sse_end = self._taken("sse")
        self.sse_end.send(STREAM)
        assert self.sse.head()[0] == 200
        assert self.sse.body(len(CHUNK)) == CHUNK
        self.ws, self.ws_end = self._websocket()

    def _taken(self, name: str) -> ServerWire:
        upstream = self.place.origins[name].connection()
        upstream.request()
        return upstream

    def _websocket(self) -> tuple[Peer, Peer]:
        fields = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        wire = self.place.ask("/ws/x", fields=f"{fields}sec-websocket-key: {KEY.decode()}\r\n")
        end, _ = self.place.origins["ws"].take()
        status, headers = wire.head()
        assert (status, headers[b"sec-websocket-accept"]) == (101, accept_of(KEY))
        return Peer(wire, masks=True), end


@contextmanager
def stopping(place: Place) -> Iterator[list[int]]:
    """While the gateway stops; its exit code is in the list afterwards."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(place.gateway.stop()))
    thread.start()
    yield codes
    thread.join(30)
    assert not thread.is_alive()


def takes_connections(place: Place) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", place.port)) == 0


def recorded(place: Place) -> dict[str, tuple[int, str]]:
    """What stands in the store afterwards: status and error by path."""
    place.gateway.start()
    records = place.gateway.records()
    assert len(records) == len({record["path"] for record in records}), "one record each"
    return {record["path"]: (record["status"], record["error"]) for record in records}


@pytest.mark.parametrize("driver", wires.DRIVERS)
def test_what_is_under_way_ends_well_within_the_deadline(tmp_path: Path, driver: str) -> None:
    with wires.place(tmp_path, driver, UPSTREAMS, server='drain = "10s"') as place:
        under = Under(place)
        with stopping(place) as codes:
            until(lambda: not takes_connections(place), 5, "new connections are refused")
            assert not place.gateway.ready()
            assert under.ws.closed_with() == 1012
            under.ws.close(1012)
            assert rest(under.rest) == (b"", "closed"), "who rests is sent away in order"
            under.up.send(b"more")
            assert under.up_end.body(4) == b"more"
            under.up_end.send(wires.OK)
            status, fields, _ = under.up.answer()
            assert (status, fields[b"connection"]) == (200, b"close")
            under.wait_end.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine")
            status, fields, _ = under.wait.answer()
            assert (status, fields[b"connection"]) == (200, b"close")
            under.sse_end.send(CHUNK + b"0\r\n\r\n")
            assert rest(under.sse) == (CHUNK + b"0\r\n\r\n", "closed")
        assert codes == [0]
        fine = (200, "")
        assert recorded(place) == {
            "/rest/x": fine,
            "/up/x": fine,
            "/wait/x": fine,
            "/sse/x": fine,
            "/ws/x": (101, ""),
        }


@pytest.mark.parametrize("driver", wires.DRIVERS)
def test_what_does_not_end_is_cut_at_the_deadline_and_recorded(tmp_path: Path, driver: str) -> None:
    drain_s = 1.0
    with wires.place(tmp_path, driver, UPSTREAMS, server=f'drain = "{drain_s:g}s"') as place:
        under = Under(place)
        ended: dict[str, tuple[float, bytes, str]] = {}
        begun = time.monotonic()

        def follow(name: str, wire: Wire) -> None:
            said, end = rest(wire, 20)
            ended[name] = time.monotonic() - begun, said, end

        with stopping(place) as codes:
            clients = [("up", under.up), ("wait", under.wait), ("sse", under.sse), ("ws", under.ws.wire)]
            threads = [threading.Thread(target=follow, args=client) for client in clients]
            for thread in threads:
                thread.start()
            while not ended and time.monotonic() - begun < 10:
                time.sleep(0.1)
                under.sse_end.send(CHUNK)
            for thread in threads:
                thread.join(20)
        assert codes == [0]
        assert set(ended) == {"up", "wait", "sse", "ws"}
        for name in ("up", "wait", "sse"):
            assert ended[name][0] >= drain_s * 0.8, f"{name} was cut early"
        assert max(at for at, _, _ in ended.values()) < drain_s + 10
        _, said, end = ended["sse"]
        assert (end, said.endswith(b"0\r\n\r\n")) == ("reset", False), "a stream that was cut never looks whole"
        for name in ("up", "wait"):
            assert ended[name][1] == b"" or ended[name][1].startswith(b"HTTP/1.1 503 ")
        assert is_over(under.wait_end, 1)
        found = recorded(place)
        assert set(found) == {"/rest/x", "/up/x", "/wait/x", "/sse/x", "/ws/x"}
        assert found["/wait/x"] == found["/up/x"] == (503, "internal")
        assert found["/sse/x"][1] == "internal"


@pytest.mark.parametrize("driver", wires.DRIVERS)
def test_a_request_sent_the_moment_of_the_stop_is_answered(tmp_path: Path, driver: str) -> None:
    """Clients with connections at rest cannot know: what they send in that moment is not met by a reset."""
    with wires.place(tmp_path, driver, {"rest": ""}) as place:
        resting = []
        for _ in range(20):
            wire = place.ask("/nowhere")
            assert wire.answer()[0] == 404
            resting.append(wire)
        with stopping(place) as codes:
            until(lambda: not takes_connections(place), 5, "the stop has begun")
            for wire in resting:
                wire.send(b"GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n")
            for wire in resting:
                said, end = rest(wire)
                assert said.startswith(b"HTTP/1.1 404 ")
                assert end == "closed"
        assert codes == [0]
