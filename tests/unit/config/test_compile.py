from __future__ import annotations

import pytest

from gateway.config import compile as compiling
from gateway.config.checking import check_text, effective_routes, load
from gateway.config.difference import needs_restart, summary, unified
from gateway.config.document import Document
from gateway.config.starter import init_text, quick_start
from gateway.domain.access import AuthMode, JwtPolicy
from gateway.domain.incident import Severity
from gateway.domain.limits import Limit, Scope, TenantPlan, WhenUnavailable
from gateway.domain.policy import DetectSettings, DiagnoseSettings, NotifyChannel, RemediateSettings
from gateway.domain.routing import Route
from gateway.domain.snapshot import EdgePolicy
from gateway.domain.upstreams import HealthCheck, Target, Timeouts, Upstream
from gateway.errors import ConfigError
from gateway.settings import Settings

WHOLE = """
[server]
trusted_proxies = ["10.0.0.0/8"]
max_body = "1MiB"
[auth.jwt]
issuer = "https://login.example"
[redis]
url = "redis://cache:6379/0"
[log]
server_timing = true
[plans.free]
limit = "10000/day burst 50 per tenant"
[tenants.acme]
plan = "free"
[[upstreams]]
name = "orders"
targets = ["http://10.0.0.5:9000", { url = "http://[::1]:9000", weight = 2 }]
health = { path = "/healthz", interval = "2s" }
timeout = { connect = "500ms" }
[[routes]]
name = "orders"
match = { path = "/api/orders/*", methods = ["GET"], host = "API.example.com" }
upstream = "orders"
strip_prefix = "/api"
auth = "jwt"
scopes = ["orders:read"]
limit = ["100/s burst 200 per subject", "600/min per client"]
limit_unavailable = "closed"
[[notify]]
kind = "slack"
severities = ["P1"]
[diagnose]
provider = "openai"
model = "m"
"""
ENVIRON = {
    "SENTINEL_JWT_SECRET": "0123456789abcdef0123456789abcdef",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.example/x",
    "OPENAI_API_KEY": "k",
}


def configuration(text=WHOLE, environ=ENVIRON):
    return load(text, "sentinel.toml", Settings.from_environ(environ))


@pytest.fixture
def snapshot():
    return compiling.snapshot(configuration().document, revision=7, created_at=5.0)


def test_a_route_is_compiled_whole(snapshot):
    assert snapshot.routes == (
        Route(
            name="orders",
            path="/api/orders/*",
            upstream="orders",
            methods=frozenset({"GET"}),
            host="api.example.com",
            strip_prefix="/api",
            auth=AuthMode.JWT,
            scopes=frozenset({"orders:read"}),
            limits=(
                Limit("orders.subject.second", rate=100.0, burst=200, scope=Scope.SUBJECT, window_s=1),
                Limit("orders.client.minute", rate=10.0, burst=600, scope=Scope.CLIENT, window_s=60),
            ),
            limit_unavailable=WhenUnavailable.CLOSED,
        ),
    )


def test_an_upstream_is_compiled_whole(snapshot):
    assert snapshot.upstreams == (
        Upstream(
            name="orders",
            targets=(Target("10.0.0.5:9000", "10.0.0.5", 9000), Target("[::1]:9000", "::1", 9000, weight=2)),
            timeout=Timeouts(connect_s=0.5),
            health=HealthCheck("/healthz", interval_s=2.0),
        ),
    )


def test_policies_and_plans_are_compiled(snapshot):
    assert snapshot.policy == EdgePolicy(
        max_body_bytes=2**20, trusted_proxies=("10.0.0.0/8",), redis=True, server_timing=True
    )
    assert snapshot.jwt == (JwtPolicy(secret_env="SENTINEL_JWT_SECRET", issuer="https://login.example"),)
    limit = Limit("plan:free.tenant.day", rate=10000 / 86400, burst=50, scope=Scope.TENANT, window_s=86400)
    assert snapshot.plans == (TenantPlan("free", (limit,)),)
    assert snapshot.tenant_plans == {"acme": "free"}


def test_a_snapshot_holds_no_secret(snapshot):
    assert not [secret for secret in ENVIRON.values() if len(secret) > 1 and secret in repr(snapshot)]


def test_defaults_are_those_of_the_domain():
    document = Document()
    assert compiling.detect_settings(document) == DetectSettings()
    assert compiling.diagnose_settings(document) == DiagnoseSettings()
    assert compiling.remediate_settings(document) == RemediateSettings()
    assert compiling.edge_policy(document) == EdgePolicy()


def test_the_usual_variables_are_filled_in():
    document = configuration().document
    assert compiling.diagnose_settings(document).api_key_env == "OPENAI_API_KEY"
    assert compiling.notify_channels(document) == (
        NotifyChannel(name="slack", kind="slack", url_env="SLACK_WEBHOOK_URL", severities=(Severity.P1,)),
    )


