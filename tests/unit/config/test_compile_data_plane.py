"""What the data plane is told: every key of upstreams, routes and [server] in the value that workers run on."""

from __future__ import annotations

import msgspec
import pytest

from gateway.config import snapshot_file
from gateway.config.checking import check_text, effective_routes
from gateway.domain.access import AuthMode
from gateway.domain.limits import ConcurrencyLimit, Limit, LimitMode, Quota, Scope, TenantPlan
from gateway.domain.routing import (
    Canary,
    Cors,
    FieldMatch,
    HeaderRules,
    Mirror,
    Redirect,
    Retry,
    Split,
    SplitShare,
)
from gateway.domain.upstreams import Balance, Breaker, Outlier, Target, Upstream, UpstreamTls
from gateway.settings import Settings

UPSTREAMS = """
[[upstreams]]
name = "orders"
targets = ["http://10.0.0.5:9000"]
[[upstreams]]
name = "orders-v2"
targets = ["http://10.0.0.6:9000"]
"""
ENVIRON = {"SENTINEL_JWT_SECRET": "0123456789abcdef0123456789abcdef"}


def compiled(text, environ=ENVIRON):
    result = check_text(text, "sentinel.toml", Settings.from_environ(environ))
    assert [str(error) for error in result.errors] == []
    return result.snapshot


def route(body, match='path = "/orders/*"'):
    text = f'[auth.jwt]\n{UPSTREAMS}[[routes]]\nname = "orders"\nmatch = {{ {match} }}\n{body}\n'
    return compiled(text).routes[0]


def upstream(body):
    return compiled(f'[[upstreams]]\nname = "orders"\n{body}\n').upstreams[0]


def test_conditions_are_compiled_with_names_of_fields_in_lower_case():
    found = route(
        'upstream = "orders"',
        'path = "/orders/{id}", headers = { X-Version = "2", Accept = "*" }, query = { Draft = "" }',
    )
    assert found.path == "/orders/{id}"
    assert found.headers == (FieldMatch("x-version", "2"), FieldMatch("accept", "*"))
    assert found.query == (FieldMatch("Draft", ""),)


def test_a_split_leads_first_to_an_upstream_that_takes_anything():
    found = route(
        'split = { orders = 0, orders-v2 = 5 }\nsticky = "header:X-User"\n'
        'canary = [{ header = "X-Canary", value = "1", upstream = "orders" }, { cookie = "Beta", upstream = "orders" }]'
    )
    assert found.upstream == "orders-v2"
    assert found.split == Split(
        shares=(SplitShare("orders-v2", 5),),
        canaries=(Canary("header:x-canary", "1", "orders"), Canary("cookie:Beta", "*", "orders")),
        sticky="header:x-user",
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"https://new.example/{rest}"', Redirect("https://new.example/{rest}", 308)),
        ('{ to = "https://{host}/{rest}?from=old", status = 301 }', Redirect("https://{host}/{rest}?from=old", 301)),
    ],
)
def test_a_redirect_has_no_upstream(written, meant):
    found = route(f"redirect = {written}")
    assert (found.redirect, found.upstream) == (meant, "")


def test_a_redirect_to_a_place_of_another_route_is_no_loop():
    text = UPSTREAMS + (
        '[[routes]]\nname = "all"\nmatch = { path = "/*" }\nredirect = "/home"\n'
        '[[routes]]\nname = "home"\nmatch = { path = "/home" }\nupstream = "orders"\n'
    )
    assert compiled(text).routes[0].redirect == Redirect("/home")


def test_a_redirect_by_a_condition_may_lead_to_the_same_path():
    found = route('redirect = "https://{host}/orders/{rest}"', 'path = "/orders/*", headers = { X-Plain = "1" }')
    assert found.redirect == Redirect("https://{host}/orders/{rest}")


@pytest.mark.parametrize(
    ("written", "meant"),
    [('"orders-v2"', Mirror("orders-v2")), ('{ upstream = "orders-v2", share = 0.1 }', Mirror("orders-v2", 0.1))],
)
def test_a_mirror_may_be_written_as_its_upstream(written, meant):
    assert route(f'upstream = "orders"\nmirror = {written}').mirror == meant


