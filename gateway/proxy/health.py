"""Asks targets whether they are well, and says so when the answer changes.

Control probes, not the workers: one place counts, and what it finds reaches every worker as a directive. The counting
is a pure state machine; :class:`Prober` is the I/O around it.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import TYPE_CHECKING

import httpx2
import msgspec

from gateway import logs
from gateway.proxy.resolve import UNIX
from gateway.proxy.tls import TlsUnusableError, UpstreamContexts, plain_reason, server_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.domain.upstreams import HealthCheck, Target, Upstream, UpstreamTls
    from gateway.proxy.tls import UpstreamContext

MAX_PROBES_AT_ONCE = 16
MAX_TIMEOUT_S = 5.0  # of one probe; a shorter interval bounds it further, so that probes never pile up
_JITTER = 0.2  # share of the interval, either way: targets of one service are not all asked in the same instant
_WELL = range(200, 400)  # a redirect is an answer too; it is not followed

_log = logs.get("proxy")


class TargetHealth(msgspec.Struct, frozen=True):
    """What is known of one target. New ones count as healthy: traffic judges them as well."""

    healthy: bool = True
    streak: int = 0  # probes in a row that contradict ``healthy``
    reason: str = ""  # of the last failure

    def after(self, problem: str, check: HealthCheck) -> TargetHealth:
        """The state after one more probe; ``problem`` is empty when the target answered well."""
        reason = problem or self.reason
        if self.healthy == (not problem):
            return TargetHealth(self.healthy, 0, reason)
        needed = check.unhealthy if self.healthy else check.healthy
        if self.streak + 1 >= needed:
            return TargetHealth(not self.healthy, 0, reason)
        return TargetHealth(self.healthy, self.streak + 1, reason)


class _Asker:
    """Asks one target the way the workers reach it: by TLS or not, by name, address or Unix socket."""

    def __init__(self, target: Target, tls: UpstreamTls | None, context: UpstreamContext | None) -> None:
        self._target = target
        self._context = context
        self._extensions = {} if tls is None else {"sni_hostname": server_name(tls, target)}
        self._client: httpx2.AsyncClient | None = None
        self._made_with: ssl.SSLContext | None = None

    async def ask(self, check: HealthCheck) -> str:
        """What was wrong in a few words of our own, or nothing."""
        timeout_s = min(check.interval_s, MAX_TIMEOUT_S)
        try:
            async with asyncio.timeout(timeout_s):
                client = await self._current_client()
                async with client.stream("GET", check.path, extensions=self._extensions) as answer:
                    # The body is not read.
                    return "" if answer.status_code in _WELL else f"answered {answer.status_code}"
        except TimeoutError:
            return f"no answer within {timeout_s:g} s"
        except (httpx2.HTTPError, OSError, TlsUnusableError) as error:
            return f"not reachable: {_reason(error)}"

    async def close(self) -> None:
        """Ask no more."""
        if self._client is not None:
            await self._client.aclose()

    async def _current_client(self) -> httpx2.AsyncClient:
        context = None if self._context is None else await self._context.current()
        if self._client is None or context is not self._made_with:
            await self.close()
            self._client, self._made_with = _client(self._target, context), context
        return self._client


class Prober:
    """Probes every target of the upstreams that have a health check.

    Args:
        on_change: awaited with upstream, target, whether it is healthy now, and why it was not. Raising only costs a
            log line.
        chance: numbers in [0, 1) for the jitter.
    """

    def __init__(
        self,
        on_change: Callable[[str, str, bool, str], Awaitable[None]],
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._on_change = on_change
        self._chance = chance
        self._states: dict[tuple[str, str], TargetHealth] = {}
        self._tasks: dict[tuple[str, Target, HealthCheck, UpstreamTls | None], asyncio.Task[None]] = {}
        self._contexts = UpstreamContexts()
        self._permits = asyncio.Semaphore(MAX_PROBES_AT_ONCE)

    def apply(self, upstreams: Iterable[Upstream]) -> None:
        """Probe these from now on. Targets that stay keep their state; those that left are forgotten unreported."""
        wanted = {
            (upstream.name, target, upstream.health, upstream.tls if target.tls else None): upstream
            for upstream in upstreams
            if upstream.health is not None
            for target in upstream.targets
        }
        for key in self._tasks.keys() - wanted.keys():
            self._tasks.pop(key).cancel()
        for key in wanted.keys() - self._tasks.keys():
            name, target, check, tls = key
            asker = _Asker(target, tls, None if tls is None else self._contexts.of(wanted[key]))
            self._tasks[key] = asyncio.get_running_loop().create_task(self._watch(name, target, check, asker))
        names = {(upstream, target.name) for upstream, target, _, _ in wanted}
        self._states = {name: self._states.get(name, TargetHealth()) for name in names}

    def states(self) -> dict[tuple[str, str], TargetHealth]:
        """By upstream and target: what a directive that is about to end should be renewed by."""
        return dict(self._states)

    async def close(self) -> None:
        """Stop probing."""
        tasks = tuple(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        self._contexts.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, upstream: str, target: Target, check: HealthCheck, asker: _Asker) -> None:
        try:
            while True:
                await asyncio.sleep(check.interval_s * (1 + _JITTER * (2 * self._chance() - 1)))
                async with self._permits:
                    problem = await asker.ask(check)
                await self._note(upstream, target.name, problem, check)
        finally:
            await asker.close()

    async def _note(self, upstream: str, target: str, problem: str, check: HealthCheck) -> None:
        before = self._states.get((upstream, target), TargetHealth())
        state = self._states[upstream, target] = before.after(problem, check)
        if state.healthy == before.healthy:
            return
        event = "target.healthy" if state.healthy else "target.unhealthy"
        _log.info(event, upstream=upstream, target=target, reason=state.reason)
        try:
            await self._on_change(upstream, target, state.healthy, state.reason)
        except Exception:  # noqa: BLE001 - a task border: probing goes on whatever its listener does
            _log.exception("health.listener_failed", upstream=upstream, target=target)


def _client(target: Target, context: ssl.SSLContext | None) -> httpx2.AsyncClient:
    path = target.host.removeprefix(UNIX) if target.host.startswith(UNIX) else None
    host = f"[{target.host}]" if ":" in target.host and path is None else target.host
    place = "localhost" if path else f"{host}:{target.port}"
    return httpx2.AsyncClient(
        base_url=f"{'http' if context is None else 'https'}://{place}",
        # A new connection each time: that the target still accepts one is part of the question.
        transport=httpx2.AsyncHTTPTransport(
            # Without TLS there is nothing to verify, and no time is spent on reading the system's authorities.
            verify=False if context is None else context,
            uds=path,
            limits=httpx2.Limits(max_keepalive_connections=0),
        ),
        headers={"user-agent": "sentinel-health"},
        timeout=None,  # ask() has one deadline over the whole; httpx2 would bound each read only
        trust_env=False,  # a proxy named in the environment is for the outside, not for the upstreams
    )


def _reason(error: Exception) -> str:
    """In words without address; what TLS found wrong is in the exception that httpx2 wrapped."""
    if isinstance(error, TlsUnusableError):
        return str(error)
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLError):
            return plain_reason(inner)
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__
