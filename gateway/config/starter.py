"""Texts to begin with: the commented file of ``sentinel init``, and one route to one service for ``--upstream``."""

from __future__ import annotations

import json

from gateway.config.findings import Finding
from gateway.config.notation import NotationError, target
from gateway.errors import ConfigError

_INIT = """\
# sentinel.toml — check it with `sentinel check`; every key is explained in docs/reference/configuration.md.
# Secrets never stand here: keys that end in _env name an environment variable, and SENTINEL_<SECTION>__<KEY>
# overrides a value, for instance SENTINEL_STORE__URL for a database URL with a password.

[server]
host = "127.0.0.1"
port = 8000
workers = 1
# security_headers = true            # nosniff, no framing, a referrer policy, and with TLS the promise to keep it

# [server.tls]                       # clients are answered over TLS
# certificate = "server.pem"         # renewed files are taken in within seconds
# key = "server.key"

[admin]
bind = "127.0.0.1:8001"              # dashboard, API and /metrics, on a listener of their own

[store]
url = "sqlite:///run/sentinel.db"    # or postgresql://… in SENTINEL_STORE__URL
retention = { requests = "30d", buckets = "90d" }

# [redis]                            # without it each worker counts limits for itself
# url = "redis://127.0.0.1:6379/0"

# [auth.jwt]                         # needed by routes with auth = "jwt"
# algorithms = ["HS256"]
# secret_env = "SENTINEL_JWT_SECRET" # at least 32 bytes: openssl rand -hex 32

# [plans.free]                       # limits that tenants share out among their callers
# limit = "10/s burst 20 per tenant"
# [tenants.acme]
# plan = "free"

[[upstreams]]
name = "hello"
targets = ["http://127.0.0.1:9000"]
# balance = "least_requests"         # or round_robin, ewma, "hash:subject"
# health = { path = "/healthz", interval = "5s" }
# breaker = { errors = 0.5 }         # leave it alone for a while when half of the requests fail
# depends_on = []                    # upstreams this service calls itself: used to locate causes

[[routes]]
name = "hello"
match = { path = "/*" }
upstream = "hello"
limit = "100/s burst 200 per client"
# retry = { attempts = 1, on = ["connect", "503"] }
# cors = { origins = ["https://app.example"] }

[remediate]
mode = "approve"                     # or observe (plan only), auto (MODERATE actions run as well)

# [diagnose]                         # statistics find the cause; a model may write it up
# provider = "anthropic"             # key in ANTHROPIC_API_KEY
# model = "…"

# [[notify]]
# kind = "slack"                     # URL in SLACK_WEBHOOK_URL
# severities = ["P1", "P2"]
"""


def init_text() -> str:
    """A commented sentinel.toml that passes the check."""
    return _INIT


def quick_start(url: str) -> str:
    """The text of a configuration with one upstream at ``url`` and one route ``/*`` to it.

    Raises:
        ConfigError: ``url`` is not ``http://host:port``, ``https://host:port`` or ``unix:/path``.
    """
    try:
        address = target(url)
    except NotationError as error:
        # The argument may hold anything; a Finding prints without control characters.
        finding = Finding("--upstream", 0, 0, str(error))
        raise ConfigError(
            str(finding),
            problems=(str(finding),),
            remedy=error.remedy or "--upstream http://HOST:PORT",
        ) from error
    # Built from the parsed address, and quoted: never the argument's own text.
    scheme = "https" if address.tls else "http"
    written = json.dumps(f"{scheme}://{address.name}" if address.port else address.host, ensure_ascii=False)
    return (
        f'[[upstreams]]\nname = "upstream"\ntargets = [{written}]\n\n'
        '[[routes]]\nname = "all"\nmatch = { path = "/*" }\nupstream = "upstream"\n'
    )
