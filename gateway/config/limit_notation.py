"""How limits are written: rates, quotas and what may be under way at once. Pure; errors point into the text."""

from __future__ import annotations

import re

import msgspec

from gateway.config.notation import NotationError, did_you_mean, listed
from gateway.domain.limits import ConcurrencyLimit, Limit, Quota, Scope

_WINDOWS_S = {"s": 1, "min": 60, "h": 3600, "day": 86400}
_PERIODS = ("day", "month")
_ALIASES = {"sec": "s", "second": "s", "m": "min", "minute": "min", "hour": "h", "d": "day"}
_MOST_TOKENS = 1_000_000_000  # a bucket's arithmetic stays exact in a double far beyond this
_EXAMPLE = '"100/s burst 200 per subject"'
_QUOTA = '"quota 100000 per month per tenant"'

Word = tuple[str, int]  # and where it begins


class LimitRule(msgspec.Struct, frozen=True):
    """``count`` requests per ``window_s`` seconds, at most ``burst`` at once, counted per ``scope``."""

    count: int
    window_s: int
    burst: int
    scope: Scope


class QuotaRule(msgspec.Struct, frozen=True):
    """``count`` requests in each calendar ``period`` ("day", "month"; UTC), counted per ``scope``."""

    count: int
    period: str
    scope: Scope


class ConcurrencyRule(msgspec.Struct, frozen=True):
    """``at_once`` requests under way, counted per ``scope``."""

    at_once: int
    scope: Scope


Rule = LimitRule | QuotaRule | ConcurrencyRule


def limit(text: str) -> Rule:
    """A rule out of one of three forms.

    ``100/s burst 200 per subject`` (without a burst, one window's worth may come at once), ``20 at once per tenant``,
    ``quota 100000 per month per tenant``.
    """
    words = [(found.group(), found.start()) for found in re.finditer(r"\S+", text)]
    if not words:
        raise NotationError("a limit is empty", remedy=f"write it such as {_EXAMPLE}")
    if words[0][0] == "quota":
        return _quota(words, len(text))
    if len(words) > 1 and words[1][0] == "at":
        return _at_once(words, len(text))
    count, window_s = _rate(*words[0])
    rest = words[1:]
    burst = count
    if rest and rest[0][0] == "burst":
        if len(rest) == 1:
            raise NotationError('"burst" lacks its number', offset=rest[0][1], remedy=f'write "burst {count * 2}"')
        burst = _tokens(rest[1][0], rest[1][1], "burst")
        rest = rest[2:]
    order = '"RATE burst N per SCOPE"'
    return LimitRule(count, window_s, burst, _scope(rest, len(text), order, ("burst", "per")))


def written(one: Limit | Quota | ConcurrencyLimit) -> str:
    """A compiled limit the way it is written: what :func:`limit` reads."""
    if isinstance(one, Quota):
        return f"quota {one.count} per {one.period} per {one.scope}"
    if isinstance(one, ConcurrencyLimit):
        return f"{one.at_once} at once per {one.scope}"
    units = {seconds: unit for unit, seconds in _WINDOWS_S.items()}
    return f"{one.rate * one.window_s:.0f}/{units[one.window_s]} burst {one.burst} per {one.scope}"


def _quota(words: list[Word], end: int) -> QuotaRule:
    order = '"quota N per day|month per SCOPE"'
    if len(words) == 1:
        raise NotationError('"quota" lacks its number', offset=end, remedy=f"write it such as {_QUOTA}")
    count = _tokens(*words[1], "quota")
    if len(words) < 4 or words[2][0] != "per":  # noqa: PLR2004 - quota N per PERIOD
        place = words[2][1] if len(words) > 2 else end  # noqa: PLR2004 - as above
        raise NotationError("a quota does not say for how long", offset=place, remedy=f"the order is {order}")
    period, offset = words[3]
    if period not in _PERIODS:
        aliases = {"d": "day", "m": "month", "daily": "day", "monthly": "month"}
        meant = f'did you mean "{aliases[period]}"?' if period in aliases else ""
        remedy = meant or did_you_mean(period, _PERIODS, otherwise="a quota is for a day or a month of the calendar")
        raise NotationError(f'unknown period "{period}" of a quota', offset=offset, remedy=remedy)
    return QuotaRule(count, period, _scope(words[4:], end, order, ("per",)))


def _at_once(words: list[Word], end: int) -> ConcurrencyRule:
    order = '"N at once per SCOPE"'
    count = _tokens(*words[0], "number")
    if len(words) == 2 or words[2][0] != "once":  # noqa: PLR2004 - N at once
        raise NotationError('"at" lacks "once"', offset=words[1][1], remedy=f"the order is {order}")
    return ConcurrencyRule(count, _scope(words[3:], end, order, ("per",)))


def _rate(word: str, offset: int) -> tuple[int, int]:
    count, slash, unit = word.partition("/")
    if not slash:
        remedy = did_you_mean(word, ("quota",)) or 'write it such as "100/s", "20 at once" or "quota 1000 per day"'
        raise NotationError(f'"{word}" is not a rate', offset=offset, remedy=remedy)
    tokens = _tokens(count, offset, "rate")
    if unit not in _WINDOWS_S:
        meant = f'did you mean "{_ALIASES[unit]}"?' if unit in _ALIASES else "use s, min, h or day"
        if unit in {"month", "mon"}:
            meant = f'a calendar month is a quota: "quota {tokens} per month per SCOPE"'
        raise NotationError(f'unknown unit "{unit}" in the rate', offset=offset + len(count) + 1, remedy=meant)
    return tokens, _WINDOWS_S[unit]


def _tokens(word: str, offset: int, what: str) -> int:
    if not re.fullmatch(r"\d{1,10}", word, re.ASCII) or not 1 <= int(word) <= _MOST_TOKENS:
        raise NotationError(
            f'the {what} "{word}" is not a whole number from 1 to {_MOST_TOKENS}',
            offset=offset,
            remedy='for less than one a second choose a longer unit, such as "30/min"' if what == "rate" else "",
        )
    return int(word)


def _scope(words: list[Word], end: int, order: str, known: tuple[str, ...]) -> Scope:
    scopes = [scope.value for scope in Scope]
    if not words:
        raise NotationError("a limit does not say whom it counts", offset=end, remedy=f'add "per {listed(scopes)}"')
    word, offset = words[0]
    if word != "per":
        raise NotationError(
            f'"{word}" is not expected here',
            offset=offset,
            remedy=did_you_mean(word, known, otherwise=f"the order is {order}"),
        )
    if len(words) == 1:
        raise NotationError('"per" lacks its scope', offset=offset, remedy=f'write "per {listed(scopes)}"')
    scope, offset = words[1]
    if "," in scope:
        raise NotationError(
            "one limit per string",
            offset=offset + scope.index(","),
            remedy='several stand in a list: ["100/s per subject", "1000/min per tenant"]',
        )
    if scope not in scopes:
        raise NotationError(
            f'unknown scope "{scope}"',
            offset=offset,
            remedy=did_you_mean(scope, scopes, otherwise=f"use {listed(scopes)}"),
        )
    if words[2:]:
        raise NotationError(
            f'"{words[2][0]}" is one word too many',
            offset=words[2][1],
            remedy='several limits stand in a list: ["100/s per subject", "1000/min per tenant"]',
        )
    return Scope(scope)
