"""Counts what locust's users do, tells the process that asked for it, and judges at the end.

Imported by locust files only: importing locust makes the whole process cooperative (gevent).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import gevent
import msgspec
from locust import events

from gateway.loadtest.figures import Recorder, Told
from gateway.loadtest.settings import ScenarioSettings, from_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.loadtest.figures import Check

_ERROR_CHARS = 200
_events: Any = events  # locust types them as functions without types


OVER_S = 1.0  # the load goes on so much longer, so that users see the end of the scenario themselves


class Watch:
    """One scenario's counts. ``judge`` is called once, when the load has ended.

    The clock starts with the first answer: on a busy machine locust takes seconds until its users do anything.
    """

    def __init__(self, judge: Callable[[Watch], list[Check]]) -> None:
        self._environment: Any = None
        self._ending: gevent.Greenlet | None = None
        self.settings: ScenarioSettings = from_environment()
        self.seen = Recorder(time.time())
        self.counts: dict[str, int] = {}
        self._judge = judge
        _events.test_start.add_listener(self._started)
        _events.request.add_listener(self._request)
        _events.user_error.add_listener(self._user_error)
        _events.quitting.add_listener(self._quitting)

    def share(self) -> float:
        """How much of the scenario is over, 0 to 1."""
        if self._ending is None:
            return 0.0
        return min((time.time() - self.seen.begun_s) / self.settings.seconds, 1.0)

    def count(self, what: str, how_many: int = 1) -> None:
        """Count something that is no request."""
        self.counts[what] = self.counts.get(what, 0) + how_many

    def add(self, name: str, began_s: float, length: int, error: str = "") -> None:
        """Report something that locust's own clients did not do. ``began_s`` is of time.time()."""
        _events.request.fire(
            request_type="",
            name=name,
            response_time=(time.time() - began_s) * 1000,
            response_length=length,
            exception=RuntimeError(error) if error else None,
            context={},
        )

    def _started(self, environment: Any, **_: object) -> None:
        self._environment = environment
        gevent.spawn(self._every_second, environment)

    def _request(self, name: str, response_time: float, response_length: int, exception: object, **_: object) -> None:
        self._start_clock(response_time or 0.0)
        error = str(exception)[:_ERROR_CHARS] or type(exception).__name__ if exception is not None else ""
        self.seen.add(name, time.time(), response_time or 0.0, response_length or 0, error)

    def _user_error(self, exception: BaseException, **_: object) -> None:
        """A user that broke is no answer that is as it should be."""
        self._start_clock(0.0)
        self.seen.add("broken user", time.time(), 0.0, 0, f"{type(exception).__name__}: {exception}"[:_ERROR_CHARS])

    def _start_clock(self, duration_ms: float) -> None:
        if self._ending is None:
            self.seen.begun_s = time.time() - duration_ms / 1000
            self._ending = gevent.spawn_later(self.settings.seconds + OVER_S, self._end)

    def _end(self) -> None:
        if self.settings.tell_fd >= 0:  # by hand, --run-time decides
            self._environment.runner.quit()

    def _every_second(self, environment: Any) -> None:
        while True:
            gevent.sleep(1.0)
            users = environment.runner.user_count if environment.runner is not None else 0
            self._tell(Told(second=self.seen.second(time.time(), users)))

    def _quitting(self, environment: Any, **_: object) -> None:
        checks = tuple(self._judge(self))
        if self.settings.tell_fd >= 0:
            self._tell(Told(seen=self.seen.seen(checks)))
            environment.process_exit_code = 0
            return
        for check in checks:
            print("✓" if check.held else "✗", check.name, "·", check.detail)  # noqa: T201 - `locust -f` by hand
        environment.process_exit_code = 0 if all(check.held for check in checks) else 1

    def _tell(self, told: Told) -> None:
        if self.settings.tell_fd >= 0:
            os.write(self.settings.tell_fd, msgspec.json.encode(told) + b"\n")
