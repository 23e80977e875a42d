"""Sums as people read them."""

from __future__ import annotations

from gateway.admin.api import numbers
from gateway.admin.api.numbers import SPARK_S, SPARK_STEP_S, Sparklines
from gateway.domain.traffic import ErrorKind, SeriesKey, Tally
from gateway.domain.window import Window
from tests.admin_fakes import NOW, some_window


def test_a_sparkline_kept_is_the_sparkline_computed_anew():
    window = some_window()
    kept = Sparklines(window)
    for later in range(0, 300, 7):
        assert kept.of("", NOW - 300 + later) == Sparklines(window).of("", NOW - 300 + later)


def test_a_sparkline_holds_every_request_of_its_span_once():
    window = some_window()
    points = Sparklines(window).of("", NOW)
    start = points[0].at.timestamp()
    assert len(points) == SPARK_S // SPARK_STEP_S
    assert sum(point.numbers.requests for point in points) == window.total(start, start + SPARK_S).requests


def test_a_step_is_added_up_once():
    window, asked = some_window(), []
    genuine = window.total
    window.total = lambda start, end, **more: asked.append(start) or genuine(start, end, **more)
    lines = Sparklines(window)
    for _ in range(5):
        lines.of("", NOW)
    lines.of("", NOW + SPARK_STEP_S)
    assert len(asked) == SPARK_S // SPARK_STEP_S + 1


def test_one_tenants_sparkline_is_not_shown_to_another_and_few_are_kept():
    lines = Sparklines(some_window(), most=2)
    for _ in range(2):
        sums = [
            sum(
                point.numbers.requests
                for point in lines.of(tenant, NOW, where=lambda key, tenant=tenant: key.tenant == tenant)
            )
            for tenant in ("acme", "globex", "initech")
        ]
        assert sums[0] > sums[1] > sums[2] > 0
    assert len(lines._steps) == 2


def test_who_hits_limits_is_listed_by_how_often():
    window, at = Window(), int(NOW) // 5 * 5 - 30

    def refused(tenant, error):
        return SeriesKey("orders", "", "", tenant, "GET", 429, error)

    window.add(
        at,
        {
            refused("acme", ErrorKind.RATE_LIMITED): Tally(requests=3),
            refused("globex", ErrorKind.RATE_LIMITED): Tally(requests=9),
            refused("initech", ErrorKind.OVERLOADED): Tally(requests=50),
        },
    )
    assert [(row.tenant, row.requests) for row in numbers.hit_limits(window, NOW)] == [("globex", 9), ("acme", 3)]


def test_an_empty_span_has_no_percentiles_and_no_errors():
    nothing = numbers.numbers(Tally(), 60)
    assert (nothing.requests, nothing.error_share, nothing.p95_ms) == (0, 0.0, None)
