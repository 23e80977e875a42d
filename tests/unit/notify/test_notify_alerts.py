"""People who are woken by an alert of other monitoring read what it says, marked as said by it."""

from __future__ import annotations

import msgspec

from gateway.domain.incident import AlertSource, AlertWords, ExternalAlert, Place, Severity
from gateway.notify.message import What, of_incident
from tests.admin_fakes import NOW, some_incidents


def alert(name: str, **more: object) -> ExternalAlert:
    words = AlertWords(name, "95 % of\n/var <used>")
    source, place = AlertSource.ALERTMANAGER, Place(upstream="payments")
    whole = ExternalAlert(name, source, Severity.P2, place, NOW - 60, NOW, NOW, words)
    return msgspec.structs.replace(whole, **more)


def lines(*alerts: ExternalAlert) -> tuple[str, ...]:
    incident = msgspec.structs.replace(some_incidents()[0], alerts=alerts)
    return of_incident(incident, What.OPENED, NOW).lines


def test_what_an_alert_says_stands_on_one_line_behind_its_sender():
    assert "Said by Alertmanager: “DiskFull: 95 % of /var <used>”" in lines(alert("DiskFull"))


def test_few_alerts_are_told_and_none_that_is_over():
    told = lines(alert("over", ended_at=NOW), *(alert(f"a{number}") for number in range(9)))
    said = [line for line in told if line.startswith("Said by")]
    assert len(said) == 3
    assert not any("over" in line for line in said)


def test_a_long_alert_is_cut():
    assert max(map(len, lines(alert("x" * 5000)))) < 250
