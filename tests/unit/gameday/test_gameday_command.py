"""``sentinel gameday``: one JSON object, a table, a page, and exit codes that say whether the goals were met."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import msgspec
import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.gameday import live, running
from gateway.gameday.catalogue import BY_NAME
from gateway.gameday.judging import Result, goals
from gateway.gameday.report import page
from gateway.gameday.running import Quiet

HOSTILE = "<script>alert(1)</script>\"'&"
GOOD = Result(
    number=0,
    kind="target-pool",
    hard=True,
    said="it is ill",
    at=1000.0,
    detected_s=8.0,
    severity="P1",
    title="payments fails",
    named=("Target 10.20.2.1:9002 of payments fails",),
    cause_first=True,
    cause_in_three=True,
    actions=("eject_target 10.20.2.1:9002 of payments: helped",),
    wanted=("eject_target payments 10.20.2.1:9002",),
    right=True,
    wrong=0,
    harmful=0,
    strays=(),
    recovered_s=12.0,
    lasted_s=300.0,
    closed=True,
)
MISSED = msgspec.structs.replace(GOOD, detected_s=None, cause_first=False, cause_in_three=False, right=False, title="")


def called(*arguments: str):
    return CliRunner().invoke(app, ["gameday", *arguments])


def test_it_plays_a_fault_and_prints_one_json_object(tmp_path):
    html = tmp_path / "gameday.html"
    answer = called("--runs", "1", "--fault", "target-pool", "--quiet-hours", "0", "--json", "--html", str(html))
    document = json.loads(answer.stdout)
    assert set(document) == {"met", "facts", "goals", "score", "hard", "faults", "quiet", "runs"}
    assert document["runs"][0]["kind"] == "target-pool"
    assert document["score"]["detected"] == 1.0
    assert answer.exit_code == (0 if document["met"] else 1)
    assert "<h1>Game day</h1>" in html.read_text()


@pytest.mark.parametrize(("result", "code", "said"), [(GOOD, 0, "✓ detected"), (MISSED, 1, "✗ detected")])
def test_the_exit_code_says_whether_every_goal_was_met(monkeypatch, result, code, said):
    monkeypatch.setattr(running, "results", lambda *_: iter([result]))
    answer = called("--runs", "1", "--quiet-hours", "0")
    assert answer.exit_code == code
    assert said in answer.output


def test_a_false_alarm_in_quiet_traffic_misses_the_goal(monkeypatch):
    monkeypatch.setattr(running, "results", lambda *_: iter([GOOD]))
    monkeypatch.setattr(running, "quiet", lambda _seed, seconds, _told: Quiet(seconds, ("catalog fails",)))
    answer = called("--runs", "1", "--quiet-hours", "2")
    assert answer.exit_code == 1
    assert "false alarm: catalog fails" in answer.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fault", "nonsense"), "there is no fault 'nonsense'"),
        (("--real-time", "--fault", "gradual-leak"), "cannot be played in real time"),
        (("--html", "/nowhere/at/all.html"), "there is no folder /nowhere/at"),
    ],
    ids=["unknown", "not in real time", "no folder"],
)
def test_what_cannot_be_played_is_said_before_anything_runs(arguments, said):
    answer = called(*arguments)
    assert answer.exit_code == 2
    assert said in answer.output


def test_the_catalogue_can_be_read():
    listed = json.loads(called("--list", "--json").stdout)
    assert [one["name"] for one in listed] == list(BY_NAME)
    assert all(one["right"] and one["why"] for one in listed)


class Structure(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_believes_no_text():
    hostile = msgspec.structs.replace(GOOD, said=HOSTILE, title=HOSTILE, named=(HOSTILE,), actions=(HOSTILE,))
    text = page([hostile, MISSED], Quiet(3600, (HOSTILE,)), goals([hostile, MISSED], 1, 3600.0), {"seed": HOSTILE})
    structure = Structure(text)
    assert structure.open == []
    assert "script" not in structure.elements
    assert "goals were missed" in text


def test_the_faults_of_real_time_fit_the_demo():
    import random

    for name in sorted(live.PLAYABLE):
        fault = live.drawn(name, random.Random(f"tests/{name}"))
        assert {effect.service for effect in fault.effects} <= {"orders", "payments", "catalog"}
