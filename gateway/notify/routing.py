"""Who is told what, and when. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.domain.policy import NotifyChannel
from gateway.notify.message import Message, What

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LATER = "later"
DROP = "drop"


class Send(msgspec.Struct, frozen=True):
    """One channel that gets the message, and not before when."""

    channel: NotifyChannel
    due_at: float


def sends(
    channels: Sequence[NotifyChannel],
    message: Message,
    told: frozenset[str] | None,
    now: float,
    *,
    only: frozenset[str] | None = None,
) -> tuple[Send, ...]:
    """Who gets the message: each channel's hours obeyed, once each.

    Args:
        channels: all that are configured.
        message: the news.
        told: names of channels that heard of the incident before; None when that cannot be known right now.
        now: seconds since the epoch.
        only: names of the channels it is meant for, where it is not for whoever it concerns.
    """
    chosen = recipients(channels, message, told) if only is None else tuple(one for one in channels if one.name in only)
    by_name = {channel.name: channel for channel in channels}
    found: dict[str, Send] = {}
    for channel in chosen:
        send = _at_its_hours(channel, by_name, message, now)
        if send is not None and (send.channel.name not in found or send.due_at < found[send.channel.name].due_at):
            found[send.channel.name] = send
    return tuple(found.values())


def recipients(
    channels: Iterable[NotifyChannel], message: Message, told: frozenset[str] | None
) -> tuple[NotifyChannel, ...]:
    """The channels that the message concerns.

    A channel hears of the severities and tenants it asked for; one with ``after`` only once it was called in. Whoever
    heard of an incident hears how it goes on, whatever became of its severity; that it is over, or that somebody takes
    care of it, goes only to those who heard of it.

    Args:
        channels: all that are configured.
        message: the news.
        told: names of channels that heard of the incident before; None when that cannot be known right now.
    """
    if message.what is What.TEST:
        return tuple(channels)
    if message.what in {What.CLOSED, What.ACKNOWLEDGED} and told is not None:
        return tuple(channel for channel in channels if channel.name in told)
    heard = told or frozenset()
    return tuple(
        channel
        for channel in channels
        if channel.name in heard or (concerns(channel, message) and channel.after_s is None)
    )


def concerns(channel: NotifyChannel, message: Message) -> bool:
    """Whether the channel asked for this severity and tenant."""
    return message.severity in channel.severities and (not channel.tenants or message.tenant in channel.tenants)


def _at_its_hours(
    channel: NotifyChannel, by_name: dict[str, NotifyChannel], message: Message, now: float
) -> Send | None:
    if message.what is What.TEST or channel.hours is None or channel.hours.contain(now):
        return Send(channel, now)
    if channel.outside == DROP:
        return None
    instead = by_name.get(channel.outside)
    if instead is None:
        return Send(channel, channel.hours.next_opening(now))
    # One step only: two channels that stand in for each other would send the message round in a circle.
    if instead.hours is None or instead.hours.contain(now):
        return Send(instead, now)
    return Send(instead, instead.hours.next_opening(now))
