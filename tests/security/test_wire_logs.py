"""Text from the traffic in records, logs and on terminals: it begins no line, ends none, and drives nothing."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import logs
from gateway.cli import terminal, traffic
from tests.integration.edge.edge_world import Wire
from tests.security.wire_world import HOST, bounded

# C0 and C1 controls, DEL, and the marks that turn the direction of text.
DRIVES = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
HOSTILE = [
    "\x1b[31mred",
    "a\r\nb",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x7f",
    "\u202egnp",
    "a\tb",
    "\x00",
    "\u2028",
    "\x1b[2J",
    "`id`",
]


def record(**changes):
    given = {
        "completed_at": "2026-01-02T03:04:05Z",
        "status": 200,
        "duration_us": 1500,
        "method": "GET",
        "path": "/a",
        "route": "r",
        "target": "127.0.0.1:1",
        "tenant": "t",
        "error": "",
    }
    return given | changes


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["method", "path", "tenant", "route", "target", "error"])
def test_a_live_request_on_a_terminal_is_one_line_that_drives_nothing(capsys, text, field):
    traffic._show(json.dumps(record(**{field: text})), as_json=False)
    shown = capsys.readouterr().out
    assert DRIVES.search(shown.replace("\n", "")) is None
    assert "\x1b" not in shown


@pytest.mark.parametrize("text", HOSTILE)
def test_a_live_request_as_json_is_one_line_and_the_same_values(capsys, text):
    line = msgspec.json.encode(record(path=text)).decode()  # as control sends it: what is not ASCII stands as it is
    traffic._show(line, as_json=True)
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert DRIVES.search(shown.rstrip("\n")) is None
    assert json.loads(shown)["path"] == text


@given(text=st.text(max_size=40))
@bounded(100)
def test_no_text_at_all_drives_a_terminal(text):
    assert DRIVES.search(terminal.printable(text)) is None
    assert "\n" not in terminal.printable(text)


@pytest.fixture
def speaking():
    yield lambda *, json: logs.configure(level="INFO", json=json)
    logs.configure(level="INFO", json=True)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_log_event_with_hostile_text_is_one_line_that_drives_nothing(speaking, capsys, as_json, text):
    speaking(json=as_json)
    logs.get("edge").warning("exchange.tried", path=text, reason=f"x{text}")
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err) if not as_json else capsys.readouterr().err
    assert said.count("\n") == 1
    assert DRIVES.search(said.rstrip("\n")) is None


@pytest.mark.parametrize("as_json", [True, False])
def test_an_error_with_hostile_text_keeps_its_traceback_and_drives_nothing(speaking, capsys, as_json):
    speaking(json=as_json)
    try:
        raise ValueError("\x1b[2J\x9b31m\r")  # noqa: TRY301 - it is raised to be logged
    except ValueError as error:
        logs.get("edge").error("exchange.crashed", exc_info=error)
    said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err)
    assert "Traceback" in said
    assert DRIVES.search(said.replace("\n", "")) is None


@pytest.mark.parametrize(
    ("target", "agent"),
    [
        (b"/%0d%0ax", b"a"),
        (b"/a%1b[31m", b"a"),
        (b"/a", b"\x1b[31m"),
        (b"/a", b"caf\xc3\xa9 \x9b31m \xe2\x80\xae"),
        (b"/a?x=%0d%0a&y=%1b[2J", b'"}\\n{"'),
        (b"/a?x=<script>alert(1)</script>", b"<img src=x onerror=alert(1)>"),
    ],
)
def test_what_a_client_sends_is_one_record_and_never_a_line_of_the_log(front, capfd, target, agent):
    wire = Wire(front.port)
    wire.send(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"user-agent: " + agent + b"\r\n\r\n")
    status = wire.head()[0]
    wire.close()
    kept = front.records()[-1]
    assert kept.status == status
    assert len(front.records()) == 1
    assert "\n" not in kept.path + kept.query + kept.user_agent
    line = msgspec.json.encode(kept)
    assert b"\n" not in line
    assert b"\x1b" not in line
    assert capfd.readouterr().err == ""
