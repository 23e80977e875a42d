"""A target that crept is blamed by its siblings, not by its own past."""

from __future__ import annotations

import pytest

from gateway.diagnose.before_and_now import BeforeAndNow
from gateway.diagnose.siblings import crept
from gateway.domain.diagnosis import Hypothesis
from gateway.domain.histogram import bin_of
from gateway.domain.incident import Place
from gateway.domain.traffic import SeriesKey, Tally
from gateway.domain.window import Window

START = 1_700_000_040
PLACE = Place(upstream="payments", target="p1")
CHANCE = Hypothesis(id="", statement="Requests of a tenant are slow", tenant="acme", score=0.2)


def spans(own_us: int, other_us: int) -> BeforeAndNow:
    """Both targets as they are now, and the first one hardly faster in the ten minutes before."""
    window = Window()
    for at in range(START, START + 660, 5):
        window.add(
            at,
            {
                SeriesKey("pay", "payments", target, "acme", "POST", 201, ""): Tally(
                    requests=4, latency={bin_of(us): 4}
                )
                for target, us in (("p1", own_us), ("p2", other_us))
            },
        )
    return BeforeAndNow(window, START + 600.0, START + 660.0)


def test_a_target_far_slower_than_its_siblings_leads_where_nothing_else_explains_it():
    first, second = crept([CHANCE], spans(120_000, 20_000), PLACE)
    assert (first.upstream, first.target) == ("payments", "p1")
    assert first.margin > 0.4
    assert second.tenant == "acme"


@pytest.mark.parametrize("own_us", [20_000, 35_000], ids=["alike", "a little slower"])
def test_one_that_is_like_its_siblings_is_not_blamed(own_us):
    assert crept([CHANCE], spans(own_us, 20_000), PLACE) == [CHANCE]


def test_a_cause_that_stands_by_itself_stays_and_a_whole_service_has_no_siblings():
    sure = Hypothesis(id="", statement="Route pay is slow", route="pay", score=0.9, margin=0.8)
    assert crept([sure], spans(120_000, 20_000), PLACE) == [sure]
    assert crept([CHANCE], spans(120_000, 20_000), Place(upstream="payments")) == [CHANCE]
