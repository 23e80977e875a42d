"""Quiet, then everybody at once without a pause, then quiet again: nothing fails, and it is as quick as before.

Run by `sentinel loadtest burst`, or by hand: locust -f loadtests/scenarios/burst.py --headless --host URL
"""

from __future__ import annotations

import itertools

import gevent
from locust import FastHttpUser, LoadTestShape, task

from gateway.loadtest import judging
from gateway.loadtest.watching import Watch

BEGINS, ENDS = 0.35, 0.65  # of the scenario
SETTLES = 0.10  # of it, after the burst, belongs to neither: what queued up is still being answered
QUIET_PAUSE_S = 0.05
BEFORE, BURST, SETTLING, AFTER = "before the burst", "in the burst", "settling", "after the burst"
_numbers = itertools.count()


def judge(seen: Watch) -> list[judging.Check]:
    """What must hold of a burst."""
    return [
        judging.none_failed(seen.seen),
        judging.not_slower(seen.seen, BEFORE, AFTER, "afterwards answers are as quick as before"),
    ]


watch = Watch(judge)


def phase() -> str:
    """Which part of the scenario it is."""
    at = watch.share()
    if at < BEGINS:
        return BEFORE
    return BURST if at < ENDS else SETTLING if at < ENDS + SETTLES else AFTER


class Burst(LoadTestShape):
    """A tenth of the users, all of them, a tenth again."""

    def tick(self) -> tuple[int, float] | None:
        """How many users there should be now, and how many may begin or leave per second."""
        if watch.share() >= 1:
            return None
        most = watch.settings.users
        return (most if phase() == BURST else max(most // 10, 1)), float(most)


class Caller(FastHttpUser):
    """Pauses a little, but not in the burst."""

    network_timeout = connection_timeout = 10.0

    def on_start(self) -> None:
        """Become somebody."""
        self.bearer = watch.settings.bearer(f"user-{next(_numbers)}")

    @task
    def ask(self) -> None:
        """One request under the name of its phase."""
        now = phase()
        path = f"{watch.settings.path}/{next(_numbers)}" if watch.settings.own else watch.settings.path
        self.client.get(path, name=now, headers=self.bearer)
        if now != BURST:
            gevent.sleep(QUIET_PAUSE_S)