def test_retries_cors_and_rewrites_are_compiled():
    found = route(
        'upstream = "orders"\nrewrite = "/v2/{rest}"\n'
        'retry = { attempts = 2, on = ["reset", "503"], budget = 0.5 }\n'
        'cors = { origins = ["https://App.example"], headers = ["X-One"], credentials = true, max_age = "1h" }'
    )
    assert found.rewrite == "/v2/{rest}"
    assert found.retry == Retry(attempts=2, on=frozenset({"reset", "503"}), budget=0.5)
    assert found.cors == Cors(origins=("https://app.example",), headers=("x-one",), credentials=True, max_age_s=3600)


def test_defaults_of_tables_are_those_of_the_domain():
    found = route('upstream = "orders"\nretry = {}\ncors = { origins = ["*"] }')
    assert (found.retry, found.cors) == (Retry(), Cors(("*",)))
    assert upstream('targets = ["http://a:1"]\nbreaker = {}\noutlier = {}') == Upstream(
        "orders", (Target("a:1", "a", 1),), breaker=Breaker(), outlier=Outlier()
    )


def test_header_rules_are_compiled_in_lower_case():
    found = route(
        'upstream = "orders"\nrequest_headers = { set = { Host = "in", X-Who = "{subject}" }, remove = ["Cookie"] }\n'
        'response_headers = { add = { Link = "</a>" } }'
    )
    assert found.request_headers == HeaderRules(remove=("cookie",), set=(("host", "in"), ("x-who", "{subject}")))
    assert found.response_headers == HeaderRules(add=(("link", "</a>"),))


def test_who_may_pass_is_compiled():
    found = route(
        'upstream = "orders"\nauth = "jwt"\nroles = ["admin"]\nallow = ["10.0.0.0/8"]\ndeny = ["10.1.2.3"]\n'
        'max_body = "1KiB"\ncompress = true'
    )
    assert (found.auth, found.roles) == (AuthMode.JWT, frozenset({"admin"}))
    assert (found.allow, found.deny) == (("10.0.0.0/8",), ("10.1.2.3/32",))
    assert (found.max_body_bytes, found.compress) == (1024, True)


def test_limits_of_three_kinds_are_told_apart_and_named():
    found = route(
        'upstream = "orders"\nlimit = ["10/s burst 20 per client", "5 at once per route", '
        '"quota 7 per month per client", { limit = "5/s per client", mode = "shadow" }]'
    )
    assert found.limits == (
        Limit("orders.client.second", 10.0, 20, Scope.CLIENT),
        Limit("orders.client.second.shadow", 5.0, 5, Scope.CLIENT, mode=LimitMode.SHADOW),
    )
    assert found.concurrency == (ConcurrencyLimit("orders.route.at-once", 5, Scope.ROUTE),)
    assert found.quotas == (Quota("orders.client.quota-month", 7, "month", Scope.CLIENT),)


def test_a_plan_may_have_limits_of_every_kind():
    plan = '[plans.free]\nlimit = ["quota 7 per day per key", { limit = "2 at once per tenant", mode = "shadow" }]\n'
    assert compiled(plan).plans == (
        TenantPlan(
            "free",
            (),
            (Quota("plan:free.key.quota-day", 7, "day", Scope.KEY),),
            (ConcurrencyLimit("plan:free.tenant.at-once.shadow", 2, Scope.TENANT, LimitMode.SHADOW),),
        ),
    )


