"""``sentinel routes``: what a configuration makes of one request, without sending it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app

CONFIG = """
[auth.jwt]
secret_env = "A_SECRET_NOBODY_SET"

[[upstreams]]
name = "orders"
targets = ["http://10.0.0.5:9000", { url = "http://10.0.0.6:9000", weight = 2 }]
breaker = { errors = 0.5, requests = 20, open = "10s" }

[[upstreams]]
name = "orders-v2"
targets = ["http://10.0.0.7:9000"]

[[routes]]
name = "orders"
match = { path = "/orders/{id}/*", methods = ["GET"] }
split = { orders = 1, orders-v2 = 1 }
canary = [{ header = "X-Canary", value = "1", upstream = "orders-v2" }]
sticky = "subject"
rewrite = "/v2/{id}/{rest}"
auth = "jwt"
scopes = ["orders:read"]
limit = ["100/s burst 200 per subject", "quota 1000 per day per tenant"]
request_headers = { set = { X-User = "{subject}" }, remove = ["Cookie"] }
retry = { attempts = 1, on = ["connect", "503"] }

[[routes]]
name = "beta"
match = { path = "/orders/*", headers = { x-beta = "1" } }
upstream = "orders-v2"
auth = "none"
deny = ["203.0.113.0/24"]

[[routes]]
name = "old"
match = { path = "/old/*" }
redirect = "https://{host}/orders/{rest}"
auth = "none"
"""


@pytest.fixture
def routes(tmp_path, monkeypatch):
    monkeypatch.delenv("A_SECRET_NOBODY_SET", raising=False)
    path = tmp_path / "sentinel.toml"
    path.write_text(CONFIG)

    def run(*arguments: str):
        return CliRunner().invoke(app, ["routes", *arguments, "--config", str(path)])

    return run


@pytest.fixture
def tried(routes):
    def run(*arguments: str):
        result = routes("test", *arguments, "--json")
        return result.exit_code, json.loads(result.stdout)

    return run


ALICE = ("--subject", "alice", "--tenant", "acme", "--scopes", "orders:read")


def detail(trial, step: str) -> list[tuple[str, str]]:
    return [(one["verdict"], one["detail"]) for one in trial["steps"] if one["step"] == step]


def test_a_request_that_is_forwarded_shows_the_head_the_upstream_gets(tried):
    code, trial = tried(
        "GET", "http://shop.example/orders/7/items?x=1", "-H", "Cookie: a=b", "-H", "X-Canary: 1", *ALICE
    )
    assert (code, trial["status"], trial["route"]) == (0, None, "orders")
    assert trial["detail"] == "goes to orders-v2"
    assert trial["upstream_request"][:2] == ["GET /v2/7/items?x=1 HTTP/1.1", "host: shop.example"]
    assert "x-user: alice" in trial["upstream_request"]
    assert not any(line.startswith("cookie") for line in trial["upstream_request"])
    assert detail(trial, "limit") == [
        ("info", "orders.subject.second: 100/s burst 200 per subject, counted for s:jwt:acme:alice"),
        ("info", "orders.tenant.quota-day: quota 1000 per day per tenant, counted for t:acme"),
    ]
    assert detail(trial, "retry") == [("info", "up to 1 more on 503, connect; budget 20%")]


def test_the_nearest_routes_say_what_kept_them_from_it(tried):
    _, trial = tried("POST", "/orders/7", *ALICE)
    assert {one["route"]: one["difference"] for one in trial["near"]} == {
        "beta": "it asks for the header x-beta = 1",
        "orders": "it takes GET",
        "old": "its path is /old/*",
    }


def test_without_a_caller_the_route_asks_for_proof(tried):
    code, trial = tried("GET", "/orders/7")
    assert (code, trial["status"]) == (1, 401)
    assert detail(trial, "authenticate") == [("stop", "jwt: nobody signed in")]
    assert trial["upstream_request"] == []
    assert 'www-authenticate: Bearer realm="sentinel"' in trial["answer"]


def test_a_caller_without_the_scopes_is_stopped_there(tried):
    code, trial = tried("GET", "/orders/7", "--subject", "bob")
    assert (code, trial["status"]) == (1, 403)
    assert detail(trial, "authorize") == [("stop", "needs scopes orders:read")]


def test_a_client_that_is_denied_is_stopped_at_the_door(tried):
    code, trial = tried("GET", "/orders/7", "-H", "X-Beta: 1", "--client", "203.0.113.9", "--subject", "x")
    assert trial["route"] == "orders"  # more specific than beta, whose list is its own
    code, trial = tried("GET", "/orders", "-H", "X-Beta: 1", "--client", "203.0.113.9")
    assert (code, trial["status"], trial["route"]) == (1, 403, "beta")
    assert detail(trial, "access") == [("stop", "203.0.113.9; deny 203.0.113.0/24")]


def test_a_redirect_is_an_answer_and_no_refusal(tried):
    code, trial = tried("GET", "https://shop.example/old/7?x=1")
    assert (code, trial["status"]) == (0, 308)
    assert "location: https://shop.example/orders/7?x=1" in trial["answer"]


@pytest.mark.parametrize(
    ("url", "status", "step"),
    [("/nowhere", 404, "route"), ("/orders//7", 400, "request rules"), ("/orders/%2e%2e/x", 400, "request rules")],
)
def test_what_no_route_takes_is_told_with_the_step_that_stops_it(tried, url, status, step):
    code, trial = tried("GET", url)
    assert (code, trial["status"], trial["route"]) == (1, status, None)
    assert detail(trial, step)[0][0] == "stop"


def test_people_get_the_same_as_a_table(routes):
    result = routes("test", "GET", "/orders/7", *ALICE)
    assert result.exit_code == 0
    assert "GET /v2/7 HTTP/1.1" in result.stdout
    assert "beta: it asks for the header x-beta = 1" in result.stdout


def test_a_header_without_a_colon_is_a_mistake_of_the_command_line(routes):
    assert routes("test", "GET", "/", "-H", "nonsense").exit_code == 2


def test_the_list_has_every_route_with_what_it_asks_for(routes):
    listed = json.loads(routes("list", "--json").stdout)["items"]
    assert [(one["name"], one["conditions"]) for one in listed] == [
        ("orders", "none"),
        ("beta", "x-beta: 1"),
        ("old", "none"),
    ]
    assert "orders" in routes("list").stdout


def test_a_bad_configuration_is_told_as_check_tells_it(routes, tmp_path):
    (tmp_path / "sentinel.toml").write_text(CONFIG.replace('"/old/*"', '"old"'))
    result = routes("test", "GET", "/")
    assert result.exit_code == 1
    assert "sentinel.toml:" in result.stderr
