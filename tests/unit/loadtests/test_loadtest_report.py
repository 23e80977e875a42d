"""The page of a load test shows what was seen, needs nothing beside it, and believes no text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from rich.console import Console

from gateway.loadtest import charts, show
from gateway.loadtest.figures import Check, Cost, Outcome, Recorder, Second
from gateway.loadtest.report import page

HOSTILE = "<script>alert(1)</script>\"'&"
FACTS = {"gateway": HOSTILE}
VOID = {"meta", "br", "line", "polyline", "circle"}


class Structure(HTMLParser):
    """Every element in order, and whether all that was opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def outcome(*, held: bool = True, name: str = "steady", failure: str = "") -> Outcome:
    seen = Recorder(0.0)
    seen.add(HOSTILE, 1.0, 12.0, 10, error=HOSTILE)
    timeline = (Second(1, 10, 0, 5, 1.0, 2.0), Second(2, 0, 0, 5), Second(3, 30, 2, 5, 1.0, 4.0))
    checks = (Check(f"holds {HOSTILE}", held, HOSTILE),)
    cost = Cost(101.0, 12.0, (50.0, 61.0, 60.0))
    return Outcome(name, HOSTILE, 5, timeline, None if failure else seen.seen(checks), checks, cost, failure)


def test_text_from_outside_is_escaped_everywhere():
    text = page([outcome(), outcome(name="burst", failure=HOSTILE)], FACTS)
    assert "<script" not in text
    assert "script" not in Structure(text).elements
    assert "&lt;script&gt;" in text


def test_the_page_is_well_formed_and_needs_nothing_beside_it():
    structure = Structure(page([outcome(), outcome(held=False, name="burst")], FACTS))
    assert structure.open == []
    links = [value for name, value in structure.attributes if name in {"src", "href"}]
    assert links == ["#steady", "#burst"]
    assert not {"script", "link", "img", "iframe"} & set(structure.elements)


def test_the_page_suits_dark_screens_and_phones():
    text = page([outcome()], FACTS)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport" content="width=device-width' in text


def test_one_check_that_does_not_hold_makes_the_whole_not_hold():
    assert "All 2 scenarios held." in page([outcome(), outcome(name="burst")], FACTS)
    assert "1 of 2 scenarios did not hold." in page([outcome(), outcome(held=False, name="burst")], FACTS)
    assert "0 of 0 scenarios did not hold." in page([], FACTS)


def test_a_scenario_without_a_judgement_does_not_hold():
    assert not Outcome("steady", "", 1).held
    assert not outcome(failure="it ended").held


def test_cost_and_quantiles_are_on_the_page():
    text = page([outcome()], FACTS)
    assert "101 µs" in text and "61 MiB at the peak" in text
    assert "<td>12.0</td>" in text or "<td>11.9</td>" in text or "<td>12.1</td>" in text


def test_seconds_without_answers_are_gaps_not_zeroes():
    svg = charts.chart("Latency", [1, 2, 3, 4, 5], [charts.Line("p95", "one", [1.0, 2.0, None, 4.0, 5.0])])
    assert svg.count("<polyline") == 2
    alone = charts.chart("Latency", [1, 2, 3], [charts.Line("p95", "one", [None, 2.0, None])])
    assert alone.count("<circle") == 1


def test_a_chart_of_nothing_says_so():
    assert "nothing was seen" in charts.chart("Latency", [], [])
    assert "<polyline" in charts.chart("Latency", [1], [charts.Line("p95", "one", [0.0])])


@pytest.mark.parametrize(
    ("highest", "end"), [(0, 1.0), (0.3, 0.5), (1, 1.0), (1.2, 2.0), (9.9, 10.0), (10, 10.0), (10.1, 20), (2300, 2500)]
)
def test_an_axis_ends_at_a_round_number_that_holds_everything(highest: float, end: float):
    assert charts.nice(highest) == pytest.approx(end)


def test_the_terminal_shows_control_characters_instead_of_obeying_them():
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123 - closed with the test
    with console.file:
        show.Lines(console).end(Outcome("steady", "", 1, failure="a\x1b[2Jb\nc"))
        assert "\x1b" not in console.export_text()


def test_little_bars_are_as_high_as_the_highest():
    assert show.sparkline([0, 5, 10]) == "▁▅█"
    assert show.sparkline([]) == ""
    assert show.sparkline([0, 0]) == "▁▁"
