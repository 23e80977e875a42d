"""Why control is not ready, and that docs/reference/http-api.md says all of it."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from gateway.admin import reference
from gateway.control.readiness import reasons_not_ready


def reasons(*, up: bool = True, leads: bool = True, waiting: int = 0, dropped: int = 0, stopping: bool = False):
    return reasons_not_ready(
        SimpleNamespace(store_up=up),
        SimpleNamespace(store_up=leads),
        SimpleNamespace(waiting=waiting, dropped=dropped),
        stopping=stopping,
    )


def test_with_nothing_amiss_there_is_no_reason():
    assert reasons() == ()


@pytest.mark.parametrize("away", [{"up": False}, {"leads": False}], ids=["shipping", "leadership"])
def test_a_store_that_is_away_is_one_reason_whoever_noticed(away):
    assert len(reasons(**away, waiting=3)) == 1


def test_every_reason_stands_in_the_reference():
    given = {*reasons(stopping=True, up=False, dropped=2), *reasons(waiting=7)}
    assert len(given) == 4
    listed = re.findall(r"^- (\S.*)$", reference.markdown().split("\n## ", 1)[0], re.MULTILINE)
    assert {re.sub(r"\d+", "N", reason) for reason in given} <= set(listed)