@pytest.mark.parametrize(
    ("written", "balance", "by"),
    [
        ("least_requests", Balance.LEAST_REQUESTS, ""),
        ("ewma", Balance.EWMA, ""),
        ("hash:subject", Balance.HASH, "subject"),
        ("hash:header:X-User", Balance.HASH, "header:x-user"),
        ("hash:cookie:Session", Balance.HASH, "cookie:Session"),
    ],
)
def test_every_way_to_balance_is_compiled(written, balance, by):
    found = upstream(f'targets = ["http://a:1"]\nbalance = "{written}"')
    assert (found.balance, found.hash_by) == (balance, by)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://orders.internal", Target("orders.internal:443", "orders.internal", 443, tls=True)),
        ("https://[::1]:9443", Target("[::1]:9443", "::1", 9443, tls=True)),
        ("unix:/run/orders.sock", Target("unix:/run/orders.sock", "unix:/run/orders.sock", 0)),
    ],
)
def test_every_kind_of_target_is_compiled(url, target):
    assert upstream(f'targets = ["{url}"]').targets == (target,)


def test_an_upstream_with_everything_is_compiled_whole():
    found = upstream(
        'targets = ["https://a"]\nqueue = 0\npanic = 0.5\nslow_start = "10s"\nresolve = "5s"\n'
        'breaker = { errors = 0.2, requests = 5, open = "1s", window = "30s" }\n'
        'outlier = { consecutive = 3, eject = "5s", max_ejected = 1 }\ntls = { server_name = "b" }'
    )
    assert found == Upstream(
        "orders",
        (Target("a:443", "a", 443, tls=True),),
        queue=0,
        panic=0.5,
        slow_start_s=10.0,
        resolve_s=5.0,
        breaker=Breaker(errors=0.2, requests=5, open_s=1.0, window_s=30.0),
        outlier=Outlier(consecutive=3, eject_s=5.0, max_ejected=1.0),
        tls=UpstreamTls(server_name="b"),
    )


def test_the_server_admits_dresses_and_compresses_as_it_is_told():
    policy = compiled(
        '[server]\nallow = ["10.0.0.0/8"]\ndeny = ["10.1.0.0/16"]\ncompress_min = "2KiB"\n'
        'security_headers = { X-Frame-Options = "SAMEORIGIN" }\n'
    ).policy
    assert (policy.allow, policy.deny) == (("10.0.0.0/8",), ("10.1.0.0/16",))
    assert (policy.compress_min_bytes, policy.tls) == (2048, None)
    assert policy.security_headers == (("x-frame-options", "SAMEORIGIN"),)


def test_the_usual_security_headers_promise_no_tls_without_it():
    names = [name for name, _ in compiled("[server]\nsecurity_headers = true\n").policy.security_headers]
    assert names == ["x-content-type-options", "x-frame-options", "referrer-policy"]


def test_claims_for_roles_are_compiled():
    assert compiled('[auth.jwt]\nroles_claim = "realm_access.roles"\n').jwt[0].roles_claims == ("realm_access.roles",)


def test_effective_routes_say_where_requests_go():
    text = UPSTREAMS + (
        '[[routes]]\nname = "split"\nmatch = { path = "/split" }\nsplit = { orders = 3, orders-v2 = 1 }\n'
        'limit = ["5 at once per route", "quota 10 per day per client"]\n'
        '[[routes]]\nname = "old"\nmatch = { path = "/old/*" }\nredirect = "/split"\n'
    )
    split, old = effective_routes(compiled(text))
    assert (split.upstream, split.targets) == ("orders 75 %, orders-v2 25 %", "10.0.0.5:9000 10.0.0.6:9000")
    assert split.limits == "5 at once per route, quota 10 per day per client"
    assert (old.upstream, old.targets) == ("308 → /split", "")


def test_a_snapshot_with_everything_comes_back_as_it_was():
    text = f"""
[server]
security_headers = true
allow = ["10.0.0.0/8"]
[auth.jwt]
{UPSTREAMS}
balance = "hash:cookie:s"
breaker = {{}}
outlier = {{}}
[[routes]]
name = "a"
match = {{ path = "/a/{{id}}/*", headers = {{ X = "1" }}, query = {{ q = "*" }} }}
split = {{ orders = 1, orders-v2 = 1 }}
sticky = "client"
canary = [{{ cookie = "c", upstream = "orders" }}]
auth = "jwt"
roles = ["r"]
limit = ["1/s per client", "1 at once per client", "quota 1 per day per client"]
retry = {{ on = ["503"] }}
cors = {{ origins = ["*"] }}
request_headers = {{ set = {{ A = "1" }}, add = {{ B = "2" }}, remove = ["C"] }}
[[routes]]
name = "b"
match = {{ path = "/b" }}
redirect = "/a"
"""
    snapshot = compiled(text)
    assert snapshot_file.decode(snapshot_file.encode(snapshot)) == snapshot