@pytest.mark.parametrize(
    ("admin", "prefixes"),
    [
        ("", ()),
        (
            'bind = "shared"\nmetrics = "token"',
            ("/", "/dashboard", "/api/v1", "/v1/events", "/v1/agents", "/metrics", "/docs", "/openapi.json", "/health"),
        ),
    ],
)
def test_only_a_shared_port_reserves_paths(admin, prefixes):
    found = configuration(f"[admin]\n{admin}\n", {"SENTINEL_METRICS_TOKEN": "t"})
    assert compiling.edge_policy(found.document).admin_prefixes == prefixes


def test_effective_routes_are_in_words(snapshot):
    row = effective_routes(snapshot)[0]
    assert row.auth == "jwt (orders:read)"
    assert row.limits == "100/s burst 200 per subject, 600/min burst 600 per client"
    assert row.targets == "10.0.0.5:9000 [::1]:9000"


def test_the_public_key_of_rs256_is_read_into_the_snapshot(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(65537, 2048)
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public.pem").write_bytes(pem)
    (tmp_path / "private.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )

    def check(name):
        text = f'[auth.jwt]\nalgorithms = ["RS256"]\npublic_key_file = "{name}"\n'
        return check_text(text, "sentinel.toml", Settings.from_environ({}), folder=tmp_path)

    (good,) = check("public.pem").snapshot.jwt
    assert (good.public_key, good.secret_env) == (pem.decode(), "")
    assert "holds a private key" in str(check("private.pem").errors[0])
    (tmp_path / "public.pem").write_text("nonsense")
    assert "is not a public key in PEM form" in str(check("public.pem").errors[0])


def test_the_quick_start_forwards_everything_to_one_target():
    found = configuration(quick_start("http://[::1]:9000"), {})
    assert [route.match.path for route in found.document.routes] == ["/*"]
    assert found.document.upstreams[0].targets[0].url.name == "[::1]:9000"


@pytest.mark.parametrize("url", ["https://orders.internal:443", 'unix:/run/or"ders.sock', "http://a:80"])
def test_the_quick_start_keeps_the_kind_of_its_target(url):
    target = configuration(quick_start(url), {}).document.upstreams[0].targets[0].url
    assert (target.tls, target.unix) == (url.startswith("https"), url.startswith("unix"))


def test_a_quick_start_with_a_bad_url_says_so():
    with pytest.raises(ConfigError, match=r"--upstream: .*\\nx = 1. has no scheme") as caught:
        quick_start('localhost:9000"\nx = 1')
    assert "http://localhost:9000" in caught.value.remedy


def test_a_bad_text_raises_every_problem():
    with pytest.raises(ConfigError) as caught:
        configuration("[server]\nport = 0\nworkers = 0\n")
    assert len(caught.value.problems) == 2


def test_a_change_is_told_in_plain_words():
    before = WHOLE.replace('["100/s burst 200 per subject", "600/min per client"]', '"100/s burst 200 per subject"')
    after = (
        before.replace('"100/s burst 200 per subject"', '"50/s per subject"')
        .replace('max_body = "1MiB"\n', "")
        .replace("[[notify]]", '[[routes]]\nname = "new"\nmatch = { path = "/new" }\nupstream = "orders"\n[[notify]]')
    )
    assert summary(before, after) == [
        'server.max_body "1MiB" → (default)',
        'route orders: limit "100/s burst 200 per subject" → "50/s per subject"',
        "route new added",
    ]
    assert "-max_body" in unified(before, after)


def test_the_same_routes_in_another_order_are_no_change():
    first, second = quick_start("http://a:1"), '[[upstreams]]\nname = "b"\ntargets = ["http://b:1"]\n'
    assert summary(first + second, second + first) == []


def test_keys_that_need_a_restart_are_named():
    before = configuration().document
    after = configuration(WHOLE.replace("[server]", '[server]\nport = 9\nrun_dir = "r"')).document
    assert needs_restart(before, after) == ["server.port", "server.run_dir", "store.url"]
    assert needs_restart(before, before) == []


def test_the_commented_file_forwards_to_its_example():
    assert configuration(init_text(), {}).document.routes[0].name == "hello"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "sqlite:///run/sentinel.db"),
        ('[server]\nrun_dir = "/var/lib/sentinel"\n', "sqlite:////var/lib/sentinel/sentinel.db"),
        ('[server]\nrun_dir = "r"\n[store]\nurl = "sqlite:///other.db"\n', "sqlite:///other.db"),
    ],
)
def test_the_embedded_database_lies_in_the_run_folder_unless_it_is_named(text, url):
    assert configuration(text, {}).document.store.url == url
