"""Steady traffic well below saturation: everything is answered, on time, and to whom it belongs.

Run by `sentinel loadtest steady`, or by hand:
locust -f loadtests/scenarios/steady.py --headless -u 20 -t 10s --host URL
"""

from __future__ import annotations

import itertools
import json

from locust import FastHttpUser, constant_throughput, task

from gateway.loadtest import judging
from gateway.loadtest.watching import Watch

PER_USER_S = 10
_numbers = itertools.count()


def judge(seen: Watch) -> list[judging.Check]:
    """What must hold of steady traffic."""
    answered = seen.seen.group("steady").requests
    span_s = seen.seen.span_s()
    checks = [
        judging.none_failed(seen.seen),
        judging.quick_enough(seen.seen, "steady", seen.settings.max_p99_ms),
        judging.kept_up(answered, seen.settings.users * PER_USER_S * span_s),
    ]
    if seen.settings.own:
        checks.append(
            judging.all_true("every answer belongs to its request", seen.counts.get("own answer", 0), answered)
        )
    return checks


watch = Watch(judge)


class Caller(FastHttpUser):
    """Asks ten times a second, whatever the answers take."""

    wait_time = constant_throughput(PER_USER_S)
    network_timeout = connection_timeout = 10.0

    def on_start(self) -> None:
        """Become somebody."""
        self.subject = f"user-{next(_numbers)}"
        self.bearer = watch.settings.bearer(self.subject)

    @task
    def ask(self) -> None:
        """One request, with a number that must come back."""
        number = next(_numbers)
        path = f"{watch.settings.path}/{number}" if watch.settings.own else watch.settings.path
        with self.client.get(path, name="steady", headers=self.bearer, catch_response=True) as answer:
            if watch.settings.own and answer.status_code == 200:  # noqa: PLR2004 - OK
                if json.loads(answer.text) == {"item": str(number), "subject": self.subject}:
                    watch.count("own answer")
                else:
                    answer.failure("an answer that belongs to another request")
