"""What control tells people with: the channels, what waits for them, and who puts news into words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.config import compile as compiling
from gateway.control.live_news import LiveNews
from gateway.control.telling import Herald
from gateway.notify.channels import build as build_channels
from gateway.notify.http_post import Poster
from gateway.notify.outbox import Outbox
from gateway.store.notification_threads import NotificationThreads
from gateway.store.outbox import Outbox as OutboxStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AsyncExitStack

    from gateway.admin.exposition import Meters
    from gateway.config.document import Document
    from gateway.domain.policy import NotifyChannel
    from gateway.notify.channels import Channel
    from gateway.settings import Settings
    from gateway.store.engine import Store


class Telling(NamedTuple):
    """Everything that tells, joined."""

    channels: Sequence[NotifyChannel]
    deliverers: dict[str, Channel]
    outbox: Outbox
    herald: Herald
    news: LiveNews
    base_url: str
    kept: OutboxStore
    threads: NotificationThreads

    async def purge(self, ended_before: float) -> None:
        """Forget what was told long ago."""
        await self.kept.purge(ended_before)
        await self.threads.purge(ended_before)


async def telling(
    stack: AsyncExitStack,
    store: Store,
    document: Document,
    settings: Settings,
    meters: Meters,
    *,
    clock: Callable[[], float],
    stopped: Callable[[], str],
    watch: Callable[[str, str], None],
) -> Telling:
    """The channels of the configuration that control was started with; ``watch`` hears how each delivery went."""
    poster = await stack.enter_async_context(Poster())
    channels = compiling.notify_channels(document)
    threads, kept, news = NotificationThreads(store), OutboxStore(store), LiveNews()
    deliverers = build_channels(channels, settings.secret, poster, threads)
    outbox = Outbox(
        kept,
        channels,
        deliverers,
        count=lambda kind, outcome: meters.count("sentinel_notifications_total", kind, outcome),
        watch=watch,
    )
    base_url = compiling.admin_url(document)
    herald = Herald(outbox, base_url=base_url, clock=clock, channels=channels, publish=news.publish, stopped=stopped)
    return Telling(channels, deliverers, outbox, herald, news, base_url, kept, threads)
