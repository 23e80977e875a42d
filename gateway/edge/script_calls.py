"""The script calls under way at one Redis: checks in batches, a watch over the slowest, and what happens on failure.

Whoever asks is told exactly once: with the reply and where its answers begin, or with None when Redis did not answer in
its time and has to be done without.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from gateway.edge.redis_breaker import RedisBreaker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.edge.limit_groups import Group
    from gateway.edge.limits import LimitSet
    from gateway.edge.redis_link import RedisLink
    from gateway.metrics import WorkerCounters

MAX_BATCH = 128  # groups per script call: about 0.2 ms of Redis, which serves nobody else meanwhile


class Ask(Protocol):
    """One group of the script: its keys, its arguments, and who waits for its answers."""

    group: Group
    limits: LimitSet
    argument_count: int
    arguments: bytes
    answer_count: int

    def done(self, reply: list[int] | None, at: int) -> None:
        """The answers begin at ``reply[at]``; None: there are none, decide without."""


class Call:
    """One script call under way."""

    __slots__ = ("asks", "command", "decided", "redirected", "reloaded", "sent_at")

    def __init__(self, asks: Sequence[Ask], sha: bytes, sent_at: float) -> None:
        self.asks = asks
        keys = [key for ask in asks for key in ask.group.encoded]
        words = 3 + len(keys) + sum([ask.argument_count for ask in asks])
        count = b"%d" % len(keys)
        parts = [b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$%d\r\n%s\r\n" % (words, sha, len(count), count), *keys]
        parts += [ask.arguments for ask in asks]
        self.command = b"".join(parts)
        self.sent_at = sent_at
        self.decided = False
        self.reloaded = False
        self.redirected = 0  # times another server of a cluster was named

    def tell(self, reply: list[int] | None) -> None:
        """Give everybody their answers."""
        at = 0
        for ask in self.asks:
            ask.done(reply, at)
            at += ask.answer_count


class ScriptCalls:
    """Sends calls to one Redis and keeps requests away from it while it fails.

    Args:
        counters: script calls are counted here.
        link: the connection.
        budget_s: how long a request may wait.
        live_workers: for the event that says what counting without Redis means.
        redirect: takes a call whose slot another server of a cluster holds; False when it cannot.
    """

    def __init__(
        self,
        counters: WorkerCounters,
        link: RedisLink,
        budget_s: float,
        live_workers: Callable[[], int],
        redirect: Callable[[ScriptCalls, Call, str], bool] | None = None,
    ) -> None:
        self.link = link
        self.breaker = RedisBreaker(link, budget_s, live_workers)
        self._counters = counters
        self._redirect = redirect
        self._under_way: deque[Call] = deque()
        self._watch: asyncio.TimerHandle | None = None

    @property
    def generation(self) -> int:
        """Changes with the connection: what was leased before may stand in another server now, or nowhere."""
        return self.link.generation

    def set_budget(self, budget_s: float) -> None:
        """How long a request may wait from now on."""
        self.breaker.budget_s = budget_s

    def usable(self, group: Group | None = None) -> bool:  # noqa: ARG002 - a cluster has one of us per server
        """Whether it makes sense to ask."""
        return self.link.ready and not self.breaker.open

    def can_lease(self, group: Group) -> bool:  # noqa: ARG002 - as above
        """Whether tokens of this group can be leased here."""
        return True

    def send(self, asks: Sequence[Ask]) -> None:
        """Ask for all of them, in as few calls as their number allows."""
        if not self.usable():
            for ask in asks:
                ask.done(None, 0)
            return
        now = monotonic()  # not the loop's time, which uvloop reads once per tick: a long tick would count as Redis's
        for start in range(0, len(asks), MAX_BATCH):
            self.carry(Call(asks[start : start + MAX_BATCH], self.link.sha, now))

    def carry(self, call: Call, prefix: bytes = b"") -> None:
        """Send one call; ``prefix`` is a command whose reply does not matter, sent right before it."""
        self._under_way.append(call)
        if prefix:
            self.link.send(prefix, lambda _reply: None)
        self._send(call)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(self.breaker.budget_s, self._look)

    def stop(self) -> None:
        """End the watch and the trials."""
        if self._watch is not None:
            self._watch.cancel()
        self.breaker.stop()

    def _send(self, call: Call) -> None:
        self.link.send(call.command, lambda reply: self._on_reply(call, reply))

    def _on_reply(self, call: Call, reply: object) -> None:
        if isinstance(reply, list):
            self._count("ok")
            if not call.decided:  # else too late: its exchanges were decided without it
                self._settle(call)
                call.tell(reply)
            return
        text = str(reply)
        if text.startswith("NOSCRIPT") and not call.reloaded:
            self._count("noscript")
            call.reloaded = True
            self.link.load_script()
            self._send(call)
            return
        if self._redirect is not None and text.startswith(("MOVED ", "ASK ", "TRYAGAIN")) and not call.decided:
            self._count("moved")
            self._under_way.remove(call)
            if not self._redirect(self, call, text):
                call.decided = True
                call.tell(None)
            return
        self._count("failed")
        if text.startswith(("READONLY", "MASTERDOWN")):
            self.link.abort()  # a failover made it a replica; the address may lead to the new primary
        self._give_up("failed", [call], text)

    def _look(self) -> None:
        """The watch over the oldest call: one timer for all, armed again only while something is under way.

        A loop that was busy itself does not blame Redis: asyncio and uvloop both read sockets before they run timers.
        """
        self._watch = None
        if not self._under_way:
            return
        left_s = self._under_way[0].sent_at + self.breaker.budget_s - monotonic()
        if left_s > 0:
            self._watch = asyncio.get_running_loop().call_later(left_s, self._look)
        else:
            self._count("slow")
            self._give_up("slow", list(self._under_way))

    def _give_up(self, reason: str, calls: list[Call], detail: str = "") -> None:
        """Decide calls without Redis."""
        self.breaker.trip(reason, detail)
        for call in calls:
            if not call.decided:
                self._settle(call)
                call.tell(None)

    def _settle(self, call: Call) -> None:
        call.decided = True
        self._under_way.remove(call)

    def _count(self, outcome: str) -> None:
        self._counters.count("sentinel_limiter_calls_total", outcome)
