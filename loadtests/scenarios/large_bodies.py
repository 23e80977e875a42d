"""Bodies of a byte to four megabytes, with a length and in chunks, there and back: every byte as it was sent.

Run by `sentinel loadtest large-bodies`, or by hand: locust -f loadtests/scenarios/large_bodies.py --headless --host URL
The service behind must send every body back.
"""

from __future__ import annotations

import hashlib
import http.client
import random
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from locust import User, constant, task

from gateway.loadtest import judging
from gateway.loadtest.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (1, 1_000, 16_384, 65_537, 300_000, 1_000_000, 4_000_000)  # bytes; around what a flow-control window holds, too
PIECE = 50_000  # bytes of an upload at a time
STEP = 65_536
_NOISE = random.Random(7).randbytes(SIZES[-1] + 4096)


def judge(seen: Watch) -> list[judging.Check]:
    """What must hold of bodies."""
    sent = seen.seen.seen(()).requests
    return [
        judging.none_failed(seen.seen),
        judging.all_true("every body comes back byte for byte", seen.counts.get("identical", 0), sent),
    ]


watch = Watch(judge)


def pieces(body: memoryview) -> Iterator[memoryview]:
    """The body a little at a time."""
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


class Sender(User):
    """Sends a body, reads it back and compares, over a connection it keeps."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Connect, and become somebody."""
        at = urlsplit(self.host or "")
        kind = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
        self.connection = kind(at.hostname or "", at.port, timeout=30)
        self.bearer = watch.settings.bearer(f"sender-{random.random()}")

    @task
    def there_and_back(self) -> None:
        """One body."""
        size = random.choice(SIZES)
        start = random.randrange(4096)
        body = memoryview(_NOISE)[start : start + size]
        chunked = random.random() < 0.5  # noqa: PLR2004 - half of them
        name = f"{size:,} bytes{' in chunks' if chunked else ''}"
        began_s = time.time()
        try:
            error = self.exchange(body, chunked=chunked)
        except (OSError, http.client.HTTPException) as broken:
            error = f"{type(broken).__name__}: {broken}"
            self.connection.close()
        watch.add(name, began_s, 2 * size, error)

    def exchange(self, body: memoryview, *, chunked: bool) -> str:
        """Send and compare; what is wrong, or nothing."""
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
        headers = {**self.bearer, **framing, "Content-Type": "application/octet-stream"}
        path = watch.settings.echo_path
        self.connection.request("POST", path, pieces(body), headers, encode_chunked=chunked)
        answer = self.connection.getresponse()
        digest = hashlib.sha256()
        while part := answer.read(STEP):
            digest.update(part)
        if answer.status != 200:  # noqa: PLR2004 - OK
            return f"answered {answer.status}"
        if digest.digest() != hashlib.sha256(body).digest():
            return "what came back is not what was sent"
        watch.count("identical")
        return ""
