"""News of incidents as they happen, for programs that listen: from this node, and through Redis from the others."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from gateway import logs
from gateway.notify.message import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

QUEUE = 200  # news a slow reader may be behind
KEPT = 200  # news that a reader who comes back may still get
TOPIC = "sentinel:news"
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_LARGEST = 256 * 1024
_log = logs.get("control")


class _Envelope(msgspec.Struct, frozen=True):
    """One piece of news between nodes."""

    origin: str
    news: Message


class LiveNews:
    """Hands news to any number of readers. A slow one loses the oldest and never holds anything up."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[Message]] = set()
        self._latest: deque[Message] = deque(maxlen=KEPT)
        self._outward: asyncio.Queue[Message] = asyncio.Queue(QUEUE)
        self._origin = uuid.uuid4().hex
        self._related = False

    def publish(self, news: Message) -> None:
        """Pass on what happened on this node."""
        if any(one.key == news.key for one in self._latest):
            return  # a control that takes over tells again what may have died unsent
        self._hand_on(news)
        if self._related:
            _put(self._outward, news)

    def _hand_on(self, news: Message) -> None:
        self._latest.append(news)
        for queue in self._readers:
            _put(queue, news)

    async def subscribe(self, after: str = "") -> AsyncIterator[Message]:
        """News from now on; with the key of the last one seen, first what came since, as far as it is kept."""
        queue: asyncio.Queue[Message] = asyncio.Queue(QUEUE)
        keys = [one.key for one in self._latest]
        if after in keys:
            for missed in tuple(self._latest)[keys.index(after) + 1 :]:
                _put(queue, missed)
        self._readers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._readers.discard(queue)

    async def relate(self, url: str) -> None:
        """Exchange news with the other nodes through Redis, until cancelled. Without a URL there are none."""
        if not url:
            return
        self._related = True
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._exchange(url)
            except Exception as error:  # noqa: BLE001 - the border of the task: whatever the link met, it is made anew
                _log.warning("news.link_lost", why=type(error).__name__)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _exchange(self, url: str) -> None:
        from redis.asyncio import Redis

        # In a cluster what is published at one node is heard at all of them (redis.io, cluster-spec), so one is enough.
        scheme, _, rest = url.replace("+cluster", "", 1).partition("://")
        client = Redis.from_url(
            f"{scheme}://{rest.split(',')[0]}",
            socket_connect_timeout=5.0,
            socket_timeout=None,
            health_check_interval=15,
        )
        async with client, asyncio.TaskGroup() as group:
            group.create_task(self._send(client))
            group.create_task(self._receive(client))

    async def _send(self, client: Redis) -> None:
        while True:
            news = await self._outward.get()
            try:
                async with asyncio.timeout(5.0):
                    await client.publish(TOPIC, msgspec.json.encode(_Envelope(self._origin, news)))
            except BaseException:
                _put(self._outward, news)  # behind what came since: the order is the reader's to see by time
                raise

    async def _receive(self, client: Redis) -> None:
        async with client.pubsub(ignore_subscribe_messages=True) as topic:
            await topic.subscribe(TOPIC)
            async for heard in topic.listen():
                if len(heard["data"]) > _LARGEST:
                    continue
                with contextlib.suppress(msgspec.MsgspecError):
                    envelope = msgspec.json.decode(heard["data"], type=_Envelope)
                    if envelope.origin != self._origin:
                        self._hand_on(envelope.news)


def _put(queue: asyncio.Queue[Message], news: Message) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(news)
