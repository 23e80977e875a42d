"""Honest load for the demo: three tenants with tokens of their own, and one caller who asks for more than it may."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
import jwt

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine

TENANTS = ("acme", "globex", "initech")
ORDERS_PER_S = 12.0
ITEMS_PER_S = 8.0
GREEDY_PER_S = 8.0  # of one caller; its limit is 4/s
TOKEN_TTL_S = 3600
GIVE_UP_S = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one caller got. ``status`` 0: no answer at all."""

    at: float  # monotonic
    path: str
    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Felt:
    """What callers felt over some seconds, without the ones that were over their limit."""

    requests: int
    failed: int
    limited: int
    p95_ms: float

    @property
    def failed_share(self) -> float:
        """Failed answers per request, 0..1."""
        return self.failed / self.requests if self.requests else 0.0


class Load:
    """Callers on an open schedule: they keep asking at their own pace, however slow the answers are.

    Args:
        base_url: the gateway's data port.
        secret: signs the callers' tokens (HS256).
        draw: decides who asks for what.
    """

    def __init__(self, base_url: str, secret: str, draw: random.Random) -> None:
        self._client = httpx2.AsyncClient(
            base_url=base_url,
            timeout=GIVE_UP_S,
            limits=httpx2.Limits(max_connections=200, max_keepalive_connections=50),
        )
        self._draw = draw
        self._tokens = [
            (tenant, self._token(f"{tenant}-user-{number}", tenant, secret))
            for tenant in TENANTS
            for number in range(5)
        ]
        self._greedy = self._token("acme-batch-export", "acme", secret)
        self._answers: deque[Answer] = deque(maxlen=20_000)
        self._under_way: set[asyncio.Task[None]] = set()
        self.totals: Counter[str] = Counter()

    @staticmethod
    def _token(subject: str, tenant: str, secret: str) -> str:
        now = int(time.time())
        claims = {"sub": subject, "tenant": tenant, "scope": "orders:write catalog:read payments:write"}
        return jwt.encode({**claims, "iat": now, "exp": now + TOKEN_TTL_S}, secret, algorithm="HS256")

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask_at(ORDERS_PER_S, self._order))
            group.create_task(self._ask_at(ITEMS_PER_S, self._item))
            group.create_task(self._ask_at(GREEDY_PER_S, self._export))

    async def close(self) -> None:
        """Let nobody wait any longer."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._client.aclose()

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The latest answers, oldest first."""
        return tuple(self._answers)

    def felt(self, seconds: float, path: str = "/orders") -> Felt:
        """What callers of ``path`` felt over the last ``seconds``."""
        since = time.monotonic() - seconds
        recent = [answer for answer in self._answers if answer.at >= since and answer.path.startswith(path)]
        times = sorted(answer.seconds for answer in recent if answer.status != httpx2.codes.TOO_MANY_REQUESTS)
        return Felt(
            requests=len(times),
            failed=sum(1 for answer in recent if answer.status == 0 or answer.status >= 500),  # noqa: PLR2004 - from here on it is the server that failed
            limited=len(recent) - len(times),
            p95_ms=times[int(0.95 * (len(times) - 1))] * 1000 if times else 0.0,
        )

    async def _ask_at(self, rate: float, ask: Callable[[], Coroutine[None, None, None]]) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += self._draw.expovariate(rate)
            await asyncio.sleep(max(0.0, due - loop.time()))
            task = asyncio.create_task(ask())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _order(self) -> None:
        _, token = self._draw.choice(self._tokens)
        await self._send("POST", "/orders", token, {"item": self._draw.randrange(40)})

    async def _item(self) -> None:
        _, token = self._draw.choice(self._tokens)
        await self._send("GET", f"/catalog/items/{self._draw.randrange(40)}", token)

    async def _export(self) -> None:
        await self._send("GET", f"/catalog/items/{self._draw.randrange(40)}", self._greedy)

    async def _send(self, method: str, path: str, token: str, body: dict[str, int] | None = None) -> None:
        begun = time.monotonic()
        try:
            answer = await self._client.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})
            status = answer.status_code
        except httpx2.HTTPError:
            status = 0
        now = time.monotonic()
        self._answers.append(Answer(now, path, status, now - begun))
        self.totals["limited" if status == httpx2.codes.TOO_MANY_REQUESTS else f"{status // 100}xx"] += 1
