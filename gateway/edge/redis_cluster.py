"""A Redis Cluster for the limiter: which server holds which slot, a link to each, and calls sent where they belong.

All keys of a script call must lie in one slot, so checks are sent slot by slot. A caller's buckets share a slot; where
a route's limits count different ones (each caller, and all of them together) their parts are asked at the same time,
and what was charged is given back if another part refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from gateway import logs
from gateway.edge.limit_groups import SLOTS
from gateway.edge.limits import LEASING, NOT_CHARGING, SETTLING, WATCHING, bulk
from gateway.edge.redis_link import LinkLostError, RedisLink, cluster_seeds
from gateway.edge.script_calls import ScriptCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.edge.limit_groups import Group
    from gateway.edge.limits import LimitSet
    from gateway.edge.script_calls import Ask, Call
    from gateway.metrics import WorkerCounters

CLUSTER_SLOTS = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n"
ASKING = b"*1\r\n$6\r\nASKING\r\n"
LOOK_S = 30.0  # how often the slots are looked up though nothing has moved
HURRY_S = 0.2  # at most so often when something has, or a server is lost
MAX_REDIRECTS = 3
MAX_SERVERS = 1000  # what a cluster can have

Address = tuple[str, int]

log = logs.get("edge")


def connection(url: str, script: bytes) -> RedisLink | RedisCluster:
    """What reaches the Redis or the cluster of that URL. Raises ConfigError like the two."""
    return RedisCluster(url, script) if "+cluster://" in url else RedisLink(url, script)


class RedisCluster:
    """The servers of one cluster; has the same few methods as a RedisLink.

    Args:
        url: ``redis+cluster://`` or ``rediss+cluster://`` with one or more servers to begin with, by commas.
        script: source of the script.

    Raises:
        ConfigError: the URL is not one.
    """

    def __init__(self, url: str, script: bytes) -> None:
        self._seeds, self._link_url = cluster_seeds(url)
        self._script = script
        self._links: dict[Address, RedisLink] = {}
        self._calls: dict[Address, ScriptCalls] = {}
        self._owners: list[Address | None] = [None] * SLOTS
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._make_calls: Callable[[RedisLink], ScriptCalls] | None = None
        self._budget_s = 0.025
        for seed in self._seeds:
            self._links[seed] = RedisLink(self._link_url(seed), script)

    @property
    def ready(self) -> bool:
        """Whether every slot's server is known and connected."""
        known = set(self._owners)
        return None not in known and all(self._links[each].ready for each in known if each is not None)

    @property
    def generation(self) -> int:
        """Changes when a connection is made anew."""
        return sum(link.generation for link in self._links.values())

    def start(self) -> None:
        """Connect to the first servers and find the others; needs the running loop."""
        if self._task is None:
            for link in self._links.values():
                link.start()
            self._task = asyncio.get_running_loop().create_task(self._follow(), name="redis-cluster")

    async def close(self) -> None:
        """End all connections."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in self._links.values()))

    def calls(self, counters: WorkerCounters, budget_s: float, live_workers: Callable[[], int]) -> RedisCluster:
        """Itself, ready to send."""
        self._budget_s = budget_s

        def make(link: RedisLink) -> ScriptCalls:
            return ScriptCalls(counters, link, self._budget_s, live_workers, self._redirect)

        self._make_calls = make
        self._calls = {address: make(link) for address, link in self._links.items()}
        return self

    def set_budget(self, budget_s: float) -> None:
        """How long a request may wait from now on."""
        self._budget_s = budget_s
        for calls in self._calls.values():
            calls.set_budget(budget_s)

    def stop(self) -> None:
        """End the watches and trials."""
        for calls in self._calls.values():
            calls.stop()

    def usable(self, group: Group) -> bool:
        """Whether all servers that hold a part of the group can be asked."""
        for slot in group.slots:
            calls = self._of(slot)
            if calls is None or not calls.usable():
                self._hurry.set()
                return False
        return True

    def can_lease(self, group: Group) -> bool:
        """Whether one server holds all of the group: two could not grant the same lease."""
        return len(set(group.slots)) == 1

    def send(self, asks: Sequence[Ask]) -> None:
        """Ask for all of them, slot by slot."""
        by_slot: dict[int, list[Ask]] = {}
        for ask in asks:
            slots = ask.group.slots
            if len(set(slots)) == 1:
                by_slot.setdefault(slots[0], []).append(ask)
            else:
                for part in _Whole(self, ask).parts:
                    by_slot.setdefault(part.group.slots[0], []).append(part)
        for slot, together in by_slot.items():
            calls = self._of(slot)
            if calls is None:
                for ask in together:
                    ask.done(None, 0)
            else:
                calls.send(together)

    def _of(self, slot: int) -> ScriptCalls | None:
        address = self._owners[slot]
        return self._calls.get(address) if address is not None else None

    def _redirect(self, calls: ScriptCalls, call: Call, text: str) -> bool:
        """Send a call on to the server that was named (MOVED, ASK), or again to the same one (TRYAGAIN)."""
        if call.redirected >= MAX_REDIRECTS:
            return False
        call.redirected += 1
        kind, *rest = text.split(" ")
        if kind == "TRYAGAIN":
            asyncio.get_running_loop().call_later(0.001, calls.carry, call)
            return True
        try:
            slot, address = int(rest[0]), _address(rest[1], calls.link.name)
        except (IndexError, ValueError):
            return False
        target = self._server(address)
        if target is None:
            return False
        if kind == "MOVED":
            self._owners[slot % SLOTS] = address
            self._hurry.set()
        if not target.usable():
            return False
        target.carry(call, ASKING if kind == "ASK" else b"")
        return True

    def _server(self, address: Address) -> ScriptCalls | None:
        """The calls to a server, which is connected to from now on."""
        found = self._calls.get(address)
        if found is None and self._make_calls is not None and len(self._calls) < MAX_SERVERS:
            link = self._links[address] = RedisLink(self._link_url(address), self._script)
            link.start()
            found = self._calls[address] = self._make_calls(link)
        return found

    async def _follow(self) -> None:
        """Look up the slots now and then, and soon when something has moved."""
        while True:
            if not await self._look():
                self._hurry.set()  # no server could say: again soon
            await asyncio.sleep(HURRY_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._hurry.wait()
            self._hurry.clear()

    async def _look(self) -> bool:
        for link in list(self._links.values()):
            if not link.ready:
                continue
            table = await _asked(link)
            if table is not None and (owners := slot_owners(table, link.name)):
                await self._adopt(owners)
                return True
        return False

    async def _adopt(self, owners: list[Address | None]) -> None:
        serving = {address for address in owners if address is not None}
        for address in serving:
            self._server(address)
        if owners != self._owners:
            log.info("redis.cluster_slots", servers=len(serving), uncovered=owners.count(None))
            self._owners = owners
        for address in [each for each in self._links if each not in serving and each not in self._seeds]:
            if (calls := self._calls.pop(address, None)) is not None:
                calls.stop()
            await self._links.pop(address).close()


class _Part:
    """The part of an ask that lies in one slot."""

    __slots__ = ("answer_count", "argument_count", "arguments", "group", "indexes", "limits", "reply", "whole")

    def __init__(self, whole: _Whole, slot: int) -> None:
        ask, limits = whole.ask, whole.ask.limits
        self.whole = whole
        self.limits = limits
        self.indexes = [index for index, each in enumerate(ask.group.slots) if each == slot]
        self.group = ask.group.only(self.indexes)
        refusing = sum(index < limits.refusing for index in self.indexes)
        # A lease of no tokens: its answer is the tick, which giving back needs.
        words = (refusing + WATCHING * (len(self.indexes) - refusing) + LEASING, 0, 0)
        pairs = [limits.pairs[index] for index in self.indexes]
        self.arguments = b"".join([*[bulk(b"%d" % each) for each in words], *pairs])
        self.argument_count = len(words) + 2 * len(self.indexes)
        self.answer_count = 3 * len(self.indexes) + 2
        self.reply: list[int] | None = None

    def done(self, reply: list[int] | None, at: int) -> None:
        self.reply = reply[at : at + self.answer_count] if reply is not None else None
        self.whole.part_done()


class _Whole:
    """An ask whose keys lie in several slots: told when all its parts have answered."""

    __slots__ = ("ask", "cluster", "open", "parts")

    def __init__(self, cluster: RedisCluster, ask: Ask) -> None:
        self.cluster = cluster
        self.ask = ask
        self.parts = [_Part(self, slot) for slot in dict.fromkeys(ask.group.slots)]
        self.open = len(self.parts)

    def part_done(self) -> None:
        self.open -= 1
        if self.open:
            return
        limits = self.ask.limits
        answers: list[int] = [0] * (3 * len(limits.rules))
        known = True
        for part in self.parts:
            if part.reply is None:
                known = False
                continue
            for place, index in enumerate(part.indexes):
                answers[3 * index : 3 * index + 3] = part.reply[3 * place : 3 * place + 3]
        refused = any(answers[1 : 3 * limits.refusing : 3])
        if refused or not known:
            self._give_back(limits)
        self.ask.done(answers if known else None, 0)

    def _give_back(self, limits: LimitSet) -> None:
        """Parts that were charged though the request is not admitted get their tokens back."""
        back = []
        for part in self.parts:
            reply = part.reply
            if reply is None:
                continue
            waits, tick = reply[1:-2:3], reply[-1]
            if any(wait for wait, index in zip(waits, part.indexes, strict=True) if index < limits.refusing):
                continue  # this part refused: nothing of it was charged
            charged = [index for index, wait in zip(part.indexes, waits, strict=True) if not wait]
            if charged:
                back.append(_GiveBack(self.ask.group.only(charged), limits, charged, tick))
        if back:
            self.cluster.send(back)


class _GiveBack:
    """One token each, given back at once: settled like a lease of one token and no life that ends as it begins."""

    __slots__ = ("answer_count", "argument_count", "arguments", "group", "limits")

    def __init__(self, group: Group, limits: LimitSet, indexes: list[int], tick: int) -> None:
        self.group = group
        self.limits = limits
        words = [NOT_CHARGING + SETTLING + len(indexes), tick, 1, 0, *[0] * len(indexes)]
        self.arguments = b"".join(
            [*[bulk(b"%d" % each) for each in words], *[limits.pairs[index] for index in indexes]]
        )
        self.argument_count = len(words) + 2 * len(indexes)
        self.answer_count = 0

    def done(self, reply: list[int] | None, at: int) -> None:
        """Nobody waits for it."""


async def _asked(link: RedisLink) -> list[Any] | None:
    """The slots as one server knows them; None when it does not say."""
    answered: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    link.send(CLUSTER_SLOTS, lambda reply: None if answered.done() else answered.set_result(reply))
    try:
        async with asyncio.timeout(1.0):
            reply = await answered
    except TimeoutError:
        return None
    if isinstance(reply, list):
        return reply
    if not isinstance(reply, LinkLostError):
        log.warning("redis.no_cluster", server=link.name, detail=str(reply)[:200])
    return None


def slot_owners(table: list[Any], own: str) -> list[Address | None]:
    """For each slot the address of its primary, from the reply to CLUSTER SLOTS; empty when that makes no sense."""
    owners: list[Address | None] = [None] * SLOTS
    try:
        for first, last, primary, *_ in table:
            host = primary[0] if primary[0] not in {None, b"", b"?"} else _address(own, own)[0]
            address = (host.decode("ascii") if isinstance(host, bytes) else host, int(primary[1]))
            owners[first : last + 1] = [address] * (last + 1 - first)
    except (IndexError, TypeError, ValueError):
        return []
    return owners if len(owners) == SLOTS else []


def _address(text: str, own: str) -> Address:
    """``host:port`` apart; a server that does not know its own host leaves it out, and it is where we asked."""
    host, _, port = text.rpartition(":")
    return host or own.rpartition(":")[0], int(port)
