"""What a log store elsewhere says about an incident, as evidence: figures, and lines like each other as one. Pure.

A line's words stand in quotes, cut, and under a key that makes a model see a token in their place.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from gateway.diagnose.redaction import masked, quoted_line
from gateway.diagnose.surroundings import clock

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.domain.other_logs import LogLine, ServiceMinute

Told = tuple[str, str, dict[str, float | int | str], str]  # kind, statement, values, link

_MOST_GROUPS = 5
# What tells two lines of the same kind apart: numbers, addresses, identifiers.
_VARIES = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,})*\b|\d+(?:[.:]\d+)*")
_LEVELS = frozenset({"debug", "info", "notice", "warn", "warning", "error", "severe", "critical", "alert", "fatal"})


def of_figures(service: str, before: Sequence[ServiceMinute], since: Sequence[ServiceMinute]) -> list[Told]:
    """One fact: failures and p99 since the onset against before; none where either is unknown."""
    if not before or not since:
        return []
    share, share_before = (
        sum(one.errors for one in part) / sum(one.requests for one in part) for part in (since, before)
    )
    p99, p99_before = (max(one.p99_us for one in part) for part in (since, before))
    requests = sum(one.requests for one in since)
    statement = (
        f"Elasticsearch counts the same from outside: {share * 100:.1f} % of {requests} requests of {service} failed "
        f"since {clock(since[0].minute)}, {share_before * 100:.1f} % before; its worst p99 of a minute was "
        f"{p99 / 1000:.0f} ms, {p99_before / 1000:.0f} ms before."
        if share > share_before or p99 > p99_before
        else f"Elasticsearch sees nothing of it at {service}: {share * 100:.1f} % of {requests} requests failed since "
        f"{clock(since[0].minute)}, {share_before * 100:.1f} % before."
    )
    values: dict[str, float | int | str] = {
        "requests": requests,
        "share": round(share, 4),
        "share_before": round(share_before, 4),
        "p99_us": round(p99),
        "p99_before_us": round(p99_before),
    }
    return [("series", statement, values, "")]


def of_lines(lines: Sequence[LogLine], traces: frozenset[str], names: Collection[str]) -> list[Told]:
    """One fact per kind of line: those that share a trace with failed requests first, then by how many there are.

    ``names`` are our upstreams: a service that is none of them is not named, for its name is a stranger's word too.
    """
    groups: dict[tuple[str, str], list[LogLine]] = {}
    for line in lines:
        groups.setdefault((line.service, _VARIES.sub("#", line.message)), []).append(line)
    ranked = sorted(groups.values(), key=lambda group: (-_shared(group, traces), -len(group), group[0].message))
    return [_of_group(group, traces, names) for group in ranked[:_MOST_GROUPS]]


def _shared(group: Sequence[LogLine], traces: frozenset[str]) -> int:
    return len({line.trace_id for line in group} & traces)


def _of_group(group: Sequence[LogLine], traces: frozenset[str], names: Collection[str]) -> Told:
    who = group[0].service if group[0].service in names else "a service that is not configured here"
    shared = _shared(group, traces)
    times = sorted(line.at for line in group)
    levels = Counter(line.level for line in group if line.level in _LEVELS)
    level = f" as {levels.most_common(1)[0][0]}" if levels else ""
    message = masked(group[0].message)
    said = (
        f"{len(group)} times, from {clock(times[0])} to {clock(times[-1])}"
        if len(group) > 1
        else f"at {clock(times[0])}"
    )
    linked = f"; {shared} of the traces are those of failed requests here" if shared else ""
    values: dict[str, float | int | str] = {"log": message, "lines": len(group), "traces": shared}
    return "log", f"{who} logged{level} {quoted_line(message)} {said}{linked}.", values, ""
