"""What `sentinel replay` asks for and how it shows the answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from gateway.admin.api.replay import shown_limit
from gateway.cli import replaying
from gateway.cli.main import app
from tests.replay_fakes import limit_replay

run = CliRunner()


class Control:
    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def call(self, _method: str, path: str, *, body: Any) -> Any:
        self.asked.append((path, body))
        return msgspec.to_builtins(shown_limit(limit_replay()))


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Control:
    made = Control()
    monkeypatch.setattr(replaying, "connect", lambda _config: made)
    return made


LIMIT = ["replay", "--route", "orders", "--limit", "5/s burst 5 per subject"]


def test_the_answer_names_callers_bursts_and_the_lines_to_write(control: Control) -> None:
    answer = run.invoke(app, [*LIMIT, "--since", "7d"])
    assert answer.exit_code == 0, answer.output
    asked = {"route": "orders", "limit": "5/s burst 5 per subject", "since": "7d"}
    assert control.asked == [("/api/v1/replay", asked)]
    shown = " ".join(answer.stdout.split())
    for said in (
        "would have rejected 212 of 9,431 requests, 1 caller.",
        "With burst 41 nobody would have been rejected.",
        'mode = "shadow"',
        "- Something is not known.",
    ):
        assert said in shown


def test_json_is_the_answer_of_the_interface(control: Control) -> None:
    answer = run.invoke(app, [*LIMIT, "--json"])
    assert json.loads(answer.stdout)["rejected"] == 212


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="nothing"),
        pytest.param(["--limit", "5/s per subject"], id="no-route"),
        pytest.param(["--route", "orders"], id="no-limit"),
        pytest.param(["--route", "o", "--limit", "5/s per client", "--detector", "z.p3=3"], id="both"),
        pytest.param(["--detector", "z.p3"], id="no-value"),
    ],
)
def test_half_a_question_is_a_wrong_command_line(control: Control, arguments: list[str]) -> None:
    assert run.invoke(app, ["replay", *arguments]).exit_code == 2
    assert control.asked == []
