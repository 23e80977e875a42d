"""What control reads traffic with: the spool's way into the store, past everybody who watches."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from gateway.admin.exposition import Meters
from gateway.collect.ship import Shipper
from gateway.control.key_sets import KeySets
from gateway.control.other_nodes import OtherNodes
from gateway.control.traffic import LiveTail, Traffic
from gateway.domain.callers import Callers
from gateway.domain.senders import Senders
from gateway.domain.window import Window
from gateway.identity.key_set_fetch import KeySetFetcher
from gateway.notify.addresses import refusal
from gateway.store.buckets import Buckets
from gateway.store.records import Records

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from gateway.config.publisher import Publisher
    from gateway.run_folder import RunFolder
    from gateway.store.engine import Store


class Collecting(NamedTuple):
    """In the order traffic passes them."""

    shipper: Shipper
    traffic: Traffic
    window: Window
    callers: Callers
    senders: Senders
    meters: Meters
    live: LiveTail
    key_sets: KeySets
    records: Records
    buckets: Buckets
    others: OtherNodes


async def collecting(
    stack: AsyncExitStack,
    folder: RunFolder,
    store: Store,
    publisher: Publisher,
    *,
    baseline_s: float,
    clock: Callable[[], float],
) -> Collecting:
    """Everything that reads traffic, joined and begun; the stack ships the rest at the end."""
    window, callers, senders, meters, live = Window(), Callers(), Senders(), Meters(), LiveTail()
    fetcher = await stack.enter_async_context(KeySetFetcher(refusal))
    key_sets = KeySets(publisher, fetcher, count=meters.count, clock=clock, random=random.random)
    traffic = Traffic(window, meters, live, key_sets.on_counters, callers, senders)
    records, buckets = Records(store), Buckets(store)
    others = OtherNodes(buckets, window, folder.node(), alone=store.is_sqlite, clock=clock)
    await others.warm(clock() - baseline_s)
    shipper = Shipper(folder.spool, records, traffic, node=folder.node())
    await shipper.start()
    stack.push_async_callback(shipper.drain)
    return Collecting(shipper, traffic, window, callers, senders, meters, live, key_sets, records, buckets, others)
