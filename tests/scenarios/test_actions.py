"""Actions on the running program: callers, load, configuration, commands outside, and the switch that stops them all.

One gateway tells one story in which every upstream has a trouble of its own; each test reads its part of it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter, deque
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests import running
from tests.scenarios import shop

if TYPE_CHECKING:
    from collections.abc import Iterator

ACT_S = 90.0  # far more than it takes: the machine may be busy
NAMES = ("held", "abused", "stormed", "changed", "fixed")


class Crowded(running.Origin):
    """Fails two of three requests while more than ``most_per_s`` come, counted over the last two seconds."""

    def __init__(self, most_per_s: float) -> None:
        super().__init__()
        self.most_per_s = most_per_s
        self.name = f"127.0.0.1:{self.port}"
        self._times: deque[float] = deque(maxlen=1000)
        self._number = 0
        self.answer = self._answer

    def _answer(self, _method: str, path: str) -> tuple[int, bytes]:
        now = time.monotonic()
        self._times.append(now)
        self._number += 1
        crowded = sum(at > now - 2 for at in tuple(self._times)) > 2 * self.most_per_s
        bad = (crowded and self._number % 3) or path.startswith("/wrong")
        return (503, b"overloaded") if bad else (200, b"fine")


class Callers:
    """Clients with addresses of their own (as a trusted proxy says), each asking so often until stopped."""

    def __init__(self, url: str, path: str, addresses: tuple[str, ...], per_s: float) -> None:
        self.answers: Counter[int] = Counter()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(url, path, address, per_s), daemon=True) for address in addresses
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _ask(self, url: str, path: str, address: str, per_s: float) -> None:
        with httpx2.Client(base_url=url, timeout=15, headers={"X-Forwarded-For": address}) as client:
            due = time.monotonic()
            while not self._stop.is_set():
                try:
                    self.answers[client.get(path).status_code] += 1
                except httpx2.HTTPError:
                    self.answers[0] += 1
                due = max(due + 1 / per_s, time.monotonic())
                self._stop.wait(due - time.monotonic())


class Receiver:
    """Takes connections and a request on each, and never answers."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/fix"
        self.requests: list[bytes] = []
        self._open: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._open.append(connection)
            self.requests.append(connection.recv(65536))

    def close(self) -> None:
        for one in (self._server, *self._open):
            one.close()


