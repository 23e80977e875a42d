"""`sentinel loadtest` refuses what it cannot or should not do, and says how to mend it."""

from __future__ import annotations

import importlib.util

import pytest
from typer.testing import CliRunner

from gateway.cli import loadtest
from gateway.cli.main import app
from gateway.loadtest import machine

USAGE = 2


def refused(*words: str) -> str:
    result = CliRunner().invoke(app, ["loadtest", *words])
    assert result.exit_code == USAGE, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stedy",), "there is no scenario 'stedy' → one of steady, burst"),
        (("--driver", "fast"), "lane or asgi"),
        (("--url", "http://192.0.2.1"), "192.0.2.1 is not this machine"),
        (("--url", "http://localhost.example"), "is not this machine"),
        (("--url", "ftp://localhost"), "is not http://HOST[:PORT]"),
        (("--url", "http://user:pw@localhost"), "is not http://HOST[:PORT]"),
        (("--url", "localhost:8000"), "is not http://HOST[:PORT]"),
        (("limit-storm", "--url", "http://localhost"), "limit-storm against --url needs --limit"),
        (("large-bodies", "--url", "http://localhost"), "needs --echo"),
        (("websocket", "--url", "http://localhost"), "needs --websocket"),
        (("limit-storm", "--url", "http://localhost", "--limit", "many"), "--limit 'many'"),
        (("limit-storm", "--url", "http://localhost", "--limit", "5 at once"), "is no rate"),
        (("--url", "http://localhost", "--path", "items"), "does not begin with /"),
        (("--echo", "/echo"), "speak of a gateway given with --url"),
        (("--users", "100000"), "--users"),
        (("--seconds", "86400"), "--seconds"),
        (("--report", "/nowhere/at/all/report.html"), "there is no folder /nowhere/at/all"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(words: tuple[str, ...], said: str):
    assert said in refused(*words)


def test_a_missing_locust_is_named_with_the_command_that_brings_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "locust" else found(name))
    result = CliRunner().invoke(app, ["loadtest"])
    assert result.exit_code == 1
    assert 'pip install "sentinelstack[loadtest]"' in result.output


def test_a_foreign_gateway_is_loaded_with_what_is_possible():
    def names(**given: str) -> list[str]:
        empty = {"url": "http://localhost", "path": "/", "echo": "", "websocket": "", "limit": ""}
        return [one.name for one in loadtest.choose([], loadtest.Given(**{**empty, **given}))]

    assert names() == ["steady", "burst", "slow-clients"]
    assert names(echo="/echo") == ["steady", "burst", "slow-clients", "large-bodies"]
    assert names(limit="5/s burst 5")[-1] == "limit-storm"
    assert len(names(url="")) == 6


@pytest.mark.parametrize(
    ("host", "ours"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("a.b", False)],
)
def test_this_machine_is_known(host: str, ours: bool):  # noqa: FBT001 - the expectation
    assert loadtest.is_loopback(host) is ours


def test_the_interpreter_is_named_with_how_it_was_built(monkeypatch):
    monkeypatch.setattr(machine.sysconfig, "get_config_var", lambda _: "'--enable-optimizations' '--with-lto'")
    assert machine.interpreter().endswith("built with profile-guided optimisation")
    monkeypatch.setattr(machine.sysconfig, "get_config_var", lambda _: None)
    assert machine.interpreter().endswith("built without profile-guided optimisation")
