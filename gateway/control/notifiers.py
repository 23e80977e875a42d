"""The channels as the dashboard shows them: what is configured, what was given up, and whether a test arrives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.errors import DeliveryError, NotFoundError, StoreUnavailableError
from gateway.notify.message import trial_message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.domain.outbox import Undelivered
    from gateway.domain.policy import NotifyChannel
    from gateway.notify.channels import Channel

_DELIVERY_S = 25.0  # below what the dashboard waits for an answer


class OutboxView(Protocol):
    """What became of messages."""

    async def undelivered(self, limit: int) -> Sequence[Undelivered]:
        """What was given up, or failed and waits, newest first. Raises StoreUnavailableError."""
        ...


class Trial(msgspec.Struct, frozen=True):
    """What came of one test message; without ``error`` it arrived."""

    name: str
    kind: str
    error: str = ""
    remedy: str = ""


class Notifiers:
    """What the settings page needs to know of channels.

    Args:
        configured: the operator's entries.
        channels: by name, how to deliver to each.
        outbox: what became of messages.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        configured: Sequence[NotifyChannel],
        channels: Mapping[str, Channel],
        outbox: OutboxView,
        clock: Callable[[], float],
    ) -> None:
        self.configured = tuple(configured)
        self._channels = channels
        self._outbox = outbox
        self._clock = clock

    async def undelivered(self, limit: int = 50) -> Sequence[Undelivered]:
        """What did not arrive; nothing while the store is away."""
        try:
            return await self._outbox.undelivered(limit)
        except StoreUnavailableError:
            return ()

    async def test(self, name: str = "") -> tuple[Trial, ...]:
        """Send a test message to the channel of that name, or to all, and say what came of each.

        Raises:
            NotFoundError: there is no such channel.
        """
        wanted = [channel for channel in self._channels.values() if name in {"", channel.name}]
        if not wanted:
            known = ", ".join(self._channels) or "none"
            raise NotFoundError(
                f"there is no notifier {name!r}" if name else "no notifier is configured", remedy=f"Known: {known}."
            )
        return tuple(await asyncio.gather(*(self._try(channel) for channel in wanted)))

    async def _try(self, channel: Channel) -> Trial:
        now = self._clock()
        try:
            async with asyncio.timeout(_DELIVERY_S):
                await channel.deliver(trial_message(now), now)
        except TimeoutError:
            return Trial(channel.name, channel.kind, f"no answer within {_DELIVERY_S:g} s")
        except DeliveryError as error:
            return Trial(channel.name, channel.kind, str(error), error.remedy)
        return Trial(channel.name, channel.kind)