@contextmanager
def served(origin: running.Origin) -> Iterator[None]:
    thread = threading.Thread(target=origin.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        origin.shutdown()
        thread.join(5)
        origin.server_close()


def acted(kind: str, state: str):
    def holds(incident: dict[str, Any]) -> bool:
        return any(one["kind"] == kind and one["state"] == state for one in incident["actions"])

    return holds


def the(incident: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(one for one in incident["actions"] if one["kind"] == kind)


@pytest.fixture(scope="module")
def story(  # noqa: PLR0915 - a story, in its order
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("actions")
    told: dict[str, Any] = {}
    with ExitStack() as stack:
        well, ill = stack.enter_context(shop.targets(2))
        abused, stormed, changed = Crowded(8.0), Crowded(7.0), Crowded(1e6)
        (fixed,) = stack.enter_context(shop.targets(1))
        for origin in (abused, stormed, changed):
            stack.enter_context(served(origin))
        receiver = Receiver()
        stack.callback(receiver.close)
        upstreams = {
            "held": [(well, 1), (ill, 1)],
            "abused": [(abused, 1)],
            "stormed": [(stormed, 1)],
            "changed": [(changed, 1)],
            "fixed": [(fixed, 1)],
        }
        text = shop.config(
            upstreams,
            server='trusted_proxies = ["127.0.0.1/32"]',
            more=f"""
[actions.fix]
kind = "webhook"
upstream = "fixed"
url = "{receiver.url}"
risk = "SAFE"
dry_run = false
timeout = "4m"
settle = "0s"
""",
        )
        gateway = stack.enter_context(running.gateway(folder, text))
        begun = time.monotonic()
        usual = tuple(f"198.51.100.{number}" for number in range(1, 5))
        for name in NAMES:
            callers = Callers(gateway.url, f"/{name}/1", usual, 1.2)
            stack.callback(callers.stop)

        # The switch is on: what would run by itself waits, and nobody can approve it.
        told["stop"] = gateway.sentinel("stop-actions", "on", "--why", "moving the database", "--json")
        ill.broken = True
        told["held back"] = shop.incident_when(
            gateway, "held", acted("eject_target", "PENDING"), ACT_S, "an action waits while all are stopped"
        )
        action = the(told["held back"], "eject_target")
        told["refused"] = gateway.control.post(f"/api/v1/actions/{action['id']}/approve", json={})
        time.sleep(6)  # a round more: whatever could run by itself would have
        told["still"] = the(shop.incident_at(gateway, "held") or {}, "eject_target")["state"]
        told["go"] = gateway.sentinel("stop-actions", "off", "--json")
        told["approved"] = gateway.control.post(f"/api/v1/actions/{action['id']}/approve", json={})

        # Four troubles at once, each with its own remedy. What is usual has to be known before.
        gateway.wait(lambda: time.monotonic() > begun + 45, 60, "three quarters of a minute of usual traffic")
        abuser = Callers(gateway.url, "/abused/1", ("203.0.113.9",) * 4, 4.0)
        storm = Callers(gateway.url, "/stormed/1", tuple(f"192.0.2.{number}" for number in range(1, 6)), 1.0)
        stack.callback(abuser.stop)
        stack.callback(storm.stop)
        bad = gateway.config.read_text().replace(
            'match = { path = "/changed/*" }', 'match = { path = "/changed/*" }\nrewrite = "/wrong"'
        )
        fixed.broken = True
        told["applied"] = gateway.control.post("/api/v1/config/apply", json={"text": bad, "note": "a new path"})
        told["limited"] = shop.incident_when(
            gateway, "abused", acted("limit_caller", "EXECUTED"), ACT_S, "the caller is limited"
        )
        told["shed asked"] = shop.incident_when(
            gateway, "stormed", acted("shed_load", "PENDING"), ACT_S, "shedding is proposed"
        )
        shed = the(told["shed asked"], "shed_load")
        told["shed approved"] = gateway.control.post(f"/api/v1/actions/{shed['id']}/approve", json={})
        told["roll asked"] = shop.incident_when(
            gateway, "changed", acted("roll_back", "PENDING"), ACT_S, "going back is proposed"
        )
        roll = the(told["roll asked"], "roll_back")
        told["roll approved"] = gateway.sentinel("incidents", "approve", roll["id"], "--json")
        told["text after"] = gateway.api("/api/v1/config")["text"]
        gateway.wait(lambda: _any_order(gateway, "shed", "stormed"), 30, "requests are shed")
        gateway.wait(lambda: _any_order(gateway, "limited", "abused"), 30, "the caller hears 429")
        told["abuser"] = Counter(abuser.answers)
        told["rolled"] = shop.incident_when(
            gateway, "changed", acted("roll_back", "KEPT"), ACT_S, "going back helped and stays"
        )

        # Control dies between beginning and knowing the end; the next one goes on with what is in force.
        abuser.stop()
        shop.incident_when(gateway, "fixed", acted("run_outside", "RUNNING"), ACT_S, "the command is begun")
        gateway.wait(lambda: receiver.requests, 30, "the receiver is called")
        control = gateway.child("control")
        control.kill()
        gateway.wait(lambda: not control.is_running() or control.status() == "zombie", 10, "control is dead")
        gateway.wait(gateway.ready, 60, "a new control answers")
        told["unknown"] = shop.incident_when(
            gateway, "fixed", lambda one: "incident.escalated" in shop.kinds(one), ACT_S, "a person is called"
        )
        told["given back"] = shop.incident_when(
            gateway, "abused", acted("limit_caller", "REVERTED"), 150, "the caller is let through again"
        )
        told["called"] = list(receiver.requests)
        told["audit"] = [line["verb"] for line in gateway.api("/api/v1/audit?limit=200")["items"]]
        told["log"] = gateway.log.read_text(errors="replace")
    return told


def _any_order(gateway: running.Gateway, outcome: str, route: str) -> bool:
    text = httpx2.get(f"{gateway.admin_url}/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("sentinel_directed_total{")]
    return any(f'outcome="{outcome}"' in line and f'route="{route}"' in line for line in lines)


def test_while_all_actions_are_stopped_nothing_is_executed_or_approved(story):
    assert story["stop"].returncode == 0, story["stop"].stderr
    assert story["refused"].status_code == 409
    assert "stopped by" in story["refused"].text and "moving the database" in story["refused"].text
    assert story["still"] == "PENDING"
    assert story["approved"].json()["state"] == "EXECUTED", "and once they may run again it is approved as before"
    assert {"actions.stopped", "actions.released"} <= set(story["audit"])


def test_an_abusive_caller_is_limited_and_let_through_again_once_it_behaves(story):
    limited = the(story["limited"], "limit_caller")
    assert limited["caller"] == "client 203.0.113.9"
    assert (limited["risk"], limited["decided_by"]) == ("SAFE", "system sentinel")
    assert story["abuser"][429] > 0
    assert the(story["given back"], "limit_caller")["ended_at"] is not None


def test_a_storm_of_requests_is_shed_after_approval(story):
    shed = the(story["shed asked"], "shed_load")
    assert shed["risk"] == "MODERATE"
    assert 0.1 <= shed["amount"] <= 0.5
    assert story["shed approved"].json()["state"] == "EXECUTED"


def test_a_bad_revision_is_rolled_back_after_approval_and_stays_so(story):
    asked = the(story["roll asked"], "roll_back")
    assert asked["revision"] == story["applied"].json()["revision"] - 1
    assert "changed" in asked["effect"]
    assert story["roll approved"].returncode == 0, story["roll approved"].stderr
    assert "/wrong" not in story["text after"]
    assert the(story["rolled"], "roll_back")["outcome"]["verdict"] == "helped"


def test_a_command_is_run_once_although_control_is_killed_before_it_ends(story):
    assert len(story["called"]) == 1
    unknown = the(story["unknown"], "run_outside")
    assert unknown["state"] == "UNKNOWN"
    assert "control ended" in unknown["note"]
    assert "Traceback" not in story["log"]
