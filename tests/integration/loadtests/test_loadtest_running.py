"""`sentinel loadtest` for real: a gateway, a service, locust, a judgement and a page."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path


def loadtest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "loadtest", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_limit_storm_and_websockets_hold_and_leave_a_page_and_no_process(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = loadtest(
        tmp_path, "limit-storm", "websocket", "--seconds", "2", "--users", "5", "--report", str(page), "--json"
    )
    said = json.loads(done.stdout)
    assert (done.returncode, said["held"]) == (0, True), done.stdout + done.stderr
    websocket, storm = said["scenarios"]
    assert (websocket["name"], storm["name"]) == ("websocket", "limit-storm")
    kinds = {kind["name"]: kind["requests"] for kind in storm["seen"]["kinds"]}
    assert 100 <= kinds["passed"] <= 100 + 50 * storm["seen"]["seconds"] + 1
    assert kinds["refused"] > 0
    assert storm["cost"]["worker_us"] > 0
    assert all(one["timeline"] for one in said["scenarios"])
    assert page.read_text().startswith("<!doctype html>")
    left = [one.cmdline() for one in psutil.process_iter() if any(str(tmp_path) in word for word in _words(one))]
    assert left == []


def test_a_gateway_that_does_not_answer_fails_the_test_and_says_why(tmp_path: Path) -> None:
    done = loadtest(tmp_path, "steady", "--url", "http://127.0.0.1:9", "--seconds", "2", "--users", "2", "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["held"]) == (1, False)
    assert "refused" in json.dumps(said["scenarios"][0]["seen"]["error_texts"]).lower()


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
