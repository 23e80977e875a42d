"""docs/how-to/from-kong.md, row by row: services, routes, and the plugins for traffic, requests and answers."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import servers
from tests.integration.docs.migration_origins import raw_origin
from tests.integration.docs.migration_page import Guide, Line, tried
from tests.integration.docs.migration_world import admitted
from tests.integration.edge.edge_world import Wire
from tests.running import SECRET
from tests.tokens import signed

if TYPE_CHECKING:
    from tests.integration.docs.migration_world import Gateway

GUIDE = Guide("from-kong.md")
HERE = Path(__file__).parent
ONE_TARGET = Line("[[upstreams]]", 'targets = ["http://10.0.0.5:9000"]')
BEHIND_US = Line("[server]", 'trusted_proxies = ["127.0.0.1"]')


def bearer(subject: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {signed({'sub': subject, 'exp': 4_000_000_000}, SECRET, 'HS256')}"}


def test_every_row_of_the_page_is_tried() -> None:
    assert tried(*HERE.glob("test_from_kong*.py")) == set(GUIDE.rows)


# --- services and routes ---


def test_a_path_ends_at_whole_segments(at_work) -> None:
    with at_work("strip_path: false") as gateway:
        assert gateway.ask("/orders/1?x=1").path == "/orders/1?x=1"
        assert [gateway.ask(path).status for path in ("/orders", "/ordersX")] == [200, 404]


def test_a_path_can_be_stripped(at_work) -> None:
    with at_work("strip_path: true") as gateway:
        assert [gateway.ask(path).path for path in ("/orders/1", "/orders")] == ["/1", "/"]


def test_a_regular_expression_becomes_a_name_for_one_segment(at_work) -> None:
    with at_work(r'paths: ["~/orders/(?<id>\\d+)/items$"]') as gateway:
        asked = ("/orders/7/items", "/orders/x/items", "/orders/7/8/items")
        assert [gateway.ask(path).status for path in asked] == [200, 200, 404]


def test_other_methods_get_405(at_work) -> None:
    with at_work("methods: [GET]") as gateway:
        refused = gateway.ask(method="POST")
        assert (gateway.ask().status, refused.status, refused.headers["allow"]) == (200, 405, "GET")


def test_a_route_can_be_for_a_host(at_work) -> None:
    with at_work("hosts: [api.example.com]") as gateway:
        hosts = ("api.example.com", "other.example.com")
        assert [gateway.ask(fields={"Host": host}).status for host in hosts] == [200, 404]


def test_a_route_can_ask_for_a_header(at_work) -> None:
    with at_work('headers: { x-version: ["2"] }') as gateway:
        assert [gateway.ask(fields={"X-Version": version}).status for version in "23"] == [200, 404]


def test_the_host_of_the_client_goes_on(at_work) -> None:
    with at_work("preserve_host: true") as gateway:
        assert gateway.ask(fields={"Host": "shop.example"}).saw["headers"]["host"] == "shop.example"


def test_another_host_can_be_set(at_work) -> None:
    with at_work("host_header: orders.internal") as gateway:
        assert gateway.ask(fields={"Host": "shop.example"}).saw["headers"]["host"] == "orders.internal"


def test_a_service_can_have_a_path(at_work) -> None:
    with at_work("path: /v2") as gateway:
        assert gateway.ask("/orders/1?x=1").path == "/v2/1?x=1"


def test_answers_stream(trial, at_work) -> None:
    with raw_origin(trial.services) as origin, at_work("response_buffering: false", ONE_TARGET) as gateway:
        client = Wire(gateway.port)
        client.send(b"GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        upstream = origin.connection()
        upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        assert client.head()[0] == 200
        assert client.body(4) == b"half"
        upstream.send(b"done")
        assert client.body(4) == b"done"
        client.close()


def test_what_got_no_answer_is_tried_elsewhere(trial, at_work) -> None:
    refusing = Line("[[upstreams]]", f'targets = ["http://127.0.0.1:{servers.free_port()}", "http://10.0.0.6:9000"]')
    with at_work("retries: 5", refusing) as gateway:
        assert gateway.statuses(6, method="POST") == [200] * 6
    with socket.create_server(("127.0.0.1", 0)) as listener:
        trial.services.lead("10.0.0.5:9000", f"127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=_hang_up, args=(listener,), daemon=True).start()
        with at_work("retries: 5") as gateway:
            assert gateway.statuses(6) == [200] * 6
            assert sorted(gateway.statuses(4, method="POST")) == [200, 200, 502, 502]


def _hang_up(listener: socket.socket) -> None:
    """Read each request, and end the connection instead of answering."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)


