"""Everybody asks as one subject, as fast as can be: no more passes than burst + rate × time, and not much less.

Run by `sentinel loadtest limit-storm`, or by hand: locust -f loadtests/scenarios/limit_storm.py --headless --host URL
"""

from __future__ import annotations

from locust import FastHttpUser, constant, task

from gateway.loadtest import judging
from gateway.loadtest.watching import Watch

PASSED, REFUSED = "passed", "refused"
OK, TOO_MANY = 200, 429


def judge(seen: Watch) -> list[judging.Check]:
    """What must hold of a limit."""
    passed, refused = seen.seen.group(PASSED).requests, seen.seen.group(REFUSED).requests
    rate, burst, span_s = seen.settings.rate, seen.settings.burst, seen.seen.span_s()
    checks = [
        judging.within_limit(passed, rate, burst, span_s),
        judging.was_refused(refused),
        judging.all_true("every refusal says when to come back", seen.counts.get("said when", 0), refused),
        judging.none_failed(seen.seen),
    ]
    if seen.settings.exact:
        checks.append(judging.not_stricter(passed, passed + refused, rate, burst, span_s))
    return checks


watch = Watch(judge)


class Stormer(FastHttpUser):
    """Asks again as soon as it was answered, a hundred times a second at most."""

    wait_time = constant(0.01)
    network_timeout = connection_timeout = 10.0

    def on_start(self) -> None:
        """Become the one subject."""
        self.bearer = watch.settings.bearer("the-storm")

    @task
    def ask(self) -> None:
        """One request, counted by what became of it."""
        path = watch.settings.limited_path
        with self.client.get(path, name="failed", headers=self.bearer, catch_response=True) as answer:
            if answer.status_code == TOO_MANY:
                answer.request_meta["name"] = REFUSED
                if str(answer.headers.get("Retry-After", "")).isdigit():
                    watch.count("said when")
                answer.success()
            elif answer.status_code == OK:
                answer.request_meta["name"] = PASSED
