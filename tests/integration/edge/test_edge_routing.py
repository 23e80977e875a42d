"""Conditions, splits and redirects on the wire, over every driver, with the router and head writer of a worker."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from gateway.domain.access import AuthMode
from gateway.domain.routing import FieldMatch, HeaderRules, Redirect, Split, SplitShare
from gateway.domain.traffic import RequestRecord
from gateway.domain.upstreams import Target, Upstream
from gateway.proxy.headers import request_head
from gateway.proxy.router import Router
from tests.integration.edge.edge_world import FakeForwarder, Wire, get, wait_for
from tests.unit.edge.edge_values import PER_CLIENT, Rows, route, snapshot, steps

NEXT = Upstream(name="next", targets=(Target(name="127.0.0.1:2", host="127.0.0.1", port=2),))
ORDERS = Upstream(name="orders", targets=(Target(name="127.0.0.1:1", host="127.0.0.1", port=1),))


@contextmanager
def gateway(driver, *routes, forwarder=None):
    rows = Rows()
    given = snapshot(*routes, upstreams=(ORDERS, NEXT))
    with driver(steps(given, records=rows, make_router=Router), forwarder or FakeForwarder()) as port:
        yield port, rows


def test_a_redirect_answers_by_itself_and_keeps_the_connection_whole(driver):
    forwarder = FakeForwarder()
    old = route(name="old", path="/old/*", upstream="", redirect=Redirect(to="https://new.example/{rest}", status=307))
    with gateway(driver, old, route(), forwarder=forwarder) as (port, rows):
        wire = Wire(port)
        wire.send(b"GET /old/a/b?x=1 HTTP/1.1\r\nhost: a\r\n\r\nGET /orders/1 HTTP/1.1\r\nhost: a\r\n\r\n")
        status, fields, body = wire.answer()
        assert (status, body) == (307, b"")
        assert fields[b"location"] == b"https://new.example/a/b?x=1"
        assert fields[b"content-length"] == b"0"
        assert fields[b"x-request-id"]
        assert wire.answer()[0] == 200
        wire.close()
        wait_for(lambda: len(rows.rows) == 2)
    assert len(forwarder.calls) == 1
    record = RequestRecord(*rows.rows[0])
    assert (record.route, record.status, record.upstream, record.error) == ("old", 307, "", "")


def test_a_redirect_of_a_request_with_a_body_answers_without_an_upstream(driver):
    forwarder = FakeForwarder()
    old = route(name="old", path="/old/*", upstream="", redirect=Redirect(to="/new"))
    with gateway(driver, old, forwarder=forwarder) as (port, _rows):
        wire = Wire(port)
        wire.send(b"POST /old HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        assert wire.answer()[0] == 308
        wire.close()
    assert forwarder.calls == []


def test_a_redirect_is_limited_and_guarded_like_any_route(driver):
    redirect = Redirect(to="/new")
    guarded = route(name="guarded", path="/guarded", upstream="", redirect=redirect, auth=AuthMode.KEY)
    limited = route(name="limited", path="/limited", upstream="", redirect=redirect, limits=(PER_CLIENT,))
    with gateway(driver, guarded, limited) as (port, _rows):
        assert get(port, "/guarded")[0] == 401
        assert [get(port, "/limited")[0] for _ in range(3)] == [308, 308, 429]


def test_a_split_sends_each_request_to_the_upstream_it_chose_and_records_it(driver):
    forwarder = FakeForwarder()
    split = Split(shares=(SplitShare("orders", 1), SplitShare("next", 1)))
    with gateway(driver, route(split=split), forwarder=forwarder) as (port, rows):
        for _ in range(4):
            assert get(port, "/orders/1")[0] == 200
        wait_for(lambda: len(rows.rows) == 4)
    assert [call.outbound.upstream.name for call in forwarder.calls] == ["orders", "next"] * 2
    assert [RequestRecord(*row).upstream for row in rows.rows] == ["orders", "next"] * 2


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        ("/orders/7", "", "plain"),
        ("/orders/7", "X-Beta: 1\r\n", "beta"),
        ("/orders/7?v=2", "X-Beta: 0\r\n", "second"),
    ],
)
def test_conditions_are_looked_at_as_the_request_says_them(driver, path, fields, expected):
    forwarder = FakeForwarder()
    routes = (
        route(name="plain", path="/orders/{id}"),
        route(name="beta", path="/orders/{id}", headers=(FieldMatch("x-beta", "1"),)),
        route(name="second", path="/orders/{id}", query=(FieldMatch("v", "2"),)),
    )
    with gateway(driver, *routes, forwarder=forwarder) as (port, _rows):
        assert get(port, path, fields)[0] == 200
    assert forwarder.calls[0].outbound.route.name == expected


def test_what_goes_upstream_is_the_rewritten_path_and_the_changed_fields(driver):
    forwarder = FakeForwarder()
    rules = HeaderRules(remove=("cookie",), set=(("x-order", "{id}"), ("host", "internal.example")))
    one = route(path="/orders/{id}/*", rewrite="/v2/{rest}/{id}", request_headers=rules)
    with gateway(driver, one, forwarder=forwarder) as (port, _rows):
        assert get(port, "/orders/7/items?a=b", "Cookie: a=b\r\nX-Order: 8\r\nX_Order: 9\r\n")[0] == 200
    lines = request_head(forwarder.calls[0].outbound).split(b"\r\n")
    assert lines[:2] == [b"GET /v2/items/7?a=b HTTP/1.1", b"host: internal.example"]
    assert [line for line in lines if b"order" in line.lower() or b"cookie" in line.lower()] == [b"x-order: 7"]
