"""From checked [[routes]] and limits to the values of the domain. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.config.limit_notation import ConcurrencyRule, LimitRule, QuotaRule
from gateway.domain.limits import ConcurrencyLimit, Limit, LimitMode, Quota
from gateway.domain.routing import (
    NO_RULES,
    Canary,
    Cors,
    FieldMatch,
    HeaderRules,
    Mirror,
    Redirect,
    Retry,
    Route,
    Split,
    SplitShare,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.config.document_routes import CanaryEntry, CorsEntry, HeaderEntry, LimitEntry, RouteEntry

WINDOW_NAMES = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}


class Limits(NamedTuple):
    """What one list of limits says, by kind."""

    rates: tuple[Limit, ...]
    quotas: tuple[Quota, ...]
    concurrency: tuple[ConcurrencyLimit, ...]


def route(entry: RouteEntry) -> Route:
    """One route as workers take it."""
    split = _split(entry)
    limited = limits(entry.name, entry.limit)
    return Route(
        name=entry.name,
        path=entry.match.path,
        upstream=entry.upstream or (split.shares[0].upstream if split else ""),
        methods=frozenset(entry.match.methods),
        host=entry.match.host.lower(),
        headers=tuple(FieldMatch(name.lower(), value) for name, value in entry.match.headers.items()),
        query=tuple(FieldMatch(name, value) for name, value in entry.match.query.items()),
        strip_prefix=entry.strip_prefix,
        rewrite=entry.rewrite,
        redirect=None if entry.redirect is None else Redirect(entry.redirect.to, entry.redirect.status),
        split=split,
        mirror=None if entry.mirror is None else Mirror(entry.mirror.upstream, entry.mirror.share),
        retry=None
        if entry.retry is None
        else Retry(attempts=entry.retry.attempts, on=frozenset(entry.retry.on), budget=entry.retry.budget),
        auth=entry.auth,
        scopes=frozenset(entry.scopes),
        roles=frozenset(entry.roles),
        allow=entry.allow,
        deny=entry.deny,
        limits=limited.rates,
        quotas=limited.quotas,
        concurrency=limited.concurrency,
        limit_unavailable=entry.limit_unavailable,
        cors=None if entry.cors is None else _cors(entry.cors),
        request_headers=_header_rules(entry.request_headers),
        response_headers=_header_rules(entry.response_headers),
        max_body_bytes=entry.max_body_bytes or 0,
        compress=entry.compress,
    )


def limits(family: str, entries: Iterable[LimitEntry]) -> Limits:
    """Limits of a route or plan.

    The name is the bucket's identity: it leaves out the numbers, so that a changed limit goes on with what was
    counted. One in shadow has a name of its own, for it stands beside the one that is enforced.
    """
    rates, quotas, concurrency = [], [], []
    for entry in entries:
        rule, mode = entry.limit, entry.mode
        end = ".shadow" if mode is LimitMode.SHADOW else ""
        match rule:
            case LimitRule():
                name = f"{family}.{rule.scope}.{WINDOW_NAMES[rule.window_s]}{end}"
                rates.append(Limit(name, rule.count / rule.window_s, rule.burst, rule.scope, rule.window_s, mode))
            case QuotaRule():
                name = f"{family}.{rule.scope}.quota-{rule.period}{end}"
                quotas.append(Quota(name, rule.count, rule.period, rule.scope, mode))
            case ConcurrencyRule():
                name = f"{family}.{rule.scope}.at-once{end}"
                concurrency.append(ConcurrencyLimit(name, rule.at_once, rule.scope, mode))
    return Limits(tuple(rates), tuple(quotas), tuple(concurrency))


def _split(entry: RouteEntry) -> Split | None:
    """Upstreams that take nothing at the moment (weight 0) are left out; canaries may still lead there."""
    if not entry.split:
        return None
    return Split(
        shares=tuple(SplitShare(name, weight) for name, weight in entry.split.items() if weight),
        canaries=tuple(_canary(canary) for canary in entry.canary),
        sticky=entry.sticky,
    )


def _canary(entry: CanaryEntry) -> Canary:
    source = f"header:{entry.header.lower()}" if entry.header else f"cookie:{entry.cookie}"
    return Canary(source=source, value=entry.value, upstream=entry.upstream)


def _cors(entry: CorsEntry) -> Cors:
    return Cors(
        origins=tuple(origin.lower() for origin in entry.origins),
        methods=entry.methods,
        headers=tuple(name.lower() for name in entry.headers),
        expose=tuple(name.lower() for name in entry.expose),
        credentials=entry.credentials,
        max_age_s=int(entry.max_age_s),
    )


def _header_rules(entry: HeaderEntry) -> HeaderRules:
    if not (entry.remove or entry.set or entry.add):
        return NO_RULES
    return HeaderRules(
        remove=tuple(name.lower() for name in entry.remove),
        set=tuple((name.lower(), value) for name, value in entry.set.items()),
        add=tuple((name.lower(), value) for name, value in entry.add.items()),
    )
