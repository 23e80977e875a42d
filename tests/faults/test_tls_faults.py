"""Clients of the TLS port that never finish, speak plainly, or show a certificate that is over."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.certificates import Authority
from tests.faults import wires
from tests.faults.wires import Place, is_over, rest, until
from tests.integration.edge.edge_world import Wire
from tests.scenarios import shop

if TYPE_CHECKING:
    from collections.abc import Iterator

HANDSHAKE_S = 1.0
SHORT = f"""
if ROLE == "edge":
    from gateway.collect import spool
    from gateway.edge import tls
    tls.HANDSHAKE_S = {HANDSHAKE_S}
    spool.COUNTERS_S = 0.1
"""
COUNTED = 'sentinel_tls_handshakes_total{{outcome="{}"}}'


class Secure(NamedTuple):
    place: Place
    authority: Authority

    def context(self, certificate: tuple[str, str] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if certificate is not None:
            context.load_cert_chain(*certificate)
        return context

    def wire(self, certificate: tuple[str, str] | None = None) -> Wire:
        """A client's connection after its handshake."""
        wire = Wire(self.place.port)
        wire.socket = self.context(certificate).wrap_socket(wire.socket, server_hostname="localhost")
        self.place.wires.append(wire)
        return wire

    def works(self, path: str, **given: tuple[str, str]) -> None:
        wire = self.wire(**given)
        wire.send(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        self.place.serve("api")
        assert wire.answer()[0] == 200
        wire.close()

    def counted(self, outcome: str) -> float:
        return shop.metric(self.place.gateway, COUNTED.format(outcome))


@pytest.fixture(scope="module", params=wires.DRIVERS)
def secure(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    certificate, key = authority.files("server")
    more = f"""
[server.tls]
certificate = "{certificate}"
key = "{key}"
client_ca = "{authority.file}"
client_certificates = "optional"
"""
    with wires.place(folder, request.param, {"api": ""}, more=more, before=SHORT) as made:
        yield Secure(made, authority)


def test_a_handshake_that_never_ends_is_closed_on_time_and_keeps_nobody_out(secure: Secure) -> None:
    before, begun = secure.counted("timeout"), time.monotonic()
    silent = [Wire(secure.place.port) for _ in range(100)]
    half = Wire(secure.place.port)
    hello = hello_of(secure.context())
    half.send(hello[: len(hello) // 2])
    secure.works("/api/meanwhile")
    for wire in (*silent, half):
        assert rest(wire)[0] == b""
    assert HANDSHAKE_S * 0.9 <= time.monotonic() - begun < HANDSHAKE_S + 4
    until(lambda: secure.counted("timeout") - before == 101, 5, "they are counted")
    secure.works("/api/after")


def hello_of(context: ssl.SSLContext) -> bytes:
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_plain_http_on_the_tls_port_gets_no_answer_and_reaches_nobody(secure: Secure) -> None:
    before = secure.counted("failed")
    wire = Wire(secure.place.port)
    wire.send(b"GET /api/plain HTTP/1.1\r\nhost: localhost\r\n\r\n")
    said, _ = rest(wire)
    assert b"HTTP/1." not in said
    until(lambda: secure.counted("failed") > before, 5, "it is counted")
    assert secure.place.origins["api"].untouched()
    secure.works("/api/after-plain")


def test_a_client_certificate_that_is_over_is_refused_and_a_good_one_is_not(secure: Secure) -> None:
    over = secure.authority.files("over", days=-1)
    good = secure.authority.files("good")
    before = secure.counted("failed")
    assert said_to(secure, over) == b""
    assert secure.place.origins["api"].untouched()
    until(lambda: secure.counted("failed") > before, 5, "it is counted")
    secure.works("/api/good", certificate=good)


def said_to(secure: Secure, certificate: tuple[str, str]) -> bytes:
    """What a client hears. With TLS 1.3 its own handshake ends before the server has judged."""
    try:
        wire = secure.wire(certificate)
        wire.send(b"GET /api/over HTTP/1.1\r\nhost: localhost\r\n\r\n")
        return wire.socket.recv(100)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_clients_that_leave_within_the_handshake_leave_nothing_behind(secure: Secure) -> None:
    worker = secure.place.gateway.child("worker 1")
    secure.works("/api/before-leaving")
    files = worker.num_fds()
    hello = hello_of(secure.context())
    for number in range(60):
        wire = Wire(secure.place.port)
        wire.send(hello[: 5 + number])
        if number % 2:
            wires.reset(wire)
        else:
            wire.close()
    until(lambda: worker.num_fds() <= files, 5, "nothing is open any more")
    secure.works("/api/after-leaving")


def test_a_client_that_leaves_without_a_goodbye_is_gone_upstream_too(secure: Secure) -> None:
    wire = secure.wire()
    wire.send(b"GET /api/gone HTTP/1.1\r\nhost: localhost\r\n\r\n")
    upstream = secure.place.origins["api"].connection()
    upstream.request()
    raw = socket.socket(fileno=wire.socket.detach())  # without close_notify
    raw.close()
    assert is_over(upstream, 1)
    assert secure.place.record("/api/gone")["status"] == 499
