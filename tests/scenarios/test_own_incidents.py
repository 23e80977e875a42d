"""The running program in trouble itself: incidents open with their effect, and those who can be told are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2

from tests import running, servers
from tests.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

OPENS_S = 120.0  # three looks, five seconds apart; the rest is for a machine that is busy


def incident(gateway: running.Gateway, part: str) -> dict[str, Any]:
    """The open incident of a part whole; empty while there is none."""
    for one in gateway.api("/api/v1/incidents?state=open")["items"]:
        if one["place"]["part"] == part:
            found: dict[str, Any] = gateway.api(f"/api/v1/incidents/{one['id']}")
            return found
    return {}


def configured(upstream_port: int, certificate: str, key: str) -> str:
    return running.config(
        upstream_port,
        server=f'[server.tls]\ncertificate = "{certificate}"\nkey = "{key}"',
        route='limit = "1000/s burst 2000 per client"',
        more="""
[[notify]]
name = "chat"
kind = "slack"
url_env = "CHAT_URL"

[[notify]]
name = "desk"
kind = "webhook"
url_env = "DESK_URL"
secret_env = "DESK_KEY"
severities = ["P1"]
""",
    )


def test_own_parts_in_trouble_are_incidents_with_their_effect_told_by_what_still_works(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.files("server", ("CN", "gateway"), days=2.9)
    with (
        servers.redis_server() as redis,
        running.origin() as origin,
        running.origin() as chat,
        running.origin() as desk,
    ):
        chat.answer = lambda method, path: (500, b"no")
        text = configured(origin.port, certificate, key)
        environ = {
            "SENTINEL_REDIS__URL": redis.url,
            "CHAT_URL": f"http://127.0.0.1:{chat.port}/services/T0/B0/x",
            "DESK_URL": f"http://127.0.0.1:{desk.port}/hook",
            "DESK_KEY": "a key for the signature",
        }
        with running.gateway(tmp_path, text, **environ) as gateway:
            url = gateway.url.replace("http", "https")
            redis.stop()
            with httpx2.Client(verify=False) as client:
                assert [client.get(f"{url}/x").status_code for _ in range(20)] == [200] * 20

            gateway.wait(lambda: incident(gateway, "redis"), OPENS_S, "the limiter store's incident")
            gateway.wait(lambda: incident(gateway, "certificate:clients"), OPENS_S, "the certificate's incident")
            gateway.wait(lambda: incident(gateway, "notify:chat"), OPENS_S, "the pager's incident")
            # The desk asked for the gravest alone, but nobody else is left to hear of the chat.
            gateway.wait(
                lambda: any(b"chat takes no messages" in body for body in desk.bodies), OPENS_S, "the desk is told"
            )
            found = incident(gateway, "redis")
            assert found["signal"] == "self"
            assert "limits of route api are counted on each node by itself" in found["anomalies"][0]["reason"]
            assert found["diagnosis"]["report"]["steps"][0].startswith("Run `sentinel doctor`")
            parts = {(one["part"], one["about"]) for one in gateway.api("/api/v1/health/parts")["items"]}
            assert {("redis", ""), ("certificate", "clients"), ("notify", "chat")} <= parts
            checks = json.loads(gateway.sentinel("doctor", "--json").stdout)["checks"]
            assert {("redis", "bad"), ("certificate", "bad"), ("notify", "bad")} <= {
                (one["name"], one["state"]) for one in checks
            }
            page = httpx2.get(f"{gateway.admin_url}/metrics").text
            assert 'sentinel_own_trouble{part="redis"} 1.0' in page
