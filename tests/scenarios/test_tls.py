"""TLS to clients on the running program: both drivers, a renewed certificate, known clients, and a revoked one."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests import running
from tests.certificates import Authority
from tests.tokens import signed

if TYPE_CHECKING:
    from pathlib import Path


def trusting(authority: Authority, *shown: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    if shown:
        context.load_cert_chain(*shown)
    return context


@pytest.mark.parametrize("driver", ["lane", "asgi"])
def test_clients_over_tls(tmp_path: Path, driver: str) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.files("server", ("CN", "gateway"))
    server = f"""
workers = 2
driver = "{driver}"
security_headers = true

[server.tls]
certificate = "{certificate}"
key = "{key}"
client_ca = "{authority.file}"
client_certificates = "optional"
"""
    with running.origin() as origin:
        text = running.config(origin.port, server=server, route='auth = "any"')
        with running.gateway(tmp_path, text) as gateway:
            url = gateway.url.replace("http", "https") + "/x"
            shown = authority.files("robot", ("CN", "robot"), ("O", "acme"))
            known = trusting(authority, *shown)

            def status(context: ssl.SSLContext, **headers: str) -> int:
                return httpx2.get(url, verify=context, headers=headers).status_code

            # A client is known by its certificate, and the upstream is told so.
            answer = httpx2.get(url, verify=known)
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"]
            saw = origin.seen[-1]["headers"]
            assert (saw["x-sentinel-subject"], saw["x-sentinel-tenant"]) == ("robot", "acme")
            assert saw["x-forwarded-proto"] == "https"

            # Without a certificate a token does as well, until it is revoked.
            anyone = trusting(authority)
            assert status(anyone) == 401
            token = signed({"sub": "ana", "exp": 4_000_000_000, "jti": "4f1c"}, running.SECRET, "HS256")
            assert status(anyone, Authorization=f"Bearer {token}") == 200
            assert gateway.sentinel("token", "revoke", "4f1c", "--reason", "stolen").returncode == 0
            gateway.wait(lambda: status(anyone, Authorization=f"Bearer {token}") == 401, 3, "the token is refused")
            assert "4f1c" in gateway.sentinel("token", "revoked").stdout
            assert gateway.sentinel("token", "restore", "4f1c").returncode == 0
            gateway.wait(lambda: status(anyone, Authorization=f"Bearer {token}") == 200, 3, "the token is good again")
            trail = gateway.api("/api/v1/audit")["items"]
            assert {"token.revoked", "token.restored"} <= {line["verb"] for line in trail}

            # A renewed certificate, of an authority the old one does not know, is shown within seconds.
            (tmp_path / "new").mkdir()
            renewed = Authority(tmp_path / "new", "New authority")
            for path, made in zip((certificate, key), renewed.files("server", ("CN", "gateway")), strict=True):
                with open(made) as new, open(path, "w") as old:  # noqa: PTH123 - in place, as a careless script does it
                    old.write(new.read())

            def is_renewed() -> bool:
                try:
                    return status(trusting(renewed), Authorization=f"Bearer {token}") == 200
                except httpx2.ConnectError:
                    return False

            # Two workers share the port: each of them must have it, not just one.
            gateway.wait(lambda: all(is_renewed() for _ in range(6)), 5, "both workers show the new certificate")

            metrics = httpx2.get(f"{gateway.admin_url}/metrics").text
            assert 'sentinel_tls_handshakes_total{outcome="ok"}' in metrics
            assert 'sentinel_request_phase_seconds_count{phase="upstream"}' in metrics
            assert gateway.stop() == 0
