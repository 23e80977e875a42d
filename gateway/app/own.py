"""Wiring of what the gateway knows of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config import compile as compiling
from gateway.control.own_health import OwnHealth
from gateway.store.server_clock import server_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.admin.exposition import Meters
    from gateway.config.publisher import Publisher
    from gateway.control.key_sets import KeySets
    from gateway.control.leadership import Leadership
    from gateway.control.traffic import Traffic
    from gateway.domain.policy import NotifyChannel
    from gateway.run_folder import RunFolder
    from gateway.store.engine import Store
    from gateway.store.journal import Journal


def own_health(
    folder: RunFolder,
    store: Store,
    publisher: Publisher,
    meters: Meters,
    traffic: Traffic,
    leadership: Leadership,
    journal: Journal,
    key_sets: KeySets,
    live_workers: Callable[[], int],
    channels: Sequence[NotifyChannel],
    clock: Callable[[], float],
) -> OwnHealth:
    """The facts of this node."""
    document = publisher.configuration.document
    provider = compiling.diagnose_settings(document).provider
    return OwnHealth(
        folder,
        redis_url=str(document.redis.url),
        snapshot=lambda: publisher.snapshot,
        value=meters.value,
        store_up=lambda: traffic.store_up and leadership.store_up,
        journal=journal,
        key_sets=key_sets.status,
        workers=lambda: live_workers() if folder.workers.exists() else None,
        wanted_workers=document.server.workers,
        channels={one.name: one.kind for one in channels},
        spool_bound=lambda: publisher.configuration.document.log.spool_max_bytes,
        provider="" if provider == "none" else provider,
        store_clock=lambda: server_clock(store),
        publish=meters.set_all,
        clock=clock,
    )
