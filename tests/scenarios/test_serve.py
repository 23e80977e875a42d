"""`sentinel serve` as its users meet it: starts, carries, reloads, survives the death of its parts, stops clean."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx2
import jwt
import pytest

from tests import running, servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


MORE = """
[[routes]]
name = "tight"
match = { path = "/tight/*" }
upstream = "api"
limit = "1/min burst 2 per client"

[[upstreams]]
name = "gone"
targets = ["http://127.0.0.1:1"]

[[routes]]
name = "gone"
match = { path = "/gone/*" }
upstream = "gone"
"""


def token(**claims: object) -> dict[str, str]:
    whole = {"sub": "ana", "tenant": "acme", "scope": "read", "exp": int(time.time()) + 3600, **claims}
    return {"Authorization": f"Bearer {jwt.encode(whole, running.SECRET, algorithm='HS256')}"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[running.Gateway, running.Origin]]:
    """One gateway for the tests that leave it as it is."""
    with (
        running.origin() as origin,
        running.gateway(
            tmp_path_factory.mktemp("serve"),
            running.config(
                origin.port,
                server="max_body = '64KiB'",
                route='auth = "any"\nscopes = ["read"]\nlimit = "1000/s per subject"',
                more=MORE,
            ),
        ) as gateway,
    ):
        yield gateway, origin


def test_every_process_has_a_name_in_the_process_list(served: tuple[running.Gateway, running.Origin]) -> None:
    gateway, _ = served
    assert gateway.has_child("worker 1")
    assert gateway.has_child("control")


def test_a_request_with_a_good_token_arrives_with_identity_and_ids(
    served: tuple[running.Gateway, running.Origin],
) -> None:
    gateway, origin = served
    answer = httpx2.get(f"{gateway.url}/orders/7?x=1", headers=token() | {"X-Sentinel-Tenant": "forged"})
    assert answer.status_code == 200
    saw = origin.seen[-1]
    assert saw["path"] == "/orders/7?x=1"
    assert saw["headers"]["x-sentinel-tenant"] == "acme"
    assert saw["headers"]["x-sentinel-subject"] == "ana"
    assert saw["headers"]["x-request-id"] == answer.headers["x-request-id"]
    assert saw["headers"]["traceparent"].startswith("00-")
    assert "ratelimit" in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "kind"),
    [
        ("GET", "/x", {}, b"", 401, "unauthenticated"),
        ("GET", "/x", {"Authorization": "Bearer not.a.token"}, b"", 401, "unauthenticated"),
        ("GET", "/x", token(scope="other"), b"", 403, "forbidden"),
        ("POST", "/x", token(), b"x" * 70_000, 413, "body_too_large"),
        ("GET", "/x", token() | {"X-Large": "v" * 20_000}, b"", 431, "headers_too_large"),
        ("GET", "/a//b", token(), b"", 400, "bad_request"),
        ("GET", "/gone/x", {}, b"", 502, "upstream_unavailable"),
    ],
)
def test_what_the_gateway_refuses_is_a_problem_document_and_a_record(
    served: tuple[running.Gateway, running.Origin],
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    kind: str,
) -> None:
    gateway, _ = served
    with httpx2.Client(base_url=gateway.url) as client:
        answer = client.request(method, path, headers=headers, content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["status"] == status
    identifier = problem["request_id"]

    def recorded() -> bool:
        return any(record["id"] == identifier and record["error"] == kind for record in gateway.records())

    gateway.wait(recorded, 10, f"the {status} is recorded as {kind}")


def test_over_the_limit_is_429_with_retry_after(served: tuple[running.Gateway, running.Origin]) -> None:
    gateway, _ = served
    answers = [httpx2.get(f"{gateway.url}/tight/x") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].headers["ratelimit-policy"]


def test_an_api_key_works_within_a_second_and_stops_within_a_second(
    served: tuple[running.Gateway, running.Origin],
) -> None:
    gateway, _ = served
    made = gateway.sentinel("key", "create", "--tenant", "acme", "--scope", "read", "-c", str(gateway.config))
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    identifier = key.split("_")[1]

    def status() -> int:
        return httpx2.get(f"{gateway.url}/x", headers={"X-Api-Key": key}).status_code

    gateway.wait(lambda: status() == 200, 2, "the key works")
    assert gateway.sentinel("key", "revoke", identifier, "-c", str(gateway.config)).returncode == 0
    gateway.wait(lambda: status() == 401, 2, "the key is worthless")


def test_callers_keep_the_keys_they_have_and_nothing_says_them(
    served: tuple[running.Gateway, running.Origin], tmp_path: Path
) -> None:
    gateway, _ = served
    typed, dumped = "a-key-from-another-gateway", "another-key-from-kong-1"
    dump = tmp_path / "kong.json"
    dump.write_text(json.dumps({"consumers": [{"username": "ana", "keyauth_credentials": [{"key": dumped}]}]}))
    ours = ("--tenant", "acme", "--scope", "read", "-c", str(gateway.config))
    said = [
        gateway.sentinel("key", "import", *ours, stdin=f"{typed}\n"),
        gateway.sentinel("key", "import", "--kong", str(dump), "--json", *ours),
        gateway.sentinel("key", "import", "--kong", str(dump), *ours),
        gateway.sentinel("key", "list", "-c", str(gateway.config)),
    ]
    assert [one.returncode for one in said] == [0, 0, 0, 0], said
    assert json.loads(said[1].stdout)["imported"][0]["subject"] == "ana"
    assert "0 imported, 1 known before" in said[2].stdout
    for key in (typed, dumped):
        fields = {"X-Api-Key": key}
        gateway.wait(
            lambda fields=fields: httpx2.get(f"{gateway.url}/x", headers=fields).status_code == 200, 30, "it works"
        )
        assert not any(key in one.stdout + one.stderr for one in said)
        assert key not in gateway.log.read_text()


def test_the_command_line_reads_what_control_knows(served: tuple[running.Gateway, running.Origin]) -> None:
    gateway, _ = served
    assert "No incidents" in gateway.sentinel("incidents", "list", "-c", str(gateway.config)).stdout
    shown = gateway.sentinel("config", "show", "-c", str(gateway.config)).stdout
    assert 'name = "api"' in shown
    assert gateway.sentinel("config", "diff", str(gateway.config), "-c", str(gateway.config)).returncode == 0


def test_a_configuration_is_compared_applied_and_taken_back(
    served: tuple[running.Gateway, running.Origin], tmp_path: Path
) -> None:
    gateway, _ = served
    other = tmp_path / "other.toml"
    other.write_text(
        gateway.config.read_text() + '\n[[routes]]\nname = "aside"\nmatch = { path = "/aside" }\nredirect = "/x"\n'
    )
    ours = ("-c", str(gateway.config))
    compared = gateway.sentinel("config", "diff", str(other), *ours)
    assert compared.returncode == 1
    assert "route aside added" in compared.stdout
    assert gateway.sentinel("config", "apply", str(other), "--dry-run", *ours).returncode == 0
    assert "aside" not in gateway.sentinel("config", "show", *ours).stdout
    before = json.loads(gateway.sentinel("config", "show", "--json", *ours).stdout)["revision"]
    assert gateway.sentinel("config", "apply", str(other), *ours).returncode == 0
    assert 'name = "aside"' in gateway.sentinel("config", "show", *ours).stdout
    back = gateway.sentinel("config", "rollback", str(before), *ours)
    assert back.returncode == 0, back.stderr
    assert "route aside removed" in back.stdout
    assert "aside" not in gateway.sentinel("config", "show", *ours).stdout
    refused = gateway.sentinel("config", "rollback", "4000", *ours)
    assert refused.returncode == 1
    assert "no configuration revision 4000" in refused.stderr


def test_the_admin_port_asks_who_is_there(served: tuple[running.Gateway, running.Origin]) -> None:
    gateway, _ = served
    assert httpx2.get(f"{gateway.admin_url}/api/v1/incidents").status_code == 401
    assert httpx2.get(f"{gateway.admin_url}/health/live").status_code == 200
    assert b"sentinel_requests_total" in httpx2.get(f"{gateway.admin_url}/metrics").content
    assert httpx2.get(f"{gateway.url}/api/v1/incidents").status_code == 401  # the data port's own route, not ours


def test_the_setup_link_makes_one_administrator(served: tuple[running.Gateway, running.Origin]) -> None:
    gateway, _ = served
    link = next(word for word in gateway.log.read_text().split() if "/dashboard/setup?token=" in word)
    assert httpx2.get(link).status_code == 200
    token_text = link.partition("token=")[2]
    body = {"token": token_text, "email": "ana@example.org", "password": "a long enough password"}
    assert httpx2.post(f"{gateway.admin_url}/api/v1/auth/setup", json=body).is_success
    assert httpx2.post(f"{gateway.admin_url}/api/v1/auth/setup", json=body).status_code in {403, 409}


def test_a_killed_worker_is_replaced_and_loses_at_most_what_it_held(tmp_path: Path) -> None:
    with (
        running.origin() as origin,
        running.gateway(tmp_path, running.config(origin.port, server="workers = 2")) as gateway,
    ):
        sent = sum(httpx2.get(f"{gateway.url}/{number}").is_success for number in range(40))
        time.sleep(0.5)  # more than a flush
        first = gateway.child("worker 1")
        first.kill()
        answers = [httpx2.get(f"{gateway.url}/after/{number}").status_code for number in range(20)]
        assert answers == [200] * 20
        gateway.wait(lambda: gateway.has_replaced(first, "worker 1"), 15, "respawn")
        gateway.wait(lambda: len(gateway.records()) >= sent + 20, 15, "every flushed record is stored")


def test_proxying_goes_on_while_control_is_dead_and_its_records_arrive_later(tmp_path: Path) -> None:
    with running.origin() as origin, running.gateway(tmp_path, running.config(origin.port)) as gateway:
        dead = gateway.child("control")
        dead.kill()
        dead.wait(5)
        assert [httpx2.get(f"{gateway.url}/{number}").status_code for number in range(30)] == [200] * 30
        gateway.wait(gateway.ready, 30, "control is back")
        gateway.wait(lambda: len(gateway.records()) == 30, 15, "what was recorded meanwhile is stored, once")


def test_a_graceful_stop_finishes_what_is_under_way_and_loses_no_record(tmp_path: Path) -> None:
    with running.origin() as origin, running.gateway(tmp_path, running.config(origin.port)) as gateway:
        origin.delay_s = 1.0
        slow = subprocess.Popen(
            [sys.executable, "-c", f"import urllib.request as u; print(u.urlopen('{gateway.url}/slow').status)"],
            stdout=subprocess.PIPE,
        )
        gateway.wait(lambda: origin.seen, 10, "the slow request is under way")
        assert gateway.stop() == 0
        out, _ = slow.communicate(timeout=10)
        assert out.strip() == b"200"
        origin.delay_s = 0.0
        gateway.start()
        gateway.wait(gateway.records, 30, "what was under way is recorded")
        assert [record["path"] for record in gateway.records()] == ["/slow"]


def test_a_bad_reload_keeps_the_old_configuration_and_a_good_one_applies(tmp_path: Path) -> None:
    with running.origin() as origin, running.gateway(tmp_path, running.config(origin.port)) as gateway:
        assert gateway.process is not None
        good = running.config(origin.port)
        gateway.write(good.replace('upstream = "api"', 'upstream = "apj"'))
        gateway.wait(lambda: "config.refused" in gateway.log.read_text(), 10, "the refusal is logged")
        assert "sentinel.toml:" in gateway.log.read_text()
        assert httpx2.get(f"{gateway.url}/x").status_code == 200
        gateway.write(good.replace('path = "/*"', 'path = "/only/*"'))
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait(lambda: httpx2.get(f"{gateway.url}/x").status_code == 404, 5, "the new routes are in force")
        assert httpx2.get(f"{gateway.url}/only/x").status_code == 200


def test_shared_mode_answers_people_on_the_data_port(tmp_path: Path) -> None:
    with running.origin() as origin:
        text = running.config(origin.port).replace('"127.0.0.1:ADMIN"', '"shared"\nmetrics = "token"')
        text = text.replace('path = "/*"', 'path = "/shop/*"')
        with running.gateway(tmp_path, text, SENTINEL_METRICS_TOKEN="a token for the scraper") as gateway:
            assert httpx2.get(f"{gateway.url}/shop/x").status_code == 200
            assert httpx2.get(f"{gateway.url}/health/ready").status_code == 200
            assert httpx2.get(f"{gateway.url}/dashboard/sign-in").status_code == 200
            assert httpx2.get(f"{gateway.url}/api/v1/incidents").status_code == 401
            assert httpx2.get(f"{gateway.url}/metrics").status_code == 401
            scraper = {"Authorization": "Bearer a token for the scraper"}
            assert httpx2.get(f"{gateway.url}/metrics", headers=scraper).status_code == 200
            gateway.wait(gateway.records, 10, "the shop's request is recorded")
            assert [record["path"] for record in gateway.records()] == ["/shop/x"]


def test_a_second_gateway_in_the_same_run_folder_is_refused(served: tuple[running.Gateway, running.Origin]) -> None:
    gateway, _ = served
    again = gateway.sentinel("serve", "--config", str(gateway.config), "--port", str(servers.free_port()))
    assert again.returncode == 1
    assert "is in use by another SentinelStack" in again.stderr


def test_a_taken_port_is_said_with_the_setting_to_change(tmp_path: Path) -> None:
    with running.origin() as origin:
        gateway = running.Gateway(tmp_path, running.config(origin.port), {})
        gateway.port = origin.port
        gateway.write(running.config(servers.free_port()))
        tried = gateway.sentinel("serve", "--config", str(gateway.config))
    assert tried.returncode == 1
    assert "[server] host/port" in tried.stderr
    assert "Traceback" not in tried.stderr


def test_a_bad_configuration_starts_nothing(tmp_path: Path) -> None:
    gateway = running.Gateway(tmp_path, running.config(9).replace("port =", "prot ="), {})
    tried = gateway.sentinel("serve", "--config", str(gateway.config))
    assert tried.returncode == 1
    assert "sentinel.toml:3:1" in tried.stderr
    assert "port" in tried.stderr
    assert not gateway.run_dir.exists()
