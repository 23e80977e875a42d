"""The fault proxy does to a connection what it is told, and only that."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.fault_proxy import FaultProxy, fault_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator


class Echo:
    """Sends back what it gets; ``ended`` counts clients that left."""

    def __init__(self) -> None:
        self.ended = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(accepted,), daemon=True).start()

    def _echo(self, accepted: socket.socket) -> None:
        with accepted:
            try:
                while data := accepted.recv(65536):
                    accepted.sendall(data)
            except OSError:
                pass
            self.ended += 1

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def network(echo: Echo) -> Iterator[FaultProxy]:
    with fault_proxy(echo.port) as proxy:
        yield proxy


@contextmanager
def client(network: FaultProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", network.port), timeout=5) as connected:
        yield connected


def received(connected: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length and (more := connected.recv(65536)):
        data += more
    return data


def test_a_network_that_is_well_passes_everything_on_and_a_close_with_it(echo: Echo, network: FaultProxy) -> None:
    message = bytes(range(256)) * 2000
    with client(network) as connected:
        sending = threading.Thread(target=connected.sendall, args=(message,))
        sending.start()
        assert received(connected, len(message)) == message
        sending.join(5)
    deadline = time.monotonic() + 5
    while not (echo.ended == 1 and network.open == 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (echo.ended, network.open, network.accepted, network.most_open) == (1, 0, 1, 1)


def test_latency_delays_what_comes_back(network: FaultProxy) -> None:
    network.faults.latency_s = 0.2
    with client(network) as connected:
        begun = time.monotonic()
        connected.sendall(b"x")
        assert connected.recv(1) == b"x"
        assert time.monotonic() - begun >= 0.2


def test_slices_arrive_one_by_one(network: FaultProxy) -> None:
    network.faults.slice_bytes, network.faults.bytes_per_s = 1, 100
    with client(network) as connected:
        connected.sendall(b"four")
        assert [connected.recv(100) for _ in range(4)] == [b"f", b"o", b"u", b"r"]


@pytest.mark.parametrize("end", ["close", "reset"])
def test_an_answer_is_cut_after_so_many_bytes(network: FaultProxy, end: str) -> None:
    network.faults.truncate_after, network.faults.ends_by_reset = 3, end == "reset"
    with client(network) as connected:
        connected.sendall(b"four")
        assert received(connected, 3) == b"fou"
        if end == "reset":
            with pytest.raises(ConnectionResetError):
                connected.recv(1)
        else:
            assert connected.recv(1) == b""


def test_silence_holds_everything_back_until_it_ends(echo: Echo, network: FaultProxy) -> None:
    with client(network) as connected:
        connected.sendall(b"a")
        assert connected.recv(1) == b"a"
        network.faults.silent = True
        connected.sendall(b"b")
        connected.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connected.recv(1)
        network.heal()
        connected.settimeout(5)
        assert connected.recv(1) == b"b"
        network.faults.silent = True
    time.sleep(0.1)
    assert echo.ended == 0, "not even the close has passed"


def test_connections_are_refused_and_taken_again_on_the_same_port(network: FaultProxy) -> None:
    with client(network) as before:
        before.sendall(b"w")
        assert before.recv(1) == b"w", "taken, and not only waiting to be"
        network.refuse()
        with pytest.raises(ConnectionRefusedError), client(network):
            pass
        before.sendall(b"x")
        assert before.recv(1) == b"x", "those that stand are left alone"
        network.listen()
        with client(network) as after:
            after.sendall(b"y")
            assert after.recv(1) == b"y"


def test_connections_are_cut_and_hung_up_on_by_reset(network: FaultProxy) -> None:
    with client(network) as connected:
        connected.sendall(b"x")
        assert connected.recv(1) == b"x"
        network.cut()
        with pytest.raises(ConnectionResetError):
            connected.recv(1)
    network.faults.hangs_up = True
    with pytest.raises(ConnectionResetError), client(network) as connected:
        received(connected, 1)


def test_it_ends_by_itself(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fault_proxy.LIFE_S", 0.2)
    with fault_proxy(echo.port) as network, client(network) as connected:
        assert connected.recv(1) == b""
    with pytest.raises(ConnectionRefusedError), client(network):
        pass
