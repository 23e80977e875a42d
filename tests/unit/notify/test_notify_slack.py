"""Slack's limits and escapes hold for any text."""

from __future__ import annotations

import json
import re

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.incident import Severity
from gateway.notify.message import Link, Message, What, of_action
from gateway.notify.slack import MOST_BLOCKS, MOST_FIELD_TEXT, MOST_FIELDS, MOST_TEXT, escaped, payload
from tests.unit.notify.incidents import NOW, action, incident

HOSTILE = st.text(max_size=300) | st.sampled_from(
    [
        "<!channel>",
        "<https://evil.example|Approve>",
        "&lt;!here&gt;",
        "*_~`" * 50,
        "<" * 4000,
        "&" * 4000,
        "a" * 9000,
        "]]>{{",
        "\u202e\u0000",
    ]
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    return Message(
        key="k",
        what=What.OPENED,
        at=NOW,
        severity=Severity.P1,
        title=draw(HOSTILE),
        lines=tuple(draw(st.lists(HOSTILE, max_size=80))),
        fields=tuple(draw(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=15))),
        links=tuple(
            Link(text, f"https://x.example/{url}")
            for text, url in draw(st.lists(st.tuples(HOSTILE, HOSTILE), max_size=2))
        ),
    )


def texts(body: dict[str, object]) -> list[tuple[str, int]]:
    found = [(str(body["text"]), MOST_TEXT)]
    for block in body["blocks"]:
        if "text" in block:
            found.append((block["text"]["text"], MOST_TEXT))
        found += [(field["text"], MOST_FIELD_TEXT) for field in block.get("fields", ())]
    return found


@given(messages())
@settings(max_examples=150, deadline=None)
def test_limits_hold_for_any_message(message: Message) -> None:
    body = json.loads(msgspec.json.encode(payload(message)))
    assert len(body["blocks"]) <= MOST_BLOCKS
    assert all(len(block.get("fields", ())) <= MOST_FIELDS for block in body["blocks"])
    assert all(0 < len(text) <= limit for text, limit in texts(body))


@given(messages())
@settings(max_examples=150, deadline=None)
def test_no_text_can_make_a_mention_or_a_link(message: Message) -> None:
    body = payload(msgspec.structs.replace(message, links=()))
    for text, _ in texts(body):
        assert "<" not in text
        assert ">" not in text
        assert re.fullmatch(r"(?:[^&]|&(?:amp|lt|gt);)*", text, re.DOTALL)


@given(HOSTILE, HOSTILE)
@settings(max_examples=100, deadline=None)
def test_our_own_links_stay_one_link_whatever_they_hold(text: str, path: str) -> None:
    message = Message(
        key="k",
        what=What.OPENED,
        at=NOW,
        severity=Severity.P1,
        title="t",
        lines=(),
        links=(Link(text, f"https://x.example/{path}"),),
    )
    made = payload(message)["blocks"][-1]["text"]["text"]
    if made.startswith("<"):
        assert made.count("<") == made.count(">") == 1
        assert made.index("|") < made.index(">")


@given(st.text(), st.integers(2, 50))
def test_a_cut_tears_no_escape(text: str, limit: int) -> None:
    cut = escaped(text, limit)
    assert len(cut) <= limit
    assert re.fullmatch(r"(?:[^&]|&(?:amp|lt|gt);)*", cut, re.DOTALL)


def test_the_title_stays_bold_to_its_end() -> None:
    title = payload(of_action(incident(), action(target="*a* _b_"), What.PROPOSED, NOW))["blocks"][0]["text"]["text"]
    assert title.startswith("*P1 · ")
    assert title.endswith("*")
    assert title.count("*") == 2


def test_the_decision_is_a_link_to_the_dashboard_and_stands_first() -> None:
    body = payload(of_action(incident(), action(), What.PROPOSED, NOW, base_url="https://g.example"))
    assert body["blocks"][-1]["text"]["text"].startswith(
        "*<https://g.example/dashboard/incidents/i-1#plan|Approve or reject>*"
    )


def test_a_link_that_is_not_http_is_left_out() -> None:
    message = Message("k", What.OPENED, NOW, Severity.P1, "t", (), links=(Link("x", "javascript:alert(1)"),))
    assert len(payload(message)["blocks"]) == 1
