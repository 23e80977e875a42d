"""What people read, and who reads it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.incident import IncidentState, Severity, TimelineEntry
from gateway.domain.plan import ActionState
from gateway.domain.policy import NotifyChannel
from gateway.notify.message import What, of_action, of_incident, trial_message
from gateway.notify.routing import recipients
from gateway.notify.wording import duration, plain
from tests.unit.notify.incidents import HELPED, NOW, action, diagnosis, executed, incident

URL = "https://gateway.example/"


def test_an_opening_says_what_where_and_since_when() -> None:
    message = of_incident(incident(), What.OPENED, NOW, base_url=URL)
    assert message.title == "orders: half of the requests fail"
    assert message.lines == ("50 of the last 100 requests of orders failed; usually 0.",)
    assert dict(message.fields) == {
        "Severity": "P1",
        "Where": "route orders, upstream orders",
        "Since": "02:59:40 UTC, 20 s",
        "Incident": "i-1",
    }
    assert [link.url for link in message.links] == ["https://gateway.example/dashboard/incidents/i-1"]
    assert message.key == "incident:i-1:opened:1"


def test_a_diagnosis_says_the_cause_and_how_sure() -> None:
    message = of_incident(incident(diagnosis=diagnosis()), What.DIAGNOSED, NOW)
    assert "Cause: 10.0.0.1:1 of payments refuses every request." in message.lines
    assert "How sure: high (93%)." in message.lines
    assert "1. Look at 10.0.0.1:1." in message.lines


def test_an_inconclusive_diagnosis_says_so_and_names_no_cause() -> None:
    message = of_incident(incident(diagnosis=diagnosis(inconclusive=True, root_cause="")), What.DIAGNOSED, NOW)
    assert "The cause is not clear." in message.lines
    assert not any(line.startswith("Cause:") for line in message.lines)


def test_a_second_diagnosis_is_news_and_the_same_one_is_not() -> None:
    first = of_incident(incident(diagnosis=diagnosis()), What.DIAGNOSED, NOW)
    again = of_incident(incident(diagnosis=diagnosis(), version=9), What.DIAGNOSED, NOW + 99)
    assert first.key == again.key


def test_a_proposal_asks_and_links_to_the_decision() -> None:
    message = of_action(incident(), action(), What.PROPOSED, NOW, base_url=URL)
    assert message.title == "Please decide: take 10.0.0.1:1 of payments out?"
    assert message.lines[0] == "Take 10.0.0.1:1 out of payments for 10 min."
    assert message.lines[-1] == "It lapses in 30 min if nobody decides."
    assert message.links[0].wants_decision
    assert message.links[0].url == "https://gateway.example/dashboard/incidents/i-1#plan"


def test_without_an_address_of_the_dashboard_there_are_no_links() -> None:
    assert of_action(incident(), action(), What.PROPOSED, NOW).links == ()


def test_an_execution_says_by_whom_and_until_when() -> None:
    message = of_action(incident(), executed(), What.EXECUTED, NOW)
    assert "Decided by user ana." in message.lines
    assert any("03:10:00 UTC" in line for line in message.lines)


def test_a_dry_run_never_reads_as_if_something_was_done() -> None:
    dry = action(state=ActionState.EXECUTED, executed_at=NOW, effect_until=NOW + 600, dry=True)
    assert of_action(incident(), dry, What.EXECUTED, NOW).title.startswith("Dry run: ")


def test_a_verdict_is_told_once_for_each_verdict() -> None:
    helped = of_action(incident(), executed(outcome=HELPED), What.VERIFIED, NOW)
    assert helped.title == "It helped: 10.0.0.1:1 of payments is out"
    assert helped.key == "incident:i-1:action_verified:a-1.helped"


def test_taking_back_what_did_not_help_calls_for_a_person() -> None:
    useless = executed(outcome=HELPED.__class__("no_effect", 0.5, 0.5, 50, NOW, "It did not help."), note="no use.")
    message = of_action(incident(), useless, What.RETURNED, NOW)
    assert message.lines == ("Why: no use.", "The machine is at its end here: please look.")


def test_an_escalation_asks_a_person_and_says_what_was_done_last() -> None:
    entries = tuple(
        TimelineEntry(NOW + number, kind, f"entry {number}")
        for number, kind in enumerate(("incident.opened", "action.executed", "action.reverted", "incident.escalated"))
    )
    message = of_incident(incident(timeline=entries), What.ESCALATED, NOW)
    assert message.title.startswith("Please look: ")
    assert message.lines[1:] == ("entry 1", "entry 2")
    again = of_incident(incident(timeline=(*entries, entries[-1])), What.ESCALATED, NOW)
    assert message.key != again.key


def test_a_closing_says_how_long_and_what_helped() -> None:
    over = incident(
        state=IncidentState.CLOSED,
        closed_at=NOW + 100,
        close_reason="errors are gone",
        actions=(executed(outcome=HELPED),),
    )
    message = of_incident(over, What.CLOSED, NOW + 500)
    assert message.lines[0] == "Errors are gone. It lasted 2 min."
    assert message.lines[1].startswith("10.0.0.1:1 of payments was taken out for 1 min 40 s. It helped.")
    assert dict(message.fields)["Lasted"] == "02:59:40 UTC, 2 min"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (180, "3 min"), (7500, "2 h 5 min")]
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.text(max_size=400), st.integers(1, 60))
def test_plain_text_is_one_short_line_without_hidden_characters(text: str, limit: int) -> None:
    cut = plain(text, limit)
    assert len(cut) <= limit
    assert not {unicodedata.category(char) for char in cut} & {"Cc", "Cf", "Zl", "Zp", "Cs"}


def test_direction_marks_cannot_turn_a_name_around() -> None:
    assert plain("pay\u202ements\u0000\nnow", 50) == "payments now"


PAGER = NotifyChannel(name="pager", kind="slack", severities=(Severity.P1,))
TEAM = NotifyChannel(name="team", kind="slack")


def names(message: object, told: frozenset[str] | None) -> list[str]:
    return [channel.name for channel in recipients((PAGER, TEAM), message, told)]


def test_a_channel_hears_of_the_severities_it_asked_for() -> None:
    assert names(of_incident(incident(), What.OPENED, NOW), frozenset()) == ["pager", "team"]
    assert names(of_incident(incident(severity=Severity.P3), What.OPENED, NOW), frozenset()) == ["team"]


def test_a_closing_goes_where_the_opening_went_whatever_the_severity_now() -> None:
    closing = of_incident(incident(severity=Severity.P4), What.CLOSED, NOW)
    assert names(closing, frozenset({"pager"})) == ["pager"]
    assert names(closing, frozenset()) == []


def test_who_heard_of_an_incident_hears_how_it_goes_on() -> None:
    milder = of_incident(incident(severity=Severity.P3), What.DIAGNOSED, NOW)
    assert names(milder, frozenset({"pager"})) == ["pager", "team"]


def test_a_rise_in_severity_reaches_those_who_were_not_told_before() -> None:
    assert names(of_incident(incident(), What.RAISED, NOW), frozenset({"team"})) == ["pager", "team"]


def test_when_it_cannot_be_known_who_was_told_the_severity_decides() -> None:
    assert names(of_incident(incident(), What.CLOSED, NOW), None) == ["pager", "team"]


def test_a_test_goes_everywhere() -> None:
    assert names(trial_message(NOW), frozenset()) == ["pager", "team"]