def test_the_way_to_https_keeps_host_and_path(at_work) -> None:
    with at_work("https_redirect_status_code: 301") as gateway:
        answer = gateway.ask("/a?x=1", fields={"Host": "shop.example"})
        assert (answer.status, answer.headers["location"]) == (301, "https://shop.example/a?x=1")


# --- traffic ---


def test_a_limit_per_address_fills_evenly(at_work) -> None:
    with at_work("rate-limiting: { minute: 60, limit_by: ip }") as gateway:
        through, took_s = admitted(gateway, 70)
        assert 60 <= through <= 61 + took_s
        assert gateway.ask(client="127.0.0.2").status == 200


def test_limits_of_a_caller_live_in_redis(trial, at_work, redis_url: str) -> None:
    trial.services.lead("redis://cache.internal:6379/0", redis_url)
    with at_work("rate-limiting: { second: 5, hour: 1000, policy: redis }") as gateway:
        answers = [gateway.ask(fields=bearer("ana of the guide")) for _ in range(12)]
        assert 429 in [answer.status for answer in answers]
        assert answers[0].headers["ratelimit-policy"].count("w=") == 2
        assert gateway.ask(fields=bearer("bob of the guide")).status == 200


def test_a_route_can_be_closed_or_open_without_redis(trial, at_work) -> None:
    trial.services.lead("cache.internal:6379", f"127.0.0.1:{servers.free_port()}")
    with at_work("rate-limiting: { fault_tolerant: false }") as gateway:
        assert gateway.ask().status == 503
    opened = Line("[[routes]]", 'limit_unavailable = "open"')
    with at_work("rate-limiting: { fault_tolerant: false }", opened) as gateway:
        assert set(gateway.statuses(70)) == {200}


def test_a_burst_says_how_many_come_at_once(at_work) -> None:
    with at_work("rate-limiting-advanced: { limit: [60], window_size: [60] }") as gateway:
        through, took_s = admitted(gateway, 20)
        assert 10 <= through <= 11 + took_s


