"""TLS to clients: handshakes on real sockets, certificates that change, and clients that show one."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.domain.access import AuthMode, ServerTls
from gateway.domain.traffic import RequestRecord
from gateway.edge import tls as tls_module
from gateway.edge.certificates import Certificates
from gateway.edge.tls import over_tls
from gateway.metrics import WorkerCounters
from tests.certificates import Authority
from tests.integration.edge.edge_world import FakeForwarder, Wire, wait_for
from tests.unit.edge.edge_values import Rows, route, snapshot, steps


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


class World:
    """A gateway behind TLS."""

    def __init__(self, port, rows, forwarder, certificates, counters):
        self.port, self.rows, self.forwarder = port, rows, forwarder
        self.certificates, self.counters = certificates, counters
        self.outcomes = {}

    def outcome(self, name: str) -> float:
        for key, amount in self.counters.take().items():
            self.outcomes[key] = self.outcomes.get(key, 0) + amount
        return self.outcomes.get(f"sentinel_tls_handshakes_total|{name}", 0)


@contextmanager
def gateway(driver, tls, given=None, **limits):
    rows, counters, forwarder = Rows(), WorkerCounters(), FakeForwarder()
    certificates = Certificates(tls)
    wrap = lambda http: over_tls(http, certificates, counters, **limits)  # noqa: E731 - a name says what it is for
    with driver(steps(given, records=rows), forwarder, wrap=wrap) as port:
        yield World(port, rows, forwarder, certificates, counters)


def server_tls(authority, name="server", **changes):
    certificate, key = authority.files(name, ("CN", name))
    return ServerTls(**({"certificate_file": certificate, "key_file": key} | changes))


def connect(port, authority, *, shown=None, alpn=("http/1.1",), version=None):
    context = ssl.create_default_context(cafile=str(authority.file))
    context.set_alpn_protocols(list(alpn))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if shown is not None:
        context.load_cert_chain(*shown)
    raw = socket.create_connection(("127.0.0.1", port), timeout=5)
    try:
        return context.wrap_socket(raw, server_hostname="localhost")
    except BaseException:
        raw.close()
        raise


class TlsWire(Wire):
    def __init__(self, connection):
        self.socket, self.rest = connection, b""


def ask(connection, path="/orders/1", fields=""):
    wire = TlsWire(connection)
    wire.send(f"GET {path} HTTP/1.1\r\nhost: shop.example\r\n{fields}\r\n".encode())
    return wire.answer()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_come_over_tls_and_the_upstream_is_told(driver, authority, version):
    with gateway(driver, server_tls(authority)) as world, connect(world.port, authority, version=version) as client:
        assert client.selected_alpn_protocol() == "http/1.1"
        for _ in range(2):
            status, _, body = ask(client)
            assert (status, body) == (200, b"hello")
        assert world.forwarder.calls[0].outbound.scheme == b"https"
        assert world.forwarder.calls[0].outbound.client == b"127.0.0.1"
        assert world.outcome("ok") == 1


def test_old_versions_of_tls_are_refused(driver, authority):
    with gateway(driver, server_tls(authority, min_version="1.3")) as world:
        with pytest.raises(ssl.SSLError):
            connect(world.port, authority, version=ssl.TLSVersion.TLSv1_2)
        wait_for(lambda: world.outcome("failed") == 1)


def test_large_bodies_pass_both_ways(driver, authority):
    body = bytes(range(256)) * 4096

    def script(call):
        call.on_finish = lambda call: call.loop.call_soon(call.answer, bytes(call.body))

    with gateway(driver, server_tls(authority)) as world, connect(world.port, authority) as client:
        world.forwarder.script = script
        wire = TlsWire(client)
        wire.send(b"POST /orders/1 HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        status, _, got = wire.answer()
        assert (status, got) == (200, body)


def test_a_new_certificate_is_shown_to_new_connections_while_open_ones_go_on(driver, authority):
    tls = server_tls(authority)
    with gateway(driver, tls) as world, connect(world.port, authority) as first:
        before = first.getpeercert(binary_form=True)
        authority.files("server", ("CN", "server"))
        assert world.certificates.look()
        with connect(world.port, authority) as second:
            assert second.getpeercert(binary_form=True) != before
            assert ask(second)[0] == ask(first)[0] == 200


def test_files_that_cannot_be_used_leave_the_old_certificate_in_force(driver, authority):
    tls = server_tls(authority)
    with gateway(driver, tls) as world:
        Path(tls.key_file).write_text("half a key")
        assert not world.certificates.look()
        with connect(world.port, authority) as client:
            assert ask(client)[0] == 200


def test_a_new_snapshot_turns_tls_on_and_off(driver, authority):
    with gateway(driver, None) as world:
        wire = Wire(world.port)
        wire.send(b"GET /orders/1 HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wire.answer()[0] == 200
        world.certificates.apply(server_tls(authority))
        with connect(world.port, authority) as client:
            assert ask(client)[0] == 200
        wire.send(b"GET /orders/1 HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wire.answer()[0] == 200
        wire.close()


def test_a_handshake_that_is_not_finished_is_ended(driver, authority, monkeypatch):
    monkeypatch.setattr(tls_module, "HANDSHAKE_S", 0.2)
    with gateway(driver, server_tls(authority)) as world:
        silent = Wire(world.port)
        assert silent.until_closed() == b""
        wait_for(lambda: world.outcome("timeout") == 1)


def test_silent_connections_do_not_keep_honest_clients_out(driver, authority):
    with gateway(driver, server_tls(authority), max_handshakes=3) as world:
        silent = [Wire(world.port) for _ in range(5)]
        with connect(world.port, authority) as client:
            assert ask(client)[0] == 200
        wait_for(lambda: world.outcome("crowded_out") >= 2)
        assert silent[0].until_closed() == b""
        for wire in silent[1:]:
            wire.close()


def test_what_is_no_tls_at_all_is_closed(driver, authority):
    with gateway(driver, server_tls(authority)) as world:
        wire = Wire(world.port)
        wire.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"HTTP" not in wire.until_closed()
        wait_for(lambda: world.outcome("failed") == 1)


CERTIFIED = snapshot(route(auth=AuthMode.CERTIFICATE))


def mutual(authority, how):
    return server_tls(authority, client_ca_file=str(authority.file), client_certificates=how)


def only_record(rows):
    wait_for(lambda: rows.rows)
    return RequestRecord(*rows.rows[-1])


def test_a_client_is_known_by_its_certificate(driver, authority):
    shown = authority.files("client", ("CN", "robot"), ("O", "acme"), uris=("spiffe://acme/robot",))
    with gateway(driver, mutual(authority, "required"), CERTIFIED) as world:
        with connect(world.port, authority, shown=shown) as client:
            assert ask(client)[0] == 200
        principal = world.forwarder.calls[0].outbound.principal
        assert (principal.kind, principal.subject, principal.tenant) == ("certificate", "spiffe://acme/robot", "acme")
        assert only_record(world.rows).subject == "spiffe://acme/robot"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_still_knows_the_client(driver, authority, version):
    shown = authority.files("client", ("CN", "robot"))
    with gateway(driver, mutual(authority, "required"), CERTIFIED) as world:
        context = ssl.create_default_context(cafile=str(authority.file))
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(*shown)
        session = None
        for _ in range(2):
            raw = socket.create_connection(("127.0.0.1", world.port), timeout=5)
            with context.wrap_socket(raw, server_hostname="localhost", session=session) as client:
                assert ask(client)[0] == 200
                resumed, session = client.session_reused, client.session
        assert resumed


def test_without_a_certificate_an_optional_one_is_asked_for_by_the_route(driver, authority):
    with gateway(driver, mutual(authority, "optional"), CERTIFIED) as world, connect(world.port, authority) as client:
        status, fields, _ = ask(client)
        assert (status, fields[b"www-authenticate"]) == (401, b'Certificate realm="sentinel"')


def test_a_required_certificate_is_asked_for_in_the_handshake(driver, authority):
    with gateway(driver, mutual(authority, "required")) as world:
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)), connect(world.port, authority) as client:
            ask(client)
        assert not world.forwarder.calls


def test_a_certificate_of_another_authority_is_refused(driver, authority, tmp_path):
    (tmp_path / "other").mkdir()
    shown = Authority(tmp_path / "other", "Stranger").files("client", ("CN", "robot"))
    with gateway(driver, mutual(authority, "optional"), CERTIFIED) as world:
        with (
            pytest.raises((ssl.SSLError, ConnectionError, AssertionError)),
            connect(world.port, authority, shown=shown) as client,
        ):
            ask(client)
        assert not world.forwarder.calls


def test_an_expired_certificate_is_refused(driver, authority):
    shown = authority.files("client", ("CN", "robot"), days=-1)
    with gateway(driver, mutual(authority, "required"), CERTIFIED) as world:
        with (
            pytest.raises((ssl.SSLError, ConnectionError, AssertionError)),
            connect(world.port, authority, shown=shown) as client,
        ):
            ask(client)
        assert not world.forwarder.calls


def test_a_request_in_the_packet_that_ends_the_handshake_is_not_lost(driver, authority):
    """TLS 1.3: the client may send its request right behind its Finished."""
    context = ssl.create_default_context(cafile=str(authority.file))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with gateway(driver, server_tls(authority)) as world, socket.create_connection(("127.0.0.1", world.port)) as raw:
        raw.settimeout(5)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        raw.sendall(outgoing.read())
        while True:
            incoming.write(raw.recv(65536))
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                continue
            break
        client.write(b"GET /orders/1 HTTP/1.1\r\nhost: shop.example\r\n\r\n")
        raw.sendall(outgoing.read())  # Finished and the request at once
        answer = b""
        deadline = time.monotonic() + 5
        while b"hello" not in answer and time.monotonic() < deadline:
            incoming.write(raw.recv(65536))
            try:
                answer += client.read(65536)
            except ssl.SSLWantReadError:
                continue
        assert answer.startswith(b"HTTP/1.1 200")
