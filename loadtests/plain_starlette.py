"""The gateway that people write first: Starlette middleware, PyJWT, redis-py and httpx, as one contender.

Reads PORT, WORKERS, UPSTREAM_URL, REDIS_URL, JWT_SECRET and RUN (a scratch folder) from the environment. It does the
work of the others: an HS256 token, a token bucket per subject in Redis, a line per request, the upstream's answer.
FastAPI is Starlette with validation of parameters on top, which a proxy has none of; httpx2 is httpx's successor.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import jwt
import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.middleware.base import RequestResponseEndpoint
    from starlette.requests import Request

RATE = BURST = 1_000_000  # nothing is to be refused here
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "host", "content-length"}
ENCODED = {"content-encoding"}  # httpx has decoded the body
BUCKET = """\
local clock = redis.call("TIME")
local now = clock[1] + clock[2] / 1000000
local saved = redis.call("HMGET", KEYS[1], "tokens", "at")
local tokens = math.min(tonumber(saved[1] or ARGV[2]) + (now - tonumber(saved[2] or now)) * ARGV[1], ARGV[2])
local admitted = 0
if tokens >= 1 then tokens, admitted = tokens - 1, 1 end
redis.call("HSET", KEYS[1], "tokens", tokens, "at", now)
redis.call("EXPIRE", KEYS[1], 60)
return admitted
"""
log = logging.getLogger("requests")


class Logging(BaseHTTPMiddleware):
    """A line per request."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Time it and write it down."""
        began = time.perf_counter()
        response = await call_next(request)
        seconds = time.perf_counter() - began
        log.info("%s %s %d %.6f", request.method, request.url.path, response.status_code, seconds)
        return response


class Authentication(BaseHTTPMiddleware):
    """An HS256 token."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """401 without a good one."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            return PlainTextResponse("a bearer token is needed", 401)
        try:
            claims = jwt.decode(token, os.environ["JWT_SECRET"], algorithms=["HS256"])
        except jwt.InvalidTokenError:
            return PlainTextResponse("the token is not good", 401)
        request.state.subject = claims["sub"]
        return await call_next(request)


class RateLimit(BaseHTTPMiddleware):
    """A bucket per subject in Redis."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """429 when it is empty."""
        bucket = request.app.state.bucket
        if not await bucket(keys=[f"plain:{request.state.subject}"], args=[RATE, BURST]):
            return PlainTextResponse("too many requests", 429)
        return await call_next(request)


async def proxy(request: Request) -> Response:
    """Forward it whole and answer it whole."""
    headers = [(name, value) for name, value in request.headers.items() if name not in HOP_BY_HOP]
    answer = await request.app.state.client.request(
        request.method,
        request.url.path,
        params=request.url.query or None,
        headers=headers,
        content=await request.body(),
    )
    kept = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP | ENCODED}
    return Response(answer.content, answer.status_code, kept)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """One client for the upstream and one for Redis."""
    log.setLevel(logging.INFO)
    log.addHandler(logging.FileHandler(Path(os.environ["RUN"]) / f"plain-{os.getpid()}.log"))
    log.propagate = False
    limits = httpx2.Limits(max_connections=128, max_keepalive_connections=128, keepalive_expiry=60)
    redis = Redis.from_url(os.environ["REDIS_URL"])
    async with httpx2.AsyncClient(base_url=os.environ["UPSTREAM_URL"], limits=limits, timeout=30) as client, redis:
        app.state.client = client
        app.state.bucket = redis.register_script(BUCKET)
        yield


app = Starlette(
    routes=[Route("/{path:path}", proxy, methods=METHODS)],
    middleware=[Middleware(Logging), Middleware(Authentication), Middleware(RateLimit)],
    lifespan=lifespan,
)


if __name__ == "__main__":
    workers = int(os.environ.get("WORKERS", "1"))
    uvicorn.run(
        "loadtests.plain_starlette:app" if workers > 1 else app,
        port=int(os.environ["PORT"]),
        workers=workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=600,
    )
