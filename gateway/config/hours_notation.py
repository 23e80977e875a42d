"""How hours are written: ``mon-fri 08:00-20:00 Europe/Berlin``, ``08:00 Europe/Berlin``. Pure."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

from gateway.config.notation import NotationError, did_you_mean
from gateway.domain.hours import DAY_MIN, DAYS, Daily, Hours

_CLOCK = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")


def hours(text: str) -> Hours:
    """``[DAYS] HH:MM-HH:MM [ZONE]``; days as ``mon-fri`` or ``sat,sun``, every day when left out; UTC when left out.

    Raises:
        NotationError: says which part does not read.
    """
    parts = text.split()
    days = tuple(range(7))
    if parts and parts[0][:1].isalpha():
        days = _days(parts.pop(0))
    if not parts or parts[0].count("-") != 1:
        raise NotationError('hours are written "08:00-20:00"', remedy='write "mon-fri 08:00-20:00 Europe/Berlin"')
    begin, end = (_minute(one) for one in parts[0].split("-"))
    if begin in {end, DAY_MIN}:
        raise NotationError(f"{parts[0]} is no stretch of time", remedy='the whole day is "00:00-24:00"')
    return Hours(days=days, from_min=begin, until_min=end, zone=_zone(parts[1:]))


def daily(text: str) -> Daily:
    """``HH:MM [ZONE]``; UTC when left out. Raises NotationError."""
    parts = text.split()
    minute = _minute(parts[0] if parts else "")
    if minute == DAY_MIN:
        raise NotationError("24:00 is 00:00 of the next day", remedy='write "00:00"')
    return Daily(minute=minute, zone=_zone(parts[1:]))


def _minute(text: str) -> int:
    found = _CLOCK.fullmatch(text)
    minute = int(found[1]) * 60 + int(found[2]) if found else DAY_MIN + 1
    if minute > DAY_MIN:
        raise NotationError(f'"{text}" is no time of day', remedy="times have two digits each, such as 08:30")
    return minute


def _days(text: str) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.partition("-")
        begin, end = _day(first), _day(last or first)
        found |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
    return tuple(sorted(found))


def _day(name: str) -> int:
    if name in DAYS:
        return DAYS.index(name)
    raise NotationError(
        f'"{name}" is no day', remedy=did_you_mean(name, DAYS, otherwise="days are mon, tue, wed, thu, fri, sat, sun")
    )


def _zone(parts: list[str]) -> str:
    if not parts:
        return "UTC"
    if len(parts) > 1:
        raise NotationError(f'"{" ".join(parts[1:])}" stands behind the time zone', remedy="leave it out")
    try:
        ZoneInfo(parts[0])
    except (ValueError, OSError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError; a folder's name an OSError
        raise NotationError(
            f'"{parts[0]}" is no time zone known here',
            remedy='use a name of the IANA data base such as "Europe/Berlin", or UTC',
        ) from error
    return parts[0]
