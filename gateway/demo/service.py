"""The three services of the demo: orders calls catalog and payments through the gateway.

Each target is a process of its own: ``python -m gateway.demo.service payments --port 9003 --gateway http://…``. Their
faults are real: a payments target that loses its connection pool has every connection checked out and none given back,
so that callers wait for one in vain. The health endpoint stays green meanwhile, as shallow ones do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import sqlite3
from typing import TYPE_CHECKING

import httpx2
import setproctitle
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

FAULTS = ("pool", "slow", "error", "part")
POOL_SIZE = 8
POOL_WAIT_S = 0.25  # how long a request waits for a connection before it gives up
SLOW_S = 0.9
CALL_TIMEOUT_S = 5.0
NO_PART: dict[str, float | str] = {"share": 1.0, "status": 0, "delay_s": 0.0, "tenant": ""}
ITEMS = {
    str(number): {"id": number, "name": f"Item {number}", "price_cents": 499 + 37 * number} for number in range(40)
}


class ConnectionPool:
    """A small pool of real SQLite connections; ``leak`` checks all of them out for good."""

    def __init__(self, size: int = POOL_SIZE) -> None:
        self._free: asyncio.Queue[sqlite3.Connection] = asyncio.Queue()
        for _ in range(size):
            self._free.put_nowait(sqlite3.connect(":memory:", check_same_thread=False))
        self._leaked: list[sqlite3.Connection] = []

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[sqlite3.Connection]:
        """A connection, given back afterwards. Raises TimeoutError when none comes free in time."""
        connection = await asyncio.wait_for(self._free.get(), POOL_WAIT_S)
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)

    async def leak(self) -> None:
        """Take every connection and give none back."""
        while len(self._leaked) < POOL_SIZE:
            self._leaked.append(await self._free.get())

    def mend(self) -> None:
        """Give the leaked connections back."""
        while self._leaked:
            self._free.put_nowait(self._leaked.pop())


class Service:
    """What every service has: a fault that can be switched on and off, and a health endpoint that does not see it."""

    def __init__(self, name: str, gateway: str) -> None:
        self.name = name
        self.fault = ""
        self.part = NO_PART
        self.pool = ConnectionPool()
        self.numbers = itertools.count(1)
        self.client = httpx2.AsyncClient(base_url=gateway, timeout=CALL_TIMEOUT_S)

    def application(self) -> Starlette:
        """The service as an ASGI application."""
        own = {
            "orders": [Route("/orders", self.place_order, methods=["POST"])],
            "payments": [Route("/payments/charge", self.charge, methods=["POST"])],
            "catalog": [Route("/catalog/items/{id}", self.item)],
        }[self.name]
        return Starlette(
            routes=[*own, Route("/healthz", self.health), Route("/fault", self.set_fault, methods=["PUT"])]
        )

    async def health(self, _request: Request) -> JSONResponse:
        """Alive; says nothing about the pool, which is the point of the demo."""
        return JSONResponse({"status": "ok"})

    async def set_fault(self, request: Request) -> JSONResponse:
        """Switch a fault on (its name) or off (empty).

        "part" hurts a ``share`` of the requests, of one ``tenant`` if it is named: ``delay_s`` late, with ``status``.
        """
        asked = await request.json()
        self.fault, self.part = asked["fault"], {**NO_PART, **asked}
        if self.fault == "pool":
            await self.pool.leak()
        else:
            self.pool.mend()
        return JSONResponse({"fault": self.fault})

    async def trouble(self, request: Request) -> JSONResponse | None:
        """The answer while the error fault is on; the delay of the slow one."""
        if self.fault == "part" and self._hurts(request):
            await asyncio.sleep(float(self.part["delay_s"]))
            if status := int(self.part["status"]):
                return JSONResponse({"error": "unhandled exception"}, status)
        if self.fault == "slow":
            await asyncio.sleep(SLOW_S)
        if self.fault == "error":
            return JSONResponse({"error": "unhandled exception in charge()"}, 500)
        return None

    def _hurts(self, request: Request) -> bool:
        """Whether this request is one of the part that is hurt."""
        if self.part["tenant"] not in {"", request.headers.get("x-sentinel-tenant", "")}:
            return False
        return random.random() < float(self.part["share"])

    async def charge(self, request: Request) -> JSONResponse:
        """Payments: needs a database connection for every charge."""
        if (answer := await self.trouble(request)) is not None:
            return answer
        try:
            async with self.pool.connection() as connection:
                await asyncio.sleep(0.002)
                connection.execute("select 1").fetchone()
        except TimeoutError:
            return JSONResponse({"error": "connection pool exhausted"}, 503)
        return JSONResponse({"charge": next(self.numbers)}, 201)

    async def item(self, request: Request) -> JSONResponse:
        """Catalog: one item."""
        if (answer := await self.trouble(request)) is not None:
            return answer
        found = ITEMS.get(request.path_params["id"])
        return JSONResponse(found) if found else JSONResponse({"error": "no such item"}, 404)

    async def place_order(self, request: Request) -> JSONResponse:
        """Orders: looks the item up, then charges, both through the gateway and in the caller's name."""
        if (answer := await self.trouble(request)) is not None:
            return answer
        order = await request.json()
        passed_on = {
            name: request.headers[name] for name in ("authorization", "traceparent") if name in request.headers
        }
        try:
            item = await self.client.get(f"/catalog/items/{int(order['item'])}", headers=passed_on)
            charge = await self.client.post("/payments/charge", json={"item": order["item"]}, headers=passed_on)
        except httpx2.HTTPError as error:
            return JSONResponse({"error": f"a dependency did not answer: {type(error).__name__}"}, 502)
        if item.is_error or charge.is_error:
            which = "catalog" if item.is_error else "payments"
            return JSONResponse({"error": f"{which} failed"}, 502)
        return JSONResponse({"order": next(self.numbers), "charge": charge.json()["charge"]}, 201)


def main() -> None:
    """Run one target until it is told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=["orders", "payments", "catalog"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--gateway", required=True)
    given = parser.parse_args()
    setproctitle.setproctitle(f"sentinel demo: {given.name} on {given.port}")
    application = Service(given.name, given.gateway).application()
    uvicorn.run(application, host="127.0.0.1", port=given.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
