"""Run SentinelStack as one contender of a side-by-side measurement.

Reads PORT, UPSTREAM_URL, REDIS_URL, JWT_SECRET and RUN (a scratch folder) from the environment, writes a sentinel.toml
with everything on (JWT, Redis limit per subject, records, metrics) and becomes ``sentinel serve``.

    DRIVER      lane (default) or asgi
    WORKERS     1 (default)
    STORE       a store URL; SQLite in the scratch folder by default
    ADMIN_PORT  where /metrics answers; a free port by default
    UPSTREAM_CONNECTIONS  at most so many to the upstream; otherwise what is the default
    MORE        1: a route for API keys (/keys/*), and one limited by the client's address, which a proxy on loopback
                may name (/addresses/*)
    BUILD       the folder of an installation to run in place of the checkout
    LIMIT       rate and burst of every limit; by default one that nobody meets
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from loadtests import lab

CONFIG = """\
[server]
port = {port}
workers = {workers}
driver = "{driver}"
run_dir = "{run}"
trusted_proxies = {proxies}

[admin]
bind = "127.0.0.1:{admin_port}"

[auth.jwt]
algorithms = ["HS256"]
secret_env = "JWT_SECRET"

[[upstreams]]
name = "api"
targets = ["{upstream}"]
{connections}
[[routes]]
name = "api"
match = {{ path = "/*" }}
upstream = "api"
auth = "jwt"
limit = "{limit} per subject"
"""

MORE = """
[[routes]]
name = "keys"
match = {{ path = "/keys/*" }}
upstream = "api"
auth = "key"

[[routes]]
name = "addresses"
match = {{ path = "/addresses/*" }}
upstream = "api"
limit = "{limit} per client"
"""


def main() -> None:
    """Write the configuration and hand over to the gateway."""
    given = os.environ
    limit = given.get("LIMIT", "1000000/s burst 1000000")
    folder = Path(tempfile.mkdtemp(prefix="sentinel-", dir=given["RUN"]))
    config = folder / "sentinel.toml"
    config.write_text(
        CONFIG.format(
            port=given["PORT"],
            admin_port=given.get("ADMIN_PORT") or lab.free_port(),
            workers=given.get("WORKERS", "1"),
            driver=given.get("DRIVER", "lane"),
            run=folder / "run",
            upstream=given["UPSTREAM_URL"],
            connections=f"max_connections = {given['UPSTREAM_CONNECTIONS']}\n"
            if "UPSTREAM_CONNECTIONS" in given
            else "",
            proxies='["127.0.0.0/8"]' if given.get("MORE") else "[]",
            limit=limit,
        )
        + (MORE.format(limit=limit) if given.get("MORE") else "")
    )
    os.environ["SENTINEL_REDIS__URL"] = given["REDIS_URL"]
    os.environ["SENTINEL_STORE__URL"] = given.get("STORE") or f"sqlite:///{folder / 'sentinel.db'}"
    if "BUILD" in given:
        os.environ |= {"PYTHONPATH": given["BUILD"], "PYTHONSAFEPATH": "1"}
    os.execv(sys.executable, [sys.executable, "-m", "gateway", "serve", "--config", str(config)])  # noqa: S606 - becomes it


if __name__ == "__main__":
    main()
