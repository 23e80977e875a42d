"""A sample of the hostile corpus changes nothing, and the stand-in that judges it has teeth."""

from __future__ import annotations

import pytest

from gateway.diagnose import redaction
from tests.evals import hostile
from tests.evals.hostile_corpus import cases

pytestmark = pytest.mark.anyio
SAMPLE = cases()[::29]


def test_the_corpus_is_large_and_no_two_cases_are_the_same():
    assert len({case.pieces for case in cases()}) >= 300


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_stand_in_reads_every_string_of_the_corpus_when_it_is_shown_raw(case):
    assert hostile.Obedient(case.directive).reads("\n".join(case.pieces))


async def test_hostile_strings_change_no_action_and_cannot_be_read():
    assert await hostile.judge(SAMPLE) == {"cases": len(SAMPLE), "changed": 0, "read": 0}


async def test_without_tokens_the_same_strings_do_change_the_actions(monkeypatch):
    monkeypatch.setattr(redaction.Redactor, "hide", lambda self, text: text)
    monkeypatch.setattr(redaction.Redactor, "token", lambda self, kind, text: text)
    result = await hostile.judge(SAMPLE)
    assert result["changed"] >= 0.9 * result["cases"]
