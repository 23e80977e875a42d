"""Calendar days and months in UTC, as quotas count them: where one begins, where it ends, and which number it has."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

EPOCH_S = 1577836800  # 2020-01-01: ticks are counted from here, as the script does
TICKS_PER_S = 8_000_000
DAY_S = 86_400

DAY, MONTH = -1, -2  # what stands in place of a bucket's interval; the script knows the same two numbers
KINDS = {"day": DAY, "month": MONTH}


class Period(NamedTuple):
    """One day or month: its number since 1970, and in ticks since 2020 its beginning and its end."""

    number: int
    start: int
    end: int

    @property
    def seconds(self) -> int:
        """How long it is."""
        return (self.end - self.start) // TICKS_PER_S


def period(kind: int, ticks: int) -> Period:
    """The day or month of a moment, given in ticks since 2020."""
    return _period(kind, (ticks // TICKS_PER_S + EPOCH_S) // DAY_S)


@lru_cache(maxsize=16)
def _period(kind: int, day: int) -> Period:
    if kind == DAY:
        return Period(day, _ticks(day), _ticks(day + 1))
    moment = datetime.fromtimestamp(day * DAY_S, UTC)
    first = moment.date().replace(day=1)
    after = (first + timedelta(days=31)).replace(day=1)
    number = (first.year - 1970) * 12 + first.month - 1
    return Period(number, _ticks(_days(first)), _ticks(_days(after)))


def _days(moment: date) -> int:
    return (moment - date(1970, 1, 1)).days


def _ticks(day: int) -> int:
    return (day * DAY_S - EPOCH_S) * TICKS_PER_S
