"""The report of a load test: one HTML page that needs nothing beside it. Pure; text from outside is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from gateway.loadtest.charts import Line, chart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.loadtest.figures import Outcome

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --quiet: #60646c; --paper: #fff; --raised: #f6f7f9; --line: #d9dce1;
  --good: #18794e; --bad: #cd2b31; --one: #0068d6; --two: #b45309; }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --quiet: #9ba1a6; --paper: #16181b; --raised: #1f2226;
  --line: #363a3f; --good: #4cc38a; --bad: #ff6369; --one: #52a9ff; --two: #f1a10d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 0 0 .25rem; }
section { border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: 1.25rem 0; }
.quiet { color: var(--quiet); } .good { color: var(--good); } .bad { color: var(--bad); }
.verdict { font-weight: 600; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--quiet); font-weight: 500; }
ul.checks { list-style: none; padding: 0; } ul.checks li { padding: .15rem 0 .15rem 1.5rem; text-indent: -1.5rem; }
ul.checks .mark { display: inline-block; width: 1.5rem; text-indent: 0; font-weight: 700; }
figure { margin: 1rem 0 0; } figcaption { font-size: .875rem; }
svg { width: 100%; height: auto; background: var(--raised); border-radius: .25rem; }
svg text { fill: var(--quiet); font-size: 11px; } svg .grid { stroke: var(--line); stroke-width: 1; }
polyline { fill: none; stroke-width: 2; }
polyline.one { stroke: var(--one); } polyline.two { stroke: var(--two); } polyline.bad { stroke: var(--bad); }
circle.one { fill: var(--one); } circle.two { fill: var(--two); } circle.bad { fill: var(--bad); }
.key { margin-left: .75rem; } .key::before { content: ""; display: inline-block; width: .9em; height: .2em;
  margin-right: .3em; vertical-align: middle; background: currentColor; }
@media (max-width: 36rem) { svg text { font-size: 20px; } }
.key.one { color: var(--one); } .key.two { color: var(--two); } .key.bad { color: var(--bad); }
pre { overflow-x: auto; background: var(--raised); padding: .75rem; border-radius: .25rem; font-size: .8125rem; }
"""
FIGURES = ("requests", "errors", "p50 ms", "p95 ms", "p99 ms", "longest ms")


def page(outcomes: Sequence[Outcome], facts: Mapping[str, str]) -> str:
    """The whole page. ``facts`` are what was measured where and when, in the order to be shown."""
    failed = sum(not outcome.held for outcome in outcomes)
    good = bool(outcomes) and not failed
    verdict = f"All {len(outcomes)} scenarios held." if good else f"{failed} of {len(outcomes)} scenarios did not hold."
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Load test: {escape(verdict)}</title><style>{STYLE}</style></head><body>"
        f'<h1>Load test</h1><p class="verdict {held_class(held=good)}">{escape(verdict)}</p>'
        f'<dl class="facts">{listed}</dl>{_overview(outcomes)}{"".join(map(_section, outcomes))}</body></html>\n'
    )


def _overview(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for outcome in outcomes:
        mark = f'<span class="{held_class(held=outcome.held)}">{mark_of(held=outcome.held)}</span>'
        name = f'{mark} <a href="#{escape(outcome.name)}">{escape(outcome.name)}</a>'
        if outcome.seen is None:
            rows.append([name, *["–"] * 8])
            continue
        whole, cost = outcome.seen.whole, outcome.cost
        rows.append([
            name,
            f"{whole.requests:,}",
            f"{whole.errors:,}",
            f"{whole.requests / max(outcome.seen.seconds, 0.001):,.0f}",
            *(f"{value:,.1f}" for value in (whole.p50_ms, whole.p95_ms, whole.p99_ms)),
            f"{cost.worker_us:,.0f}" if cost else "–",
            f"{cost.rss_mib[1]:,.0f}" if cost else "–",
        ])  # fmt: skip
    head = ("scenario", "requests", "errors", "per second", "p50 ms", "p95 ms", "p99 ms", "CPU µs each", "RSS MiB")
    return table(head, rows)


def _section(outcome: Outcome) -> str:
    parts = [
        f'<section id="{escape(outcome.name)}"><h2>{escape(outcome.name)}</h2>',
        f'<p class="quiet">{escape(outcome.title)}; {outcome.users} users</p>',
    ]
    if outcome.failure:
        parts.append(f'<p class="bad">It did not run to its end.</p><pre>{escape(outcome.failure)}</pre>')
    checks = "".join(
        f'<li><span class="mark {held_class(held=check.held)}">{mark_of(held=check.held)}</span>{escape(check.name)} '
        f'<span class="quiet">{escape(check.detail)}</span></li>'
        for check in outcome.checks
    )
    parts.append(f'<ul class="checks">{checks}</ul>')
    if outcome.seen is not None:
        kinds = [
            [escape(kind.name), f"{kind.requests:,}", f"{kind.errors:,}"]
            + [f"{value:,.1f}" for value in (kind.p50_ms, kind.p95_ms, kind.p99_ms, kind.max_ms)]
            for kind in sorted(outcome.seen.kinds, key=lambda kind: kind.name)
        ]
        parts.append(table(("", *FIGURES), kinds))
        texts = sorted(outcome.seen.error_texts.items(), key=lambda item: -item[1])
        parts.append(table(("what failed", "times"), [[escape(text), f"{count:,}"] for text, count in texts]))
    if outcome.cost is not None:
        before, peak, after = outcome.cost.rss_mib
        parts.append(
            f"<p>The gateway's workers used {outcome.cost.worker_us:,.0f} µs of processor time per request, control "
            f"{outcome.cost.control_us:,.0f} µs; they held {before:.0f} MiB before, {peak:.0f} MiB at the peak, "
            f"{after:.0f} MiB after.</p>"
        )
    parts.append(_charts(outcome))
    return "".join(parts) + "</section>"


def _charts(outcome: Outcome) -> str:
    times_s = [second.at_s for second in outcome.timeline]
    requests = Line("requests/s", "one", [second.requests for second in outcome.timeline])
    errors = Line("errors/s", "bad", [second.errors for second in outcome.timeline])
    p50 = Line("p50 ms", "one", [second.p50_ms for second in outcome.timeline])
    p95 = Line("p95 ms", "two", [second.p95_ms for second in outcome.timeline])
    return chart("Throughput", times_s, [requests, errors]) + chart("Latency", times_s, [p50, p95])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself; nothing without rows. Cells of ``rows`` are markup already."""
    if not rows:
        return ""
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def held_class(*, held: bool) -> str:
    """The class of what held, or did not."""
    return "good" if held else "bad"


def mark_of(*, held: bool) -> str:
    """The same for the eye."""
    return "✓" if held else "✗"
