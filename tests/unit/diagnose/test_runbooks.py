"""A runbook is Markdown behind a few checked lines; what is wrong is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.diagnose.runbooks import MOST_CHARACTERS, RunbookError, fitting, parse, sought
from gateway.domain.runbook import Match, Runbook
from tests.unit.diagnose.story import P1, diagnosed, tell

GOOD = """---
# for the pool
title: 'The pool is  exhausted'
services: [payments, orders]
signals: latency
---

Look.
"""
SAMPLES = sorted((Path(__file__).parents[3] / "runbooks").glob("*.md"))


def read(text, identifier="pool"):
    return parse(identifier, text, source="api", now=1.0)


def test_a_runbook_is_read_with_what_it_is_for():
    assert read(GOOD) == Runbook(
        "pool", "The pool is exhausted", ("payments", "orders"), ("latency",), (), "Look.", "api", 1.0
    )


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("", 1, "three dashes"),
        ("# Title\n", 1, "three dashes"),
        ("---\ntitle: x\n", 2, "does not end"),
        ("---\ntitle x\n---\nb", 2, "name: value"),
        ("---\ntitle: x\nseverity: P1\n---\nb", 3, "unknown field"),
        ("---\ntitle: x\ntitle: y\n---\nb", 3, "twice"),
        ("---\ntitle: x\nsignals: [slowness]\n---\nb", 3, "error_rate"),
        ("---\ntitle: x\nactions: [rm -rf]\n---\nb", 3, "eject_target"),
        ("---\ntitle: x\nservices: [a, b\n---\nb", 3, "brackets"),
        ("---\nservices: [a]\n---\nb", 1, "title is needed"),
        (f"---\ntitle: {'x' * 200}\n---\nb", 2, "120"),
        ("---\ntitle: \x1b[31m\n---\nb", 2, "printable"),
        ("---\ntitle: x\n---\n\n", 2, "nothing behind"),
        ("x" * (MOST_CHARACTERS + 1), 1, "longer"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, line, word):
    with pytest.raises(RunbookError) as caught:
        read(text)
    assert caught.value.line == line
    assert word in str(caught.value)


@pytest.mark.parametrize("identifier", ["", "../etc", "A", "a b", "x" * 64, "-a"])
def test_a_name_is_letters_digits_and_dashes(identifier):
    with pytest.raises(RunbookError):
        read(GOOD, identifier)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_samples_can_be_read(path):
    assert parse(path.stem, path.read_text(), source="file", now=0.0).signals


def test_there_are_five_samples():
    assert len(SAMPLES) == 5


def test_the_words_sought_are_ours_and_no_callers():
    told = tell(lambda flow: flow._replace(errors=0.9, tenant="zorbulon") if flow.target == P1 else flow)
    _, hypotheses = diagnosed(told)
    words = sought(told.incidents[0], hypotheses, ["upstream_timeout", "zorbulon"])
    assert {"errors", "timeout", "payments"} <= set(words)
    assert "zorbulon" not in words


def test_those_that_name_the_service_come_first_and_those_for_another_not_at_all():
    told = tell(lambda flow: flow._replace(errors=0.9) if flow.target == P1 else flow)
    incident = told.incidents[0]

    def match(name, score, **changes):
        return Match(Runbook(name, name, **changes), score, ())

    found = fitting(
        [
            match("any", 9.0),
            match("other", 9.0, services=("catalogue",)),
            match("slow", 9.0, signals=("latency",)),
            match("ours", 0.1, services=("payments",)),
        ],
        incident,
        {"payments"},
    )
    assert [one.runbook.id for one in found] == ["ours", "any"]
