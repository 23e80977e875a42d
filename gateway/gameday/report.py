"""The report of a game day: one HTML page that needs nothing beside it. Pure; all text is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from gateway.gameday.catalogue import CATALOGUE
from gateway.gameday.judging import score
from gateway.loadtest.report import STYLE, held_class, mark_of, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.gameday.judging import Goal, Result, Score
    from gateway.gameday.running import Quiet

_MORE_STYLE = "td.text, th.text { text-align: left; white-space: normal; min-width: 14rem; }"
COLUMNS = ("runs", "found", "s to find", "cause 1st", "in 3", "right", "wrong", "helped", "s to help", "strays")


def page(results: Sequence[Result], quiet: Quiet | None, goals: Sequence[Goal], facts: Mapping[str, str]) -> str:
    """The whole page. ``facts`` are what was played where and when, in the order to be shown."""
    missed = [goal for goal in goals if not goal.met]
    verdict = "Every goal was met." if not missed else f"{len(missed)} of {len(goals)} goals were missed."
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Game day: {escape(verdict)}</title><style>{STYLE}{_MORE_STYLE}</style></head><body>"
        f'<h1>Game day</h1><p class="verdict {held_class(held=not missed)}">{escape(verdict)}</p>'
        f'<dl class="facts">{listed}</dl>{_goals(goals)}{_by_kind(results)}{_quiet(quiet)}{_runs(results)}'
        "</body></html>\n"
    )


def rows_by_kind(results: Sequence[Result]) -> list[tuple[str, Score]]:
    """The figures of every kind that was played, in the catalogue's order, and of all together."""
    kinds = [(kind.name, [one for one in results if one.kind == kind.name]) for kind in CATALOGUE]
    rows = [(name, score(found)) for name, found in kinds if found]
    return [*rows, ("all", score(results))]


def cells(figures: Score) -> list[str]:
    """One row of COLUMNS."""
    return [
        str(figures.runs),
        percent(figures.detected),
        seconds(figures.detect_median_s),
        percent(figures.cause_first),
        percent(figures.cause_in_three),
        percent(figures.right_action),
        str(figures.wrong_actions),
        percent(figures.recovered),
        seconds(figures.recover_median_s),
        str(figures.strays),
    ]


def percent(share: float | None) -> str:
    """Such as ``97 %``; a dash where there was nothing to count."""
    return "–" if share is None else f"{share * 100:.0f} %"


def seconds(value: float | None) -> str:
    """Such as ``8.6``; a dash where it never happened."""
    return "–" if value is None else f"{value:.1f}"


def _goals(goals: Iterable[Goal]) -> str:
    rows = "".join(
        f'<li><span class="mark {held_class(held=goal.met)}">{mark_of(held=goal.met)}</span>{escape(goal.name)}: '
        f'{escape(goal.reached)} <span class="quiet">{escape(goal.wanted)}</span></li>'
        for goal in goals
    )
    return f'<section><h2>Goals</h2><ul class="checks">{rows}</ul></section>'


def _by_kind(results: Sequence[Result]) -> str:
    if not results:
        return ""
    rows = [[escape(name), *map(escape, cells(figures))] for name, figures in rows_by_kind(results)]
    return f"<section><h2>By fault</h2>{table(('fault', *COLUMNS), rows)}</section>"


def _quiet(quiet: Quiet | None) -> str:
    if quiet is None:
        return ""
    said = "".join(f"<li>{escape(text)}</li>" for text in quiet.false_alarms)
    hours = f"{quiet.seconds / 3600:.1f} h without a fault: {len(quiet.false_alarms)} false alarms"
    return f"<section><h2>Quiet traffic</h2><p>{escape(hours)}</p><ul>{said}</ul></section>"


def _runs(results: Iterable[Result]) -> str:
    parts = []
    for one in results:
        held = one.right and one.cause_first and one.detected_s is not None
        mark = f'<span class="{held_class(held=held)}">{mark_of(held=held)}</span>'
        said = [
            ("found", f"{one.title} ({one.severity}, after {one.detected_s} s)" if one.title else "not at all"),
            ("named", "; ".join(one.named) or "nothing"),
            ("done", "; ".join(one.actions) or "nothing"),
            ("right", " or ".join(dict.fromkeys(one.wanted))),
            ("strays", "; ".join(one.strays)),
        ]
        facts = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in said if text)
        parts.append(
            f'<h3>{mark} {one.number} {escape(one.kind)}</h3><p>{escape(one.said)}</p><dl class="facts">{facts}</dl>'
        )
    return f"<section><h2>Every run</h2>{''.join(parts)}</section>" if parts else ""