EVERYTHING = """
[server]
driver = "asgi"
drain = "5s"
trusted_proxies = ["10.0.0.0/8"]
max_header_bytes = 8192
max_body = "1MiB"
allow = ["10.0.0.0/8"]
deny = ["10.1.0.0/16"]
security_headers = true
compress_min = "2KiB"
[admin]
bind = "shared"
metrics = "token"
[redis]
url = "redis://127.0.0.1:6379/0"
budget = "10ms"
[log]
spool_max = "1MiB"
server_timing = true
[[upstreams]]
name = "a"
targets = [{ url = "https://a.internal", weight = 2 }]
timeout = { connect = "2s", header = "2s", idle = "2s" }
health = { path = "/h", interval = "1s", healthy = 1, unhealthy = 1 }
depends_on = ["b"]
max_connections = 1
queue = 1
balance = "hash:client"
breaker = { errors = 0.1, requests = 1, open = "1s", window = "1s" }
outlier = { consecutive = 1, eject = "1s", max_ejected = 1 }
panic = 0.1
slow_start = "1s"
resolve = "1s"
tls = { server_name = "x", verify = false }
[[upstreams]]
name = "b"
targets = ["http://b:1"]
[[routes]]
name = "one"
match = { path = "/one/*", host = "x.example", methods = ["GET"], headers = { A = "1" }, query = { q = "1" } }
split = { a = 2, b = 1 }
sticky = "client"
canary = [{ header = "X", upstream = "b" }]
rewrite = "/{rest}"
mirror = { upstream = "b2", share = 0.5 }
retry = { attempts = 2, on = ["503"], budget = 0.1 }
auth = "any"
scopes = ["s"]
roles = ["r"]
allow = ["10.2.0.0/16"]
deny = ["10.2.1.0/24"]
limit = [
  { limit = "1/min burst 2 per client", mode = "shadow" },
  { limit = "quota 1 per day per client", mode = "shadow" },
  { limit = "1 at once per client", mode = "shadow" },
]
limit_unavailable = "open"
request_headers = { remove = ["A"], set = { B = "1" }, add = { C = "1" } }
response_headers = { remove = ["A"] }
max_body = "1KiB"
compress = true
[routes.cors]
origins = ["https://x.example"]
methods = ["GET"]
headers = ["a"]
expose = ["b"]
credentials = true
max_age = "1s"
[[upstreams]]
name = "b2"
targets = ["http://b:2"]
[[routes]]
name = "two"
match = { path = "/two/*" }
upstream = "b"
strip_prefix = "/two"
[[routes]]
name = "three"
match = { path = "/three" }
redirect = { to = "/four", status = 301 }
"""
# Only with files that a check would read: tests/unit/config/test_certificates_named_in_the_file.py.
WITH_FILES = {"EdgePolicy.tls", "UpstreamTls.ca_file", "UpstreamTls.certificate_file", "UpstreamTls.key_file"}


def structs(value):
    """Every Struct inside a value, itself included."""
    if isinstance(value, msgspec.Struct):
        yield value
        for name in value.__struct_fields__:
            yield from structs(getattr(value, name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from structs(item)


def test_no_word_of_routes_upstreams_and_policy_is_out_of_reach_of_the_file():
    snapshot = compiled(EVERYTHING, ENVIRON | {"SENTINEL_METRICS_TOKEN": "t"})
    reached, known = set(), set()
    for value in structs((snapshot.routes, snapshot.upstreams, snapshot.policy)):
        for field in msgspec.structs.fields(value):
            word = f"{type(value).__name__}.{field.name}"
            known.add(word)
            if field.required or getattr(value, field.name) != field.default:
                reached.add(word)
    assert known - reached == WITH_FILES
