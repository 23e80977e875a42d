"""Reports events without ever making its caller wait: a bounded buffer, a thread that sends, retries with backoff."""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
import uuid
import weakref
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.client.encoding import encoded
from gateway.client.posting import Poster
from gateway.client.waiting import Counts, Waiting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

MOST_BATCH = 500  # events in one request; the server takes 1,000
MOST_BATCH_BYTES = 512 * 1024  # the server takes a MiB
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0

_log = logging.getLogger("sentinel.client")
_clients: weakref.WeakSet[EventClient] = weakref.WeakSet()


class EventClient:
    """Reports events of one program. Safe to use from any thread, from asyncio, and in the children of a fork.

    Args:
        url: of the admin plane, such as ``https://sentinel.internal:8001``.
        token: the value of ``[sources.events] token_env``, or a session's token.
        agent_id: who reports, such as ``billing-worker-3``.
        tenant: whose events these are; empty: the operator's.
        most_waiting: events in memory at once; the oldest make room for newer ones.
        most_bytes: of them, encoded.
        every_s: how long an event waits for others to go with it.
        timeout_s: for each step of a request.
        at_exit_s: how long the end of the process may wait for events that were not sent yet.

    Raises:
        ValueError: url is no http or https URL.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        agent_id: str,
        tenant: str = "",
        most_waiting: int = 10_000,
        most_bytes: int = 16 * 1024 * 1024,
        every_s: float = 1.0,
        timeout_s: float = 5.0,
        at_exit_s: float = 2.0,
    ) -> None:
        self._agent_id = agent_id
        self._tenant = tenant
        self._bounds = {"most_events": max(1, most_waiting), "most_bytes": max(1, most_bytes)}
        self._every_s = every_s
        self.at_exit_s = at_exit_s
        self._poster = Poster(url, token, timeout_s=timeout_s)
        self._begin()
        _clients.add(self)

    def _begin(self) -> None:
        """Start with nothing: at first, and in the child of a fork, where the parent sends what waits there."""
        self._changed = threading.Condition()
        self._waiting = Waiting(**self._bounds)
        self._thread: threading.Thread | None = None
        self._until: float | None = None  # the deadline of a close, in monotonic seconds
        self._hurry = False  # somebody waits for a flush
        self._untold = 0  # dropped, and not yet reported as an event of its own
        self._trouble = ""

    def report(
        self,
        kind: str,
        *,
        severity: str = "info",
        message: str = "",
        fields: Mapping[str, object] | None = None,
        at: datetime | None = None,
        trace_id: str = "",
    ) -> bool:
        """Take an event; it is sent soon. Never waits, never raises; False if it could not be taken.

        Args:
            kind: lower case with dots, such as "deploy.finished".
            severity: debug, info, warning, error or critical.
            message: for people.
            fields: a few facts; what is no number, truth value or text is turned into text.
            at: when it happened, with a time zone; now when left out.
            trace_id: 32 hex digits where it belongs to a request.
        """
        try:
            event = encoded(
                event_id=uuid.uuid4().hex,
                agent_id=self._agent_id,
                kind=kind,
                severity=severity,
                at=(at or datetime.now(UTC)).astimezone(UTC).isoformat(),
                message=message,
                fields=fields or {},
                trace_id=trace_id,
                tenant=self._tenant,
            )
        except Exception as error:  # noqa: BLE001 - a border: what a caller's object does when asked for its text
            _log.warning("an event of kind %.64r could not be written down: %s", kind, type(error).__name__)
            return False
        with self._changed:
            if self._until is not None:
                self._waiting.added += 1
                self._waiting.dropped += 1
                return False
            before = self._waiting.dropped
            taken = self._waiting.add(event)
            self._untold += self._waiting.dropped - before
            if self._thread is None:
                self._start()
            if len(self._waiting) in {1, MOST_BATCH}:  # what the thread waits for; waking it for each costs its caller
                self._changed.notify_all()
            return taken

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="sentinel events", daemon=True)
        with suppress(RuntimeError):  # the interpreter is ending: what waits is counted as dropped
            thread.start()
            self._thread = thread

    @property
    def counts(self) -> Counts:
        """What became of everything reported so far, in this process."""
        with self._changed:
            return self._waiting.counts

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything reported before is sent or given up; False if that took too long."""
        with self._changed:
            wanted = self._waiting.added
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._waiting.settled >= wanted, timeout_s)

    def close(self, timeout_s: float | None = None) -> bool:
        """Send what waits, within the time (``at_exit_s`` when left out); the rest is counted as dropped.

        Returns:
            Whether everything was sent. Closing twice is harmless; what is reported afterwards is dropped.
        """
        with self._changed:
            if self._until is None:
                self._until = time.monotonic() + (self.at_exit_s if timeout_s is None else timeout_s)
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(max(0.0, self._until - time.monotonic()) + 0.1)
        with self._changed:
            if left := self._waiting.drop_all():
                _log.warning("%d events were not sent: %s", left, self._trouble or "there was no time left")
            self._changed.notify_all()
            return not left

    async def aflush(self, timeout_s: float = 5.0) -> bool:
        """:meth:`flush` for asyncio: the event loop goes on meanwhile."""
        import asyncio  # whoever awaits this has it already; others need not load it

        return await asyncio.to_thread(self.flush, timeout_s)

    async def aclose(self, timeout_s: float | None = None) -> bool:
        """:meth:`close` for asyncio: the event loop goes on meanwhile."""
        import asyncio

        return await asyncio.to_thread(self.close, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def forked(self) -> None:
        """The child of a fork begins anew: lock, thread and connection belong to the parent."""
        self._poster.forget()
        self._begin()

    # The thread.

    def _run(self) -> None:
        failures = 0
        while True:
            with self._changed:
                if not self._gather():
                    break
                batch = list(self._next_batch())
            answer = self._poster.post(batch)
            with self._changed:
                self._note(answer.why)
                if answer.done:
                    self._waiting.settle(refused=answer.refused)
                    failures = 0
                elif answer.halves:
                    self._waiting.put_back(keep=len(batch) // 2)
                else:
                    failures += 1
                    if not self._pause(failures, answer.wait_s):
                        break
                self._hurry = self._hurry and len(self._waiting) > 0
                self._changed.notify_all()
        self._poster.close()

    def _gather(self) -> bool:
        """Wait until there is something to send and it has company or has waited enough; False when all is over."""
        self._changed.wait_for(lambda: len(self._waiting) > 0 or self._until is not None)
        if not self._waiting.under_way:
            self._changed.wait_for(
                lambda: len(self._waiting) >= MOST_BATCH or self._hurry or self._until is not None, self._every_s
            )
        if self._until is None:
            return True
        return len(self._waiting) > 0 and time.monotonic() < self._until

    def _next_batch(self) -> list[bytes]:
        """What to send next: the batch under way if there is one, else the next, behind a word on what was dropped."""
        if not self._waiting.under_way:
            if self._untold:
                # The gap is part of the story: who reads the log must see that something is missing here.
                self._waiting.begin_with(self._gap(self._untold))
                self._untold = 0
            self._waiting.take(most_events=MOST_BATCH, most_bytes=MOST_BATCH_BYTES)
        return self._waiting.under_way

    def _gap(self, dropped: int) -> bytes:
        return encoded(
            event_id=uuid.uuid4().hex,
            agent_id=self._agent_id,
            kind="events.dropped",
            severity="warning",
            at=datetime.now(UTC).isoformat(),
            message=f"{dropped} events before this one were dropped: they could not be sent in time",
            fields={"dropped": dropped},
            trace_id="",
            tenant=self._tenant,
        )

    def _pause(self, failures: int, wait_s: float) -> bool:
        """Wait before the next try; False if the end comes first. Longer each time, and never all at once."""
        # Full jitter: a fleet that lost its server together must not come back together.
        backoff_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(failures - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it
        deadline = time.monotonic() + max(wait_s, backoff_s)
        while (left_s := deadline - time.monotonic()) > 0:
            if self._until is not None:  # the end does not wait for the server's convenience
                left_s = min(left_s, FIRST_WAIT_S, self._until - time.monotonic())
                if left_s <= 0:
                    return False
                deadline = min(deadline, time.monotonic() + left_s)
            self._changed.wait(left_s)
        return self._until is None or time.monotonic() < self._until

    def _note(self, why: str) -> None:
        """Log a trouble once, when it begins or changes, and its end."""
        if why and why != self._trouble:
            _log.warning("%s", why)
        elif self._trouble and not why:
            _log.info("events are taken again")
        self._trouble = why


def _close_all() -> None:
    for client in list(_clients):
        with suppress(Exception):  # the end of a process: nobody is left to be told
            client.close()


def _forked() -> None:
    for client in list(_clients):
        client.forked()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
