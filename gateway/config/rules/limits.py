"""Rules for limits: no two of a kind, whom they can count, and what they are worth without Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.limit_notation import ConcurrencyRule, LimitRule, QuotaRule
from gateway.domain.access import AuthMode
from gateway.domain.limits import LimitMode, Scope

if TYPE_CHECKING:
    from gateway.config.document_routes import LimitEntry, RouteEntry
    from gateway.config.limit_notation import Rule
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

_KNOWN_CALLERS = frozenset({Scope.SUBJECT, Scope.KEY, Scope.TENANT})


def of_route(context: Context, route: RouteEntry) -> None:
    """Judge the limits of one route."""
    where = (*context.path(route), "limit")
    listed(context, where, route.limit)
    report = context.report
    if route.auth is AuthMode.NONE and report.sound((*context.path(route), "auth")):
        for index, entry in enumerate(route.limit):
            if entry.limit.scope in _KNOWN_CALLERS:
                report.at_value(
                    _limit_at(context, where, index),
                    f'route "{route.name}" has auth = "none", so it cannot count per {entry.limit.scope}',
                    'set auth, or count "per client" or "per route"',
                )
    if route.limit and all(entry.mode is LimitMode.SHADOW for entry in route.limit):
        report.at_value(
            where,
            f'every limit of route "{route.name}" is in shadow: they count, and refuse nothing',
            'write mode = "enforce" where one is to hold',
            warning=True,
        )


def listed(context: Context, where: Path, entries: tuple[LimitEntry, ...]) -> None:
    """Several limits are fine, two of the same kind, scope and window are a slip, unless one is in shadow."""
    seen: set[tuple[type, Scope, str | int, LimitMode]] = set()
    workers = context.document.server.workers
    for index, entry in enumerate(entries):
        rule, place = entry.limit, _limit_at(context, where, index)
        kind = (type(rule), rule.scope, _window(rule), entry.mode)
        if kind in seen:
            context.report.at_value(place, f"a second {_worded(rule)}", "keep the stricter one")
        seen.add(kind)
        if isinstance(rule, ConcurrencyRule) and rule.at_once < workers:
            context.report.at_value(
                place,
                f"{rule.at_once} at once cannot be shared by {workers} workers: each admits at least one",
                f'write "{workers} at once per {rule.scope}" or more',
                warning=True,
            )
        if isinstance(rule, QuotaRule) and not context.document.redis.url and context.report.sound(("redis", "url")):
            context.report.at_value(
                place,
                "without Redis a quota is counted on each node for itself",
                "set SENTINEL_REDIS__URL",
                warning=True,
            )


def _window(rule: Rule) -> str | int:
    match rule:
        case LimitRule():
            return rule.window_s
        case QuotaRule():
            return rule.period
        case ConcurrencyRule():
            return ""


def _worded(rule: Rule) -> str:
    match rule:
        case LimitRule():
            return f"limit per {rule.scope} over the same window"
        case QuotaRule():
            return f"quota per {rule.scope} for the same {rule.period}"
        case ConcurrencyRule():
            return f"limit of what is under way per {rule.scope}"


def _limit_at(context: Context, where: Path, index: int) -> Path:
    """The path of one limit's text, which may have been written without a list or with a table around it."""
    value: object = context.reading.raw
    for part in where:
        value = value[part] if isinstance(value, dict) else value[int(part)] if isinstance(value, list) else None
    if isinstance(value, list):
        # Where a limit before this one was refused the index is of the good ones only: the list itself is near enough.
        where = (*where, index) if index < len(value) else where
        value = value[index] if index < len(value) else None
    return (*where, "limit") if isinstance(value, dict) else where
