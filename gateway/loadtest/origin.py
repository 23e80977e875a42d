"""The service behind the gateway in a load test: answers whose content can be checked.

``python -m gateway.loadtest.origin PORT``

    GET /items/{n}    {"item": n, "subject": whom the gateway named}; /items/blob: a megabyte
    POST /items       200 once the body is whole
    POST /echo        the body, sent back
    GET /limited      {}
    /live             a WebSocket that sends every message back
"""

from __future__ import annotations

import json
import sys
from typing import Any

import uvicorn

BLOB = bytes(1_000_000)
MAX_ECHO_BYTES = 16 * 2**20
SUBJECT = b"x-sentinel-subject"


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI application."""
    if scope["type"] == "websocket":
        await _live(receive, send)
        return
    path = scope["path"]
    body = await _body(receive)
    if body is None:
        await _answer(send, 413, "text/plain", b"longer than this service echoes")
    elif path == "/echo":
        await _answer(send, 200, "application/octet-stream", body)
    elif path == "/items/blob":
        await _answer(send, 200, "application/octet-stream", BLOB)
    else:
        subject = dict(scope["headers"]).get(SUBJECT, b"").decode()
        saw = {"item": path.rpartition("/")[2], "subject": subject} if path.startswith("/items/") else {}
        await _answer(send, 200, "application/json", json.dumps(saw).encode())


async def _body(receive: Any) -> bytes | None:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > MAX_ECHO_BYTES:
            return None
        if not message.get("more_body"):
            return bytes(body)


async def _answer(send: Any, status: int, kind: str, body: bytes) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        given = {name: message[name] for name in ("text", "bytes") if message.get(name) is not None}
        await send({"type": "websocket.send", **given})


def main() -> None:
    """Serve on loopback until told to stop."""
    uvicorn.run(
        application,
        port=int(sys.argv[1]),
        loop="uvloop",
        ws="wsproto",
        lifespan="off",
        log_level="warning",
        backlog=1024,
        timeout_keep_alive=600,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