def test_a_longer_body_is_answered_413_also_when_it_is_not_announced(at_work) -> None:
    with at_work("request-size-limiting: { allowed_payload_size: 1 }") as gateway:
        assert gateway.ask(method="POST", body=b"x" * 2**20).status == 200
        announced, chunked = Wire(gateway.port), Wire(gateway.port)
        announced.send(b"POST /orders/1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2**20 + 1))
        assert announced.head()[0] == 413
        chunked.send(b"POST /orders/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunked.send(b"%x\r\n" % (2**20 + 1) + b"x" * (2**20 + 1))
        assert chunked.head()[0] == 413
        announced.close()
        chunked.close()


def from_address(gateway: Gateway, address: str) -> int:
    return gateway.ask(fields={"X-Forwarded-For": address}).status


def test_a_list_of_allowed_networks_refuses_the_others(at_work) -> None:
    with at_work("ip-restriction: { allow: [10.0.0.0/8] }", BEHIND_US) as gateway:
        assert [from_address(gateway, address) for address in ("10.1.2.3", "192.0.2.1")] == [200, 403]


def test_denied_networks_are_refused_before_allowed_ones_pass(at_work) -> None:
    also = Line("[[routes]]", 'allow = ["192.0.0.0/8"]')
    with at_work("ip-restriction: { deny: [192.0.2.0/24] }", BEHIND_US, also) as gateway:
        assert [from_address(gateway, address) for address in ("192.0.2.1", "192.0.3.1")] == [403, 200]


def test_a_route_can_be_closed_to_everyone(trial, at_work) -> None:
    with at_work("request-termination: { status_code: 503 }") as gateway:
        assert gateway.ask().status == 403
    assert set(trial.services.shares().values()) == {0}


def test_a_canary_by_share_keeps_callers_where_they_are(at_work) -> None:
    with at_work("canary: { percentage: 5, hash: ip }") as gateway:
        new = {number for number in range(1, 201) if gateway.target(client=f"127.0.1.{number}") == "10.0.0.7"}
        assert 1 <= len(new) <= 20
        assert all(gateway.target(client=f"127.0.1.{number}") == "10.0.0.7" for number in new)


def test_a_canary_by_header_is_sent_where_it_asks(at_work) -> None:
    with at_work("canary: { canary_by_header_name: X-Canary }") as gateway:
        assert {gateway.target(fields={"X-Canary": "always"}) for _ in range(5)} == {"10.0.0.7"}
        assert {gateway.target(fields={"X-Canary": "never"}) for _ in range(45)} == {"10.0.0.5", "10.0.0.6"}


# --- requests and answers ---


def test_pages_of_named_origins_may_call(trial, at_work) -> None:
    with at_work("cors: { origins: [https://app.example], credentials: true }") as gateway:
        asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "PUT"}
        preflight = gateway.ask(method="OPTIONS", fields=asking)
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-credentials"] == "true"
        assert set(trial.services.shares().values()) == {0}
        assert gateway.ask(fields=asking).headers["access-control-allow-origin"] == "https://app.example"
        other = gateway.ask(fields={"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_request_field_can_be_removed(at_work) -> None:
    with at_work("request-transformer: { remove: { headers: [Cookie] } }") as gateway:
        assert "cookie" not in gateway.ask(fields={"Cookie": "a=b"}).saw["headers"]


@pytest.mark.parametrize("sent", [{}, {"X-Env": "test"}])
def test_a_request_field_is_set_whether_it_was_there_or_not(at_work, sent: dict[str, str]) -> None:
    with at_work('request-transformer: { replace: { headers: ["X-Env:prod"] } }') as gateway:
        assert gateway.ask(fields=sent).saw["headers"]["x-env"] == "prod"


def test_a_request_field_can_be_added_beside(trial, at_work) -> None:
    with (
        raw_origin(trial.services) as origin,
        at_work('request-transformer: { append: { headers: ["X-Env:prod"] } }', ONE_TARGET) as gateway,
    ):
        client = Wire(gateway.port)
        client.send(b"GET /orders/1 HTTP/1.1\r\nHost: a\r\nX-Env: test\r\n\r\n")
        upstream = origin.connection()
        while b"\r\n\r\n" not in upstream.rest:
            upstream.rest += upstream.socket.recv(65536)
        lines = upstream.rest.lower().split(b"\r\n")
        assert [line for line in lines if line.startswith(b"x-env")] == [b"x-env: test", b"x-env: prod"]
        client.close()


def test_the_whole_path_can_be_replaced(at_work) -> None:
    with at_work("request-transformer: { replace: { uri: /v2/items } }") as gateway:
        assert gateway.ask("/orders/7?x=1").path == "/v2/items?x=1"


def test_an_answer_field_can_be_removed(trial, at_work) -> None:
    trial.services["10.0.0.5"].fields = {"X-Powered-By": "a secret"}
    with at_work("response-transformer: { remove: { headers: [X-Powered-By] } }", ONE_TARGET) as gateway:
        assert "x-powered-by" not in gateway.ask().headers


def test_an_answer_field_can_be_added_beside(trial, at_work) -> None:
    trial.services["10.0.0.5"].fields = {"X-Env": "test"}
    with at_work('response-transformer: { append: { headers: ["X-Env:prod"] } }', ONE_TARGET) as gateway:
        assert gateway.ask().headers["x-env"] == "test, prod"
        assert "x-env" not in gateway.ask("/elsewhere").headers


def test_a_redirect_keeps_the_path_that_is_written_out(at_work) -> None:
    with at_work("redirect: { location: https://new.example, keep_incoming_path: true }") as gateway:
        answer = gateway.ask("/orders/1?x=1")
        assert (answer.status, answer.headers["location"]) == (301, "https://new.example/orders/1?x=1")


def test_a_request_has_one_number_on_both_sides(at_work) -> None:
    with at_work("correlation-id: { echo_downstream: true }") as gateway:
        answer = gateway.ask(fields={"X-Request-Id": "from-the-client"})
        assert answer.headers["x-request-id"] == answer.saw["headers"]["x-request-id"] == "from-the-client"
        answer = gateway.ask()
        assert answer.headers["x-request-id"] == answer.saw["headers"]["x-request-id"]
