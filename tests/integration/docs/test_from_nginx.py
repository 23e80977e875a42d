"""docs/how-to/from-nginx.md, row by row: routes, and what becomes of requests and answers."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.docs.migration_page import Guide, Line, tried
from tests.integration.docs.migration_world import admitted, together
from tests.integration.edge.edge_world import Wire, wait_for
from tests.integration.edge.websocket_world import KEY, Origin, Peer
from tests.running import SECRET
from tests.tokens import signed

if TYPE_CHECKING:
    from tests.integration.docs.migration_world import Gateway

GUIDE = Guide("from-nginx.md")
HERE = Path(__file__).parent
ONE_TARGET = Line("[[upstreams]]", 'targets = ["http://10.0.0.5:9000"]')
BEHIND_US = Line("[server]", 'trusted_proxies = ["127.0.0.1"]')


def test_every_row_of_the_page_is_tried() -> None:
    assert tried(*HERE.glob("test_from_nginx*.py")) == set(GUIDE.rows)


# --- which requests ---


def test_a_server_name_is_a_host_of_the_route(at_work) -> None:
    with at_work("server_name api.example.com;") as gateway:
        assert gateway.ask(fields={"Host": "api.example.com"}).status == 200
        assert gateway.ask(fields={"Host": "other.example.com"}).status == 404


def test_an_exact_location_takes_that_path_alone(at_work) -> None:
    with at_work("location = /orders") as gateway:
        assert [gateway.ask(path).status for path in ("/orders", "/orders/", "/orders/1")] == [200, 404, 404]


def test_a_prefix_location_ends_at_whole_segments(at_work) -> None:
    with at_work("location /orders/") as gateway:
        asked = ("/orders", "/orders/", "/orders/1/2", "/ordersX")
        assert [gateway.ask(path).status for path in asked] == [200, 200, 200, 404]


def test_a_regular_expression_becomes_a_name_for_one_segment(at_work) -> None:
    with at_work("location ~ ^/orders/([0-9]+)/items$") as gateway:
        asked = ("/orders/7/items", "/orders/x/items", "/orders/7/8/items", "/orders//items")
        assert [gateway.ask(path).status for path in asked] == [200, 200, 404, 400]


def test_other_methods_get_405_and_are_told_which_there_are(at_work) -> None:
    with at_work("limit_except GET { deny all; }") as gateway:
        assert gateway.ask(method="HEAD").status == gateway.ask().status == 200
        refused = gateway.ask(method="POST")
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


def test_a_condition_on_a_header_decides_about_the_route(at_work) -> None:
    with at_work('if ($http_x_version = "2")') as gateway:
        assert gateway.ask(fields={"X-Version": "2"}).status == 200
        assert gateway.ask(fields={"X-Version": "3"}).status == 404


def test_a_condition_on_the_query_decides_about_the_route(at_work) -> None:
    with at_work('if ($arg_draft = "true")') as gateway:
        assert [gateway.ask(path).status for path in ("/orders/1?draft=true", "/orders/1")] == [200, 404]


@pytest.mark.parametrize("path", ["/orders/%6fne", "/orders//1", "/orders/../orders/1"])
def test_paths_that_nginx_would_rewrite_are_refused(at_work, path: str) -> None:
    with at_work("location /orders/") as gateway:
        assert gateway.ask(path).status == 400


# --- what the upstream gets ---


def test_without_a_path_in_proxy_pass_the_path_goes_on_as_it_came(at_work) -> None:
    with at_work("proxy_pass http://orders;") as gateway:
        assert gateway.ask("/orders/a%20b?x=1").path == "/orders/a%20b?x=1"


def test_a_slash_in_proxy_pass_is_strip_prefix(at_work) -> None:
    with at_work("proxy_pass http://orders/;") as gateway:
        assert [gateway.ask(path).path for path in ("/orders/1?x=1", "/orders/")] == ["/1?x=1", "/"]


def test_a_path_in_proxy_pass_is_a_rewrite(at_work) -> None:
    with at_work("proxy_pass http://orders/v2/;") as gateway:
        assert [gateway.ask(path).path for path in ("/orders/1/2?x=1", "/orders/")] == ["/v2/1/2?x=1", "/v2/"]


def test_a_rewrite_writes_the_whole_path(at_work) -> None:
    with at_work("rewrite ^/orders/(.*)/items$ /items/$1 break;") as gateway:
        assert gateway.ask("/orders/7/items?x=1").path == "/items/7?x=1"


def test_a_return_is_a_redirect_with_the_query(at_work) -> None:
    with at_work("return 301 https://new.example$request_uri;") as gateway:
        answer = gateway.ask("/orders/1?x=1")
        assert (answer.status, answer.headers["location"]) == (301, "https://new.example/orders/1?x=1")
    unsaid = Line("[[routes]]", 'redirect = "https://new.example/{rest}"')
    with at_work("return 301 https://new.example$request_uri;", unsaid) as gateway:
        assert gateway.ask().status == 308


def test_the_way_to_https_keeps_the_host(at_work) -> None:
    with at_work("return 301 https://$host$request_uri;") as gateway:
        answer = gateway.ask("/a/b?x=1", fields={"Host": "shop.example:8000"})
        assert (answer.status, answer.headers["location"]) == (301, "https://shop.example/a/b?x=1")


def test_the_host_of_the_client_goes_on(at_work) -> None:
    with at_work("proxy_set_header Host $host;") as gateway:
        assert gateway.ask(fields={"Host": "shop.example"}).saw["headers"]["host"] == "shop.example"


def test_another_host_can_be_set(at_work) -> None:
    with at_work("proxy_set_header Host orders.internal;") as gateway:
        assert gateway.ask(fields={"Host": "shop.example"}).saw["headers"]["host"] == "orders.internal"


def test_the_address_of_the_client_can_be_set(at_work) -> None:
    with at_work("proxy_set_header X-Real-IP $remote_addr;") as gateway:
        answer = gateway.ask(client="127.0.0.9", fields={"X-Real-IP": "192.0.2.1"})
        assert answer.saw["headers"]["x-real-ip"] == "127.0.0.9"


def test_what_a_stranger_claims_of_its_origin_is_dropped(at_work) -> None:
    with at_work("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;") as gateway:
        claimed = {"X-Forwarded-For": "192.0.2.1", "Host": "shop.example"}
        saw = gateway.ask(client="127.0.0.9", fields=claimed).saw["headers"]
        names = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")
        assert [saw[name] for name in names] == ["127.0.0.9", "http", "shop.example"]


def test_a_field_can_be_kept_from_the_upstream(at_work) -> None:
    with at_work('proxy_set_header Cookie "";') as gateway:
        assert "cookie" not in gateway.ask(fields={"Cookie": "a=b"}).saw["headers"]


def test_a_websocket_passes_without_a_line(trial, at_work) -> None:
    origin = Origin()
    trial.services.lead("10.0.0.5:9000", f"127.0.0.1:{origin.port}")
    with at_work("proxy_set_header Upgrade $http_upgrade;", ONE_TARGET) as gateway:
        wire = Wire(gateway.port)
        wire.send(
            b"GET /orders/live HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
        )
        upstream, _ = origin.take()
        assert wire.head()[0] == 101
        client = Peer(wire, masks=True)
        client.send(1, b"hello")
        assert upstream.receive() == (1, b"hello")
        wire.close()
    origin.clear()


def test_bodies_stream_both_ways(trial, at_work) -> None:
    origin = Origin()
    trial.services.lead("10.0.0.5:9000", f"127.0.0.1:{origin.port}")
    with at_work("proxy_buffering off;", ONE_TARGET) as gateway:
        client = Wire(gateway.port)
        client.send(b"POST /orders/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf")
        upstream = origin.connection()
        upstream.request()
        assert upstream.body(4) == b"half"
        client.send(b"done")
        assert upstream.body(4) == b"done"
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        assert client.head()[0] == 200
        assert client.body(4) == b"half"
        upstream.send(b"done")
        assert client.body(4) == b"done"
        client.close()
    origin.clear()


def test_a_mirror_gets_copies_of_short_requests(trial, at_work) -> None:
    copies = trial.services["10.0.0.7"].seen
    with at_work("mirror /copy;") as gateway:
        assert gateway.ask(method="POST", body=b"x" * 65536).status == 200
        wait_for(lambda: copies)
        assert (copies[0]["path"], copies[0]["body"]) == ("/orders/1", 65536)
        assert gateway.ask(method="POST", body=b"x" * 65537).status == 200
        assert gateway.ask("/orders/2").status == 200
        wait_for(lambda: len(copies) == 2)
        assert copies[1]["path"] == "/orders/2"


def test_a_split_keeps_callers_where_they_are(trial, at_work) -> None:
    with at_work("split_clients $remote_addr $to { 5% orders-v2; * orders; }") as gateway:
        clients = [f"127.0.1.{number}" for number in range(1, 201)]
        new = {client for client in clients if gateway.target(client=client) == "10.0.0.7"}
        assert 1 <= len(new) <= 20
        assert all(gateway.target(client=client) == "10.0.0.7" for client in new)
    by_turns = Line("[[routes]]", 'sticky = ""')
    before = trial.services.shares()["10.0.0.7"]
    with at_work("split_clients $remote_addr $to { 5% orders-v2; * orders; }", by_turns) as gateway:
        assert set(gateway.statuses(40)) == {200}
        assert trial.services.shares()["10.0.0.7"] - before == 2


# --- what clients get ---


def test_a_field_is_put_on_answers_of_the_upstream_whatever_their_status(trial, at_work) -> None:
    with at_work("add_header Cache-Control private;", ONE_TARGET) as gateway:
        origin = trial.services["10.0.0.5"]
        origin.fields = {"Cache-Control": "public"}
        origin.answer = lambda _method, path: (404 if path.endswith("missing") else 200, b"")
        for path in ("/orders/1", "/orders/missing"):
            assert gateway.ask(path).headers["cache-control"] == "private"
        assert gateway.ask("/elsewhere").headers["cache-control"] == "no-store"
    adding = Line("[[routes]]", 'response_headers = { add = { Cache-Control = "no-transform" } }')
    with at_work("add_header Cache-Control private;", ONE_TARGET, adding) as gateway:
        assert gateway.ask().headers["cache-control"] == "public, no-transform"


def test_a_field_of_the_upstream_can_be_hidden(trial, at_work) -> None:
    for address in ("10.0.0.5", "10.0.0.6"):
        trial.services[address].fields = {"X-Powered-By": "a secret"}
    with at_work("proxy_hide_header X-Powered-By;") as gateway:
        assert "x-powered-by" not in gateway.ask().headers


def test_security_headers_stand_on_every_answer(at_work) -> None:
    with at_work("add_header X-Frame-Options DENY always;") as gateway:
        assert [gateway.ask(path).headers["x-frame-options"] for path in ("/orders/1", "/elsewhere")] == ["DENY"] * 2
    with at_work("add_header X-Frame-Options DENY always;", Line("[server]", "security_headers = true")) as gateway:
        assert gateway.ask().headers["x-content-type-options"] == "nosniff"


def test_the_gateway_does_not_name_itself_and_can_hide_the_name_of_the_service(at_work) -> None:
    with at_work("server_tokens off;") as gateway:
        assert "server" not in gateway.ask().headers
        assert "server" not in gateway.ask("/elsewhere").headers
    with at_work("proxy_pass http://orders;") as gateway:
        assert gateway.ask().headers["server"].startswith("BaseHTTP")


@pytest.mark.parametrize(
    ("media_type", "coded"), [("application/json", True), ("text/css", True), ("image/png", False)]
)
def test_answers_are_compressed_by_their_type(
    trial,
    at_work,
    media_type: str,
    coded: bool,  # noqa: FBT001 - a case of the table
) -> None:
    origin = trial.services["10.0.0.5"]
    origin.fields, origin.answer = {"Content-Type": media_type}, lambda *_: (200, b"x" * 2000)
    with at_work("gzip on;", ONE_TARGET) as gateway:
        answer = gateway.ask(fields={"Accept-Encoding": "gzip"})
        assert (answer.headers.get("content-encoding") == "gzip") is coded
        assert (gzip.decompress(answer.body) if coded else answer.body) == b"x" * 2000
        assert "content-encoding" not in gateway.ask().headers


def test_short_answers_are_not_compressed(trial, at_work) -> None:
    origin = trial.services["10.0.0.5"]
    origin.fields = {"Content-Type": "text/plain"}
    origin.answer = lambda _method, path: (200, b"x" * int(path.rpartition("/")[2]))

    def is_coded(gateway: Gateway, length: int) -> bool:
        return "content-encoding" in gateway.ask(f"/orders/{length}", fields={"Accept-Encoding": "gzip"}).headers

    with at_work("gzip_min_length 4096;", ONE_TARGET) as gateway:
        assert [is_coded(gateway, length) for length in (4095, 4096)] == [False, True]
    with at_work("gzip on;", ONE_TARGET) as gateway:
        assert [is_coded(gateway, length) for length in (1023, 1024)] == [False, True]


# --- who, and how many ---


def from_address(gateway: Gateway, address: str) -> int:
    return gateway.ask(fields={"X-Forwarded-For": address}).status


def test_a_list_of_allowed_networks_denies_all_others(at_work) -> None:
    with at_work("allow 10.0.0.0/8; deny all;", BEHIND_US) as gateway:
        assert [from_address(gateway, address) for address in ("10.1.2.3", "192.0.2.1")] == [200, 403]
    besides = Line("[[routes]]", 'deny = ["10.1.0.0/16"]')
    with at_work("allow 10.0.0.0/8; deny all;", BEHIND_US, besides) as gateway:
        assert [from_address(gateway, address) for address in ("10.1.2.3", "10.2.0.1")] == [403, 200]


def test_a_denied_network_gets_403(at_work) -> None:
    with at_work("deny 192.0.2.0/24;", BEHIND_US) as gateway:
        assert [from_address(gateway, address) for address in ("192.0.2.1", "192.0.3.1")] == [403, 200]


@pytest.mark.parametrize("row", ["with nodelay", "without"])
def test_burst_and_one_more_come_at_once_and_nobody_is_delayed(at_work, row: str) -> None:
    started = (
        at_work("limit_req zone=one burst=20 nodelay;")
        if row == "with nodelay"
        else at_work("limit_req zone=one burst=20;")
    )
    with started as gateway:
        through, took_s = admitted(gateway, 40)
        assert 21 <= through <= 22 + 10 * took_s


def test_without_a_burst_requests_are_spaced_evenly_only_if_it_is_one(at_work) -> None:
    with at_work("limit_req zone=one;") as gateway:
        through, took_s = admitted(gateway, 15)
        assert 1 <= through <= 2 + 10 * took_s
    with at_work("limit_req zone=one;", Line("[[routes]]", 'limit = "10/s per client"')) as gateway:
        assert admitted(gateway, 15)[0] >= 10


def test_so_many_may_be_under_way_at_once(trial, at_work) -> None:
    leave = threading.Event()
    for address in ("10.0.0.5", "10.0.0.6"):
        trial.services[address].answer = lambda *_: (200 if leave.wait(10) else 500, b"")
    with at_work("limit_conn addr 10;") as gateway:
        held = threading.Thread(target=lambda: together(10, lambda _: gateway.ask()))
        held.start()
        wait_for(lambda: sum(trial.services.shares().values()) == 10)
        assert gateway.ask().status == 429
        leave.set()
        assert gateway.ask(client="127.0.0.2").status == 200
        held.join(10)
        assert gateway.ask().status == 200


def test_a_limit_in_shadow_refuses_nobody(at_work) -> None:
    with at_work("limit_req_dry_run on;") as gateway:
        assert set(gateway.statuses(40)) == {200}
        assert gateway.counted("sentinel_rate_limit_shadowed_total") >= 1


def test_a_longer_body_is_answered_413(at_work) -> None:
    with at_work("client_max_body_size 1m;") as gateway:
        assert gateway.ask(method="POST", body=b"x" * 2**20).saw["body"] == 2**20
        wire = Wire(gateway.port)
        wire.send(b"POST /orders/1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2**20 + 1))
        assert wire.head()[0] == 413
        wire.close()


def test_tokens_are_verified_and_the_service_is_told_who_it_is(at_work) -> None:
    token = signed({"sub": "ana", "exp": 4_000_000_000}, SECRET, "HS256")
    with at_work("auth_request /check;") as gateway:
        assert gateway.ask().status == 401
        answer = gateway.ask(fields={"Authorization": f"Bearer {token}"})
        assert answer.saw["headers"]["x-sentinel-subject"] == "ana"
