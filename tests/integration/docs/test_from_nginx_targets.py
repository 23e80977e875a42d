"""docs/how-to/from-nginx.md, row by row: targets, the listener, and what only the whole program shows."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.proxy.pool import IDLE_S
from tests import servers
from tests.certificates import Authority
from tests.integration.docs.migration_origins import (
    client_context,
    held,
    raw_origin,
    send_until_refused,
    tls_origin,
    unreachable_origin,
)
from tests.integration.docs.migration_page import Guide, Line, completed
from tests.integration.docs.migration_world import ask, together
from tests.integration.edge.edge_world import Wire, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests import running

GUIDE = Guide("from-nginx.md")
ONE_TARGET = Line("[[upstreams]]", 'targets = ["http://10.0.0.5:9000"]')


# --- targets ---


def test_weights_make_the_same_rotation(trial, at_work) -> None:
    with at_work("server 10.0.0.5:9000 weight=3;") as gateway:
        turns = [gateway.target() for _ in range(8)]
    assert turns == ["10.0.0.5", "10.0.0.5", "10.0.0.6", "10.0.0.5"] * 2


def test_a_target_can_be_a_unix_socket(trial, at_work, tmp_path: Path) -> None:
    place = tmp_path / "orders.sock"
    trial.services.lead("/run/orders.sock", str(place))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        with at_work("server unix:/run/orders.sock;") as gateway:
            assert gateway.ask().body == b"unix"
        thread.join(5)


@pytest.mark.parametrize("row", ["random two", "least"])
def test_the_target_with_fewer_requests_under_way_is_taken(trial, at_work, row: str) -> None:
    started = at_work("random two least_conn;") if row == "random two" else at_work("least_conn;")
    busy, free = trial.services["10.0.0.5"].seen, trial.services["10.0.0.6"].seen
    with started as gateway, held(trial.services["10.0.0.5"]):
        for number in range(40):  # until one is drawn for the target that is held
            threading.Thread(target=gateway.ask).start()
            wait_for(lambda number=number: len(busy) + len(free) == number + 1)
            if busy:
                break
        assert {gateway.target() for _ in range(10)} == {"10.0.0.6"}


def test_a_client_stays_with_its_target_by_its_whole_address(at_work) -> None:
    with at_work("ip_hash;") as gateway:
        clients = [f"127.0.0.{number}" for number in range(1, 21)]
        met = [{gateway.target(client=client), gateway.target(client=client)} for client in clients]
        assert {"10.0.0.5"} in met
        assert all(targets in ({"10.0.0.5"}, {"10.0.0.6"}) for targets in met)
        assert {"10.0.0.6"} in met


def test_a_header_can_decide_about_the_target(at_work) -> None:
    with at_work("hash $http_x_user consistent;") as gateway:
        met = [
            {gateway.target(fields={"X-User": name}, client=client) for client in ("127.0.0.7", "127.0.0.8")}
            for name in "abcdefghijkl"
        ]
        assert {"10.0.0.5"} in met
        assert all(targets in ({"10.0.0.5"}, {"10.0.0.6"}) for targets in met)
        assert {"10.0.0.6"} in met


def test_three_failures_in_a_row_take_a_target_out_and_none_do_without_outlier(trial, at_work) -> None:
    bad = trial.services["10.0.0.5"]
    bad.answer = lambda *_: (500, b"")
    with at_work("server 10.0.0.5:9000 max_fails=3 fail_timeout=30s;") as gateway:
        assert sorted(gateway.statuses(20)) == [200] * 17 + [500] * 3
    with at_work("keepalive 32;") as gateway:
        assert gateway.statuses(20).count(500) == 10


def test_a_target_has_so_many_connections_at_most(trial, at_work) -> None:
    origin = trial.services["10.0.0.5"]
    with at_work("server 10.0.0.5:9000 max_conns=100;", ONE_TARGET) as gateway, held(origin):
        asking = threading.Thread(target=lambda: answers.extend(together(103, lambda _: gateway.ask())))
        answers: list[Any] = []
        asking.start()
        wait_for(lambda: len(origin.seen) == 100)
        time.sleep(0.1)
        assert len(origin.seen) == 100
        origin.answer = None
    asking.join(10)
    assert [answer.status for answer in answers] == [200] * 103


def test_a_target_that_comes_gains_weight_slowly(trial, at_work) -> None:
    row = "server 10.0.0.5:9000 slow_start=30s;"
    with at_work("server 10.0.0.5:9000 slow_start=30s;", ONE_TARGET) as gateway:
        assert set(gateway.statuses(5)) == {200}
        gateway.apply(GUIDE.whole(row))
        assert set(gateway.statuses(60)) == {200}
        assert 0 < trial.services.shares()["10.0.0.6"] <= 6


def test_connections_to_targets_are_kept_for_a_while(trial, at_work) -> None:
    assert IDLE_S == 4
    with raw_origin(trial.services) as origin, at_work("keepalive 32;", ONE_TARGET) as gateway:
        asking = threading.Thread(target=gateway.statuses, args=(2,))
        asking.start()
        upstream = origin.connection()
        for _ in range(2):
            upstream.request()
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        asking.join(5)
        assert origin.untouched()


def test_connecting_takes_so_long_at_most(trial, at_work) -> None:
    with unreachable_origin(trial.services), at_work("proxy_connect_timeout 500ms;", ONE_TARGET) as gateway:
        answer = gateway.ask()
        assert (answer.status, answer.problem) == (502, "no connection within 0.5 s")


def test_an_answer_begins_and_goes_on_within_the_timeout(trial, at_work) -> None:
    with raw_origin(trial.services) as origin, at_work("proxy_read_timeout 1s;", ONE_TARGET) as gateway:
        silent, stalled = Wire(gateway.port), Wire(gateway.port)
        silent.send(b"GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        origin.connection().request()
        stalled.send(b"GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        upstream = origin.connection()
        upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        assert stalled.head()[0] == 200
        assert silent.head()[0] == 504
        assert stalled.until_closed() == b"half"
        silent.close()


def test_a_service_that_takes_nothing_of_a_request_is_given_up(trial, at_work) -> None:
    with raw_origin(trial.services), at_work("proxy_send_timeout 1s;", ONE_TARGET) as gateway:
        client = Wire(gateway.port)
        size = 64 * 2**20
        client.send(b"POST /orders/1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        sending = threading.Thread(target=send_until_refused, args=(client, size), daemon=True)
        sending.start()
        assert client.head()[0] == 504
        client.close()
        sending.join(5)


def test_names_of_targets_are_looked_up_by_the_system(trial, at_work) -> None:
    trial.services.lead("localhost:9000", f"localhost:{trial.services['10.0.0.5'].port}")
    with at_work("resolver 10.0.0.2 valid=10s;") as gateway:
        assert gateway.ask().status == 200
        assert gateway.snapshot.upstreams[0].resolve_s == 10


def test_what_failed_is_tried_again_elsewhere_if_that_does_no_harm(trial, at_work) -> None:
    trial.services["10.0.0.5"].answer = lambda *_: (503, b"")
    with at_work("proxy_next_upstream error timeout http_503;") as gateway:
        assert gateway.statuses(10) == [200] * 10
        assert sorted(gateway.statuses(4, method="POST")) == [200, 200, 503, 503]
    with at_work("keepalive 32;") as gateway:
        assert sorted(gateway.statuses(4)) == [200, 200, 503, 503]
    trial.services.lead("10.0.0.5:9000", f"127.0.0.1:{servers.free_port()}")
    with at_work("keepalive 32;") as gateway:
        assert gateway.statuses(6, method="POST") == [200] * 6


# --- TLS to targets ---


def test_targets_are_verified_by_our_own_authority_and_name(trial, at_work) -> None:
    with tls_origin(trial.services, trial.services.authority, "orders.internal") as asked:
        with at_work("proxy_ssl_trusted_certificate /etc/sentinel/tls/internal-ca.pem;") as gateway:
            assert gateway.ask().status == 200
        assert asked == ["orders.internal"]


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_a_target_that_is_not_who_it_should_be_gets_no_request(trial, at_work, tmp_path: Path, wrong: str) -> None:
    authority = Authority(tmp_path, "Stranger") if wrong == "authority" else trial.services.authority
    name = "orders.internal" if wrong == "authority" else "other.internal"
    origin = tls_origin(trial.services, authority, name)
    with origin, at_work("proxy_ssl_trusted_certificate /etc/sentinel/tls/internal-ca.pem;") as gateway:
        assert gateway.ask().status == 502


def test_targets_are_shown_our_certificate(trial, at_work) -> None:
    origin = tls_origin(trial.services, trial.services.authority, "orders.internal", asks=True)
    with origin as asked, at_work("proxy_ssl_certificate /etc/sentinel/tls/gateway.pem;") as gateway:
        assert gateway.ask().status == 200
    assert asked == ["orders.internal"]


# --- the listener ---


def test_the_client_behind_trusted_proxies_is_believed(trial, at_work) -> None:
    trial.services.lead("10.0.0.0/8", "127.0.0.0/8")
    with at_work("set_real_ip_from 10.0.0.0/8;", Line("[[routes]]", 'deny = ["192.0.2.1"]')) as gateway:
        assert gateway.ask(fields={"X-Forwarded-For": "192.0.2.1, 127.0.0.5"}).status == 403
        assert gateway.ask(fields={"X-Forwarded-For": "192.0.2.1, 192.0.2.2, 127.0.0.5"}).status == 200
        assert gateway.ask(fields={"X-Real-IP": "192.0.2.1"}).status == 200


def test_a_longer_head_is_answered_431(at_work) -> None:
    with at_work("large_client_header_buffers 4 8k;") as gateway:
        assert gateway.ask(fields={"X-Long": "x" * 32000}).status == 200
        assert gateway.ask(fields={"X-Long": "x" * 33000}).status == 431


def test_clients_are_answered_over_tls(trial, at_work) -> None:
    with at_work("ssl_certificate /etc/sentinel/tls/fullchain.pem;") as gateway:
        answer = gateway.ask(tls=client_context(trial.services))
        assert answer.saw["headers"]["x-forwarded-proto"] == "https"


def test_old_versions_of_tls_can_be_refused(trial, at_work) -> None:
    old = client_context(trial.services)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with at_work("ssl_certificate /etc/sentinel/tls/fullchain.pem;") as gateway:
        assert gateway.ask(tls=old).status == 200
    with at_work("ssl_protocols TLSv1.3;") as gateway:
        assert gateway.ask(tls=client_context(trial.services)).status == 200
        with pytest.raises(ssl.SSLError):
            gateway.ask(tls=old)


def test_clients_without_a_certificate_can_be_refused_in_the_handshake(trial, at_work) -> None:
    known = trial.services.authority.files("robot", ("CN", "robot"))
    with at_work("ssl_verify_client on;") as gateway:
        assert gateway.ask(tls=client_context(trial.services, *known)).status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            gateway.ask(tls=client_context(trial.services))


def test_a_route_can_ask_for_a_certificate(trial, at_work) -> None:
    known = trial.services.authority.files("robot", ("CN", "robot"), ("O", "acme"))
    with at_work("ssl_verify_client optional;") as gateway:
        assert gateway.ask(tls=client_context(trial.services)).status == 401
        saw = gateway.ask(tls=client_context(trial.services, *known)).saw["headers"]
        assert (saw["x-sentinel-subject"], saw["x-sentinel-tenant"]) == ("robot", "acme")


# --- the whole program ---


def test_the_program_listens_watches_records_and_follows_its_file(trial, as_program) -> None:
    sick = trial.services["10.0.0.5"]
    sick.answer = lambda _method, path: (500 if path == "/healthz" else 200, b"")
    with as_program(
        "listen 0.0.0.0:8000;",
        "worker_processes 4;",
        "health_check uri=/healthz interval=1s fails=3 passes=2;",
        "access_log /var/log/nginx/access.log;",
        "stub_status;",
        "nginx -s reload",
    ) as program:
        with socket.create_connection(("127.0.0.2", program.port), timeout=5):
            assert program.has_child("worker 4")

        # The target whose probes fail gets no more requests.
        program.wait(lambda: "target.unhealthy" in program.log.read_text(), 15, "the target is out")
        wait_for(lambda: _asked_without(program, sick), 5)

        # Every request is a record, and a number.
        program.wait(program.records, 5, "records")
        record = program.records()[0]
        assert (record["route"], record["status"], record["upstream"]) == ("orders", 200, "orders")
        assert ask(program.admin_port, "/metrics").body.count(b"sentinel_requests_total{") >= 1

        # A changed file is applied.
        assert ask(program.port, "/later").status == 404
        changed = completed(program.config.read_text(), [Line("[[routes]]", 'match = { path = "/later" }')])
        program.write(changed)
        program.wait(lambda: ask(program.port, "/later").status == 200, 10, "the new route")
        assert program.sentinel("check", "--config", str(program.config)).returncode == 0


def _asked_without(program: running.Gateway, sick: running.Origin) -> bool:
    """Whether ten requests come to others."""
    before = len([saw for saw in sick.seen if saw["path"] != "/healthz"])
    assert {ask(program.port).status for _ in range(10)} == {200}
    return len([saw for saw in sick.seen if saw["path"] != "/healthz"]) == before
