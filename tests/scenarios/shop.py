"""A shop for scenario tests: upstreams with targets that can be broken, and callers that never stop asking."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2

from tests import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")

PER_S = 20.0  # requests of one caller; enough for a verdict on a target within ten seconds
DETECT_S = 40.0  # thirty are promised; the rest is for a test machine that is busy with other tests


class Target(running.Origin):
    """An origin that answers 503 while it is ``broken``."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.name = f"127.0.0.1:{self.port}"
        self.answer = self._answer

    def _answer(self, _method: str, _path: str) -> tuple[int, bytes]:
        return (503, b"out of connections") if self.broken else (200, b"fine")

    @property
    def count(self) -> int:
        """Requests it has got so far."""
        return len(self.seen)


@contextmanager
def targets(count: int) -> Iterator[list[Target]]:
    """That many targets, in threads of this process."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            target = stack.enter_context(Target())
            thread = threading.Thread(target=target.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            stack.callback(thread.join, 5)
            stack.callback(target.shutdown)
            made.append(target)
        yield made


def config(
    upstreams: Mapping[str, Sequence[tuple[Target, int]]],
    *,
    more: str = "",
    store: str = "sqlite:///RUN/sentinel.db",
    server: str = "",
) -> str:
    """A sentinel.toml with these upstreams (targets and weights), and a route of the same name to each."""
    text = f"""
[server]
port = PORT
run_dir = "RUN"
{server}

[admin]
bind = "127.0.0.1:ADMIN"

[store]
url = "{store}"
"""
    for name, weighted in upstreams.items():
        listed = ", ".join(f'{{ url = "http://{target.name}", weight = {weight} }}' for target, weight in weighted)
        text += f"""
[[upstreams]]
name = "{name}"
targets = [{listed}]
timeout = {{ header = "2s" }}

[[routes]]
name = "{name}"
match = {{ path = "/{name}/*" }}
upstream = "{name}"
"""
    return text + more


@dataclass
class Callers:
    """One thread per path that asks for it again and again; 0 stands for no answer."""

    url: str
    paths: tuple[str, ...]
    per_s: float = PER_S
    answers: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._ask, args=(path,), daemon=True) for path in self.paths]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    @property
    def total(self) -> int:
        with self._lock:
            return sum(self.answers.values())

    def _ask(self, path: str) -> None:
        due = time.monotonic()
        with httpx2.Client(base_url=self.url, timeout=15) as client:
            while not self._stop.is_set():
                begun = time.monotonic()
                try:
                    status = client.get(path).status_code
                except httpx2.HTTPError:
                    status = 0
                with self._lock:
                    self.answers[status] += 1
                    self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
                due = max(due + 1 / self.per_s, begun)
                self._stop.wait(max(0.0, due - time.monotonic()))


@contextmanager
def calling(url: str, *paths: str, per_s: float = PER_S) -> Iterator[Callers]:
    """Callers of these paths for as long as the block lasts."""
    callers = Callers(url, paths, per_s)
    callers.start()
    try:
        yield callers
    finally:
        callers.stop()


def incident_at(gateway: running.Gateway, upstream: str) -> dict[str, Any] | None:
    """The incident whose place is that upstream, whole; None while there is none."""
    for row in gateway.api("/api/v1/incidents")["items"]:
        if row["place"]["upstream"] == upstream:
            found: dict[str, Any] = gateway.api(f"/api/v1/incidents/{row['id']}")
            return found
    return None


def incident_when(
    gateway: running.Gateway, upstream: str, true: Callable[[dict[str, Any]], object], seconds: float, what: str
) -> dict[str, Any]:
    """That upstream's incident as soon as ``true`` holds for it. A control that is away meanwhile is asked again."""
    last: dict[str, Any] = {}

    def holds() -> object:
        try:
            found = incident_at(gateway, upstream)
        except httpx2.HTTPError:
            return False
        last.clear()
        last.update(found or {})
        return found is not None and true(found)

    try:
        gateway.wait(holds, seconds, what)
    except AssertionError as error:
        told = "\n".join(f"{entry['at']} {entry['kind']}: {entry['text']}" for entry in last.get("timeline", ()))
        error.add_note(f"the incident at {upstream}: {last.get('state', 'none')}\n{told}")
        raise
    return dict(last)


def action_in(incident: dict[str, Any], state: str) -> dict[str, Any] | None:
    """The first action of the incident in that state."""
    return next((one for one in incident["actions"] if one["state"] == state), None)


def kinds(incident: dict[str, Any]) -> list[str]:
    """The kinds of its time line's entries, in order."""
    return [entry["kind"] for entry in incident["timeline"]]


@contextmanager
def in_a_loop(server: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """An asynchronous server in an event loop and thread of its own, for tests that block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    context = server()
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(_ended(context), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def _ended(context: AbstractAsyncContextManager[Any]) -> None:
    await context.__aexit__(None, None, None)
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def metric(gateway: running.Gateway, line_start: str) -> float:
    """The sum of /metrics lines that begin so; 0 where there is none."""
    text = httpx2.get(f"{gateway.admin_url}/metrics").text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(line_start))
