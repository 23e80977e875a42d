"""A configuration that changes under load, a hundred times, and one that is wrong: nobody gets half of either."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests import running
from tests.faults import wires
from tests.faults.wires import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

RELOADS = 100
WORKERS = 2
QUICK = """
if ROLE == "edge":
    from gateway.config.snapshot_file import SnapshotWatcher
    SnapshotWatcher.__init__.__defaults__ = (0.05,)
"""


class Reloaded:
    """A gateway whose configuration shows in each answer twice: in what went upstream, and in what came back."""

    def __init__(self, gateway: running.Gateway, origin: running.Origin, driver: str) -> None:
        self.gateway = gateway
        self.origin = origin
        self.driver = driver

    @staticmethod
    def text(port: int, driver: str, name: str) -> str:
        route = f"""
request_headers = {{ set = {{ X-Config = "{name}" }} }}
response_headers = {{ set = {{ X-Config = "{name}" }} }}
"""
        return running.config(port, server=f'workers = {WORKERS}\ndriver = "{driver}"', route=route)

    def write(self, name: str) -> None:
        self.gateway.write(self.text(self.origin.port, self.driver, name))
        self.hang_up()

    def hang_up(self) -> None:
        assert self.gateway.process is not None
        self.gateway.process.send_signal(signal.SIGHUP)

    def answers(self, count: int = 1) -> Counter[tuple[int, str, str]]:
        """Status, and the configuration upstream and here, each over a connection of its own."""
        seen: Counter[tuple[int, str, str]] = Counter()
        for _ in range(count):
            answer = httpx2.get(f"{self.gateway.url}/x")
            seen[answer.status_code, answer.json()["headers"]["x-config"], answer.headers["x-config"]] += 1
        return seen

    def in_force(self, name: str) -> bool:
        """Whether every worker has it, as far as many connections show."""
        return set(self.answers(12)) == {(200, name, name)}

    def workers(self) -> list[psutil.Process]:
        return [self.gateway.child(f"worker {number}") for number in range(1, WORKERS + 1)]


@pytest.fixture(scope="module", params=wires.DRIVERS)
def reloaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloaded]:
    folder = tmp_path_factory.mktemp("reloaded")
    with running.origin() as origin:
        text = Reloaded.text(origin.port, request.param, "first")
        with running.gateway(folder, text, **wires.site(folder, QUICK)) as gateway:
            yield Reloaded(gateway, origin, request.param)
            assert "Traceback" not in gateway.log.read_text()


def test_a_file_with_errors_is_refused_with_their_places_and_the_old_one_stays(reloaded: Reloaded) -> None:
    reloaded.write("good")
    until(lambda: reloaded.in_force("good"), 10, "the good one is in force")
    text = reloaded.gateway.config.read_text()
    wrong = text.replace('upstream = "api"', 'upstraem = "api"').replace("workers = 2", 'workers = "two"')
    line = 1 + wrong[: wrong.index("upstraem")].count("\n")
    reloaded.gateway.config.write_text(wrong)
    reloaded.hang_up()
    until(lambda: "config.refused" in reloaded.gateway.log.read_text(), 10, "it is refused")
    log = reloaded.gateway.log.read_text()
    assert f"sentinel.toml:{line}:1" in log
    assert "did you mean" in log
    assert "server.workers" in log, "every error is told at once"
    assert set(reloaded.answers(12)) == {(200, "good", "good")}


def test_a_file_that_is_half_written_is_refused_until_it_is_whole(reloaded: Reloaded) -> None:
    reloaded.write("before")
    until(lambda: reloaded.in_force("before"), 10, "it is in force")
    refused = reloaded.gateway.log.read_text().count("config.refused")
    whole = reloaded.gateway.config.read_text().replace("before", "whole")
    reloaded.gateway.config.write_text(whole[: whole.index("X-Config") + 3])
    until(lambda: reloaded.gateway.log.read_text().count("config.refused") > refused, 10, "half of it is refused")
    assert set(reloaded.answers(12)) == {(200, "before", "before")}
    reloaded.gateway.config.write_text(whole)
    until(lambda: reloaded.in_force("whole"), 10, "the whole is taken, unasked")


def test_a_hundred_reloads_under_load_drop_nothing_mix_nothing_and_leave_nothing(reloaded: Reloaded) -> None:
    seen: Counter[tuple[int, str, str]] = Counter()
    over, problems = threading.Event(), []

    def call() -> None:
        with httpx2.Client(base_url=reloaded.gateway.url) as client:
            while not over.is_set():
                try:
                    answer = client.get("/x")
                    upstream = answer.json()["headers"]["x-config"]
                except (httpx2.HTTPError, ValueError) as error:
                    problems.append(error)
                    return
                seen[answer.status_code, upstream, answer.headers["x-config"]] += 1
                time.sleep(0.005)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    files: list[int] = []
    memory: list[int] = []
    try:
        for number in range(RELOADS):
            reloaded.write(f"n{number}")
            until(lambda name=f"n{number}": any(key[1] == name for key in list(seen)), 10, f"reload {number}")
            if number == RELOADS // 4:  # what grows only in the beginning is no leak
                files = [worker.num_fds() for worker in reloaded.workers()]
                memory = [worker.memory_info().rss for worker in reloaded.workers()]
        until(lambda: reloaded.in_force(f"n{RELOADS - 1}"), 10, "both workers have the last")
    finally:
        over.set()
        for caller in callers:
            caller.join(10)
    assert problems == []
    assert {status for status, _, _ in seen} == {200}
    assert all(upstream == here for _, upstream, here in seen), "a request keeps the configuration it began with"
    assert len({here for _, _, here in seen}) >= RELOADS
    assert all(worker.num_fds() <= before + 8 for worker, before in zip(reloaded.workers(), files, strict=True))
    grown = [worker.memory_info().rss - before for worker, before in zip(reloaded.workers(), memory, strict=True)]
    assert max(grown) < 8 * 1024 * 1024


def test_what_was_written_while_no_control_ran_is_applied_by_the_next(reloaded: Reloaded) -> None:
    reloaded.write("old")
    until(lambda: reloaded.in_force("old"), 10, "it is in force")
    reloaded.gateway.child("control").kill()
    text = reloaded.gateway.config.read_text()
    reloaded.gateway.config.write_text(text.replace('"old"', '"new"'))
    assert set(reloaded.answers(6)) <= {(200, "old", "old"), (200, "new", "new")}
    until(lambda: reloaded.in_force("new"), 30, "the control that follows applies what was written meanwhile")
