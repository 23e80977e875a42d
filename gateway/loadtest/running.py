"""Runs one scenario in a process of its own and hears what it tells, while looking at what the gateway uses."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.loadtest import judging
from gateway.loadtest.figures import Check, Cost, Outcome, Told
from gateway.loadtest.settings import VARIABLE, ScenarioSettings
from gateway.resources import folder as resource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.loadtest.figures import Second, Seen
    from gateway.loadtest.stage import Stage

START_S = 40  # what locust may take until the first answer, or the first failure: then the scenario's time begins
PATIENCE_S = 60.0  # beyond its time, for that, the last answers and the judgement
STOP_S = 5  # how long locust lets users finish what they began
LOOK_S = 0.25
BODIES_MIB = 48.0  # what the workers may hold more under large bodies: a window each way for each connection, and slack


class Scenario(NamedTuple):
    """What there is to run. ``needs`` is the option without which a foreign gateway cannot be tried."""

    name: str
    title: str
    file: str
    needs: str = ""
    most_users: int = 500


SCENARIOS = (
    Scenario("steady", "steady traffic below saturation", "steady.py"),
    Scenario("burst", "everybody at once, then quiet again", "burst.py"),
    Scenario("slow-clients", "clients that drip and hardly read, beside prompt ones", "slow_clients.py"),
    Scenario("large-bodies", "bodies of up to 4 MB there and back", "large_bodies.py", "--echo", 32),
    Scenario("websocket", "WebSockets that echo, ping and close", "echoing_websockets.py", "--websocket"),
    Scenario("limit-storm", "one subject far above its limit", "limit_storm.py", "--limit"),
)


def run(
    scenario: Scenario,
    settings: ScenarioSettings,
    url: str,
    folder: Path,
    *,
    stage: Stage | None,
    progress: Callable[[Second], None],
) -> Outcome:
    """Run it to its end. ``stage`` is the gateway when it was started here. Never raises for what the scenario did."""
    users = min(settings.users, scenario.most_users)
    reading, writing = os.pipe()
    settings = msgspec.structs.replace(settings, users=users, tell_fd=writing)
    log = folder / f"locust-{scenario.name}.log"
    before = stage.used() if stage else None
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, our own file
            _command(scenario, settings, url),
            env={**os.environ, VARIABLE: msgspec.json.encode(settings).decode()},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(writing,),
            start_new_session=True,
        )
    os.close(writing)
    try:
        timeline, seen, peak_mib = _listen(process, reading, settings.seconds + PATIENCE_S, stage, progress)
    finally:
        _stop(process)
    outcome = Outcome(scenario.name, scenario.title, users, tuple(timeline), seen)
    if seen is None:
        said = log.read_text(errors="replace")[-1500:].strip()
        return msgspec.structs.replace(
            outcome, failure=f"locust ended without a result (code {process.returncode}):\n{said}"
        )
    checks: tuple[Check, ...] = seen.checks
    cost = None
    if stage is not None and before is not None:
        after = stage.used()
        requests = max(seen.requests, 1)
        rss_mib = (before.rss_mib, max(peak_mib, before.rss_mib, after.rss_mib), after.rss_mib)
        worker_us = (after.worker_s - before.worker_s) / requests * 1e6
        cost = Cost(worker_us, (after.control_s - before.control_s) / requests * 1e6, rss_mib)
        if scenario.name == "large-bodies":
            checks = (*checks, judging.memory_bounded(rss_mib, BODIES_MIB))
    return msgspec.structs.replace(outcome, checks=checks, cost=cost)


def _command(scenario: Scenario, settings: ScenarioSettings, url: str) -> list[str]:
    path = resource("loadtests") / "scenarios" / scenario.file
    words = [sys.executable, "-m", "locust", "-f", str(path), "--headless", "--host", url, "--only-summary"]
    words += ["--loglevel", "WARNING", "--stop-timeout", str(STOP_S)]
    words += ["--run-time", f"{settings.seconds + START_S:.0f}s"]
    if scenario.name != "burst":  # its shape says how many there are
        words += ["--users", str(settings.users), "--spawn-rate", str(settings.users)]
    return words


def _listen(
    process: subprocess.Popen[bytes],
    reading: int,
    within_s: float,
    stage: Stage | None,
    progress: Callable[[Second], None],
) -> tuple[list[Second], Seen | None, float]:
    lines: queue.Queue[bytes] = queue.Queue(10_000)
    threading.Thread(target=_read, args=(reading, lines), daemon=True).start()
    timeline: list[Second] = []
    seen: Seen | None = None
    peak_mib = 0.0
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            line = lines.get(timeout=LOOK_S)
        except queue.Empty:
            line = None
        if stage is not None:
            peak_mib = max(peak_mib, stage.used().rss_mib)
        if line is None:
            continue
        if not line:
            break  # its end of the pipe is closed
        told = msgspec.json.decode(line, type=Told)
        if told.second is not None:
            timeline.append(told.second)
            progress(told.second)
        seen = told.seen or seen
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    return timeline, seen, peak_mib


def _read(reading: int, lines: queue.Queue[bytes]) -> None:
    with os.fdopen(reading, "rb") as pipe:
        for line in pipe:
            lines.put(line)
    lines.put(b"")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
