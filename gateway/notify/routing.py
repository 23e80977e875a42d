"""Who is told what. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.notify.message import Message, What

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.policy import NotifyChannel


def recipients(
    channels: Iterable[NotifyChannel], message: Message, told: frozenset[str] | None
) -> tuple[NotifyChannel, ...]:
    """The channels that get the message.

    A channel hears of the severities it asked for. Whoever heard of an incident hears how it goes on, whatever became
    of its severity; the end of an incident goes only to those who heard of it.

    Args:
        channels: all that are configured.
        message: the news.
        told: names of channels that heard of the incident before; None when that cannot be known right now.
    """
    if message.what is What.TEST:
        return tuple(channels)
    if message.what is What.CLOSED and told is not None:
        return tuple(channel for channel in channels if channel.name in told)
    heard = told or frozenset()
    return tuple(channel for channel in channels if message.severity in channel.severities or channel.name in heard)
