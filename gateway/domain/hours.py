"""Hours of the week in somebody's own time zone: when a channel is told. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60
_DAYS_LOOKED_AT = 9  # a week, and what a change of the clock may cut off at either end


class Hours(msgspec.Struct, frozen=True):
    """Days of the week (0 is Monday) from one minute of the day to another.

    ``until_min`` not after ``from_min`` runs past midnight and belongs to the day it began on.
    """

    days: tuple[int, ...]
    from_min: int
    until_min: int
    zone: str = "UTC"

    def contain(self, at: float) -> bool:
        """Whether that moment, in seconds since the epoch, lies within."""
        local = datetime.fromtimestamp(at, ZoneInfo(self.zone))
        minute = local.hour * 60 + local.minute
        if self.until_min > self.from_min:
            return local.weekday() in self.days and self.from_min <= minute < self.until_min
        yesterday = (local.weekday() - 1) % 7
        return (local.weekday() in self.days and minute >= self.from_min) or (
            yesterday in self.days and minute < self.until_min
        )

    def next_opening(self, at: float) -> float:
        """The first moment not before ``at`` that lies within."""
        if self.contain(at):
            return at
        zone = ZoneInfo(self.zone)
        local = datetime.fromtimestamp(at, zone)
        for ahead in range(_DAYS_LOOKED_AT):
            day = local.date() + timedelta(days=ahead)
            begins = moment(day.year, day.month, day.day, self.from_min, zone)
            if day.weekday() in self.days and begins >= at:
                return begins
        return at  # no day at all: nothing to wait for


class Daily(msgspec.Struct, frozen=True):
    """A minute of every day."""

    minute: int
    zone: str = "UTC"

    def last_before(self, at: float) -> float:
        """The latest such moment not after ``at``, in seconds since the epoch."""
        zone = ZoneInfo(self.zone)
        local = datetime.fromtimestamp(at, zone)
        for back in range(3):
            day = local.date() - timedelta(days=back)
            moment_of_day = moment(day.year, day.month, day.day, self.minute, zone)
            if moment_of_day <= at:
                return moment_of_day
        return at


def moment(year: int, month: int, day: int, minute: int, zone: ZoneInfo) -> float:
    """Seconds since the epoch of a minute of a day there; one the clock skips is the one it jumps to."""
    local = datetime(year, month, day, minute // 60, minute % 60, tzinfo=zone)
    return local.astimezone(UTC).timestamp()
