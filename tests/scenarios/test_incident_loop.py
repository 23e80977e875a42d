"""Incidents on the running program, from the fault to the closed incident, with people, models and databases in it.

Each story takes a minute or so and leaves the processor nearly idle, so several are told at the same time when all are
asked for; when only some tests were selected, each begins when its test does.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests import running, servers
from tests.integration.notify import receiver as receivers
from tests.model_server import ModelServer
from tests.scenarios import shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Story = Callable[[Path], dict[str, Any]]

AT_ONCE = 2 if "PYTEST_XDIST_WORKER" in os.environ else 4  # beside another worker's tests on the other core
STORY_S = 400.0


class Stories:
    """Each story is told once, in a process of its own: its callers and targets must not wait for another's."""

    def __init__(self, pool: Executor, folder: Callable[[str], Path]) -> None:
        self._pool = pool
        self._folder = folder
        self._told: dict[str, Future[dict[str, Any]]] = {}

    def begin(self, story: Story) -> Future[dict[str, Any]]:
        name = story.__name__
        if name not in self._told:
            self._told[name] = self._pool.submit(story, self._folder(name))
        return self._told[name]

    def outcome(self, story: Story) -> dict[str, Any]:
        return self.begin(story).result(STORY_S)


@pytest.fixture(scope="module")
def stories(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stories]:
    selected = [item for item in request.session.items if item.path == request.path]
    with ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn")) as pool:
        told = Stories(pool, tmp_path_factory.mktemp)
        if len(selected) == len(ALL):
            for story in ALL:
                told.begin(story)
        yield told


def seconds(later: str, earlier: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


# The demo: three services, honest load, a leaked connection pool.


def demo(folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--json", "--exit-when-closed", "--fault", "pool", "--seed", "7"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=STORY_S,
        check=False,
    )
    return {"code": done.returncode, "summary": json.loads(done.stdout), "stderr": done.stderr}


def test_the_demo_sees_the_whole_loop_and_says_so(stories: Stories) -> None:
    told = stories.outcome(demo)
    summary = told["summary"]
    assert told["code"] == 0, told
    assert summary["ok"]
    assert (summary["named_upstream"], summary["named_target"]) == (summary["upstream"], summary["target"])
    assert summary["upstream"] == "payments"
    times = summary["times_s"]
    assert times["detected"] <= 30
    assert times["detected"] <= times["acted"] <= times["verified"] <= times["returned"] <= times["closed"]
    assert summary["worst_failed_share"] > 0.2, "the fault hurt, so that its end means something"
    assert "Traceback" not in told["stderr"]


# One incident, and everything that can go wrong around it: the pager away, the model slow, control killed.


def loop_with_a_death(folder: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        good, bad = stack.enter_context(shop.targets(2))
        pager = stack.enter_context(shop.in_a_loop(receivers.receiving))
        slack = stack.enter_context(shop.in_a_loop(receivers.receiving))
        model = stack.enter_context(shop.in_a_loop(ModelServer))
        model.drip_s = 0.008  # some ten seconds for the whole answer
        pager.answers = [receivers.BROKEN, receivers.RESET, receivers.OK]
        text = shop.config(
            {"payments": [(good, 1), (bad, 1)]},
            more=f"""
[diagnose]
provider = "anthropic"
model = "claude-sonnet-5"
base_url = "{model.anthropic_url}"
timeout = "60s"

[remediate]
eject_for = "40s"

[[notify]]
name = "pager"
kind = "webhook"
url_env = "PAGER_URL"
secret_env = "PAGER_KEY"

[[notify]]
name = "chat"
kind = "slack"
""",
        )
        gateway = stack.enter_context(
            running.gateway(
                folder,
                text,
                ANTHROPIC_API_KEY="a key for tests",
                PAGER_URL=pager.url(),
                PAGER_KEY="a key for the signature",
                SLACK_WEBHOOK_URL=slack.url("/services/T0/B0/secret"),
            )
        )
        callers = stack.enter_context(shop.calling(gateway.url, "/payments/1"))
        time.sleep(6)
        bad.broken = True
        broke = time.time()
        acted = shop.incident_when(
            gateway, "payments", lambda one: shop.action_in(one, "EXECUTED"), shop.DETECT_S, "the target is ejected"
        )
        time.sleep(1.5)  # workers have the directive within a second
        counts = [(datetime.now(UTC), bad.count)]
        bad.broken = False  # nobody may notice before control tries it again
        explained = shop.incident_when(
            gateway, "payments", lambda one: "incident.explained" in shop.kinds(one), 40, "the model's report is there"
        )
        counts.append((datetime.now(UTC), bad.count))
        control = gateway.child("control")
        control.kill()
        gateway.wait(lambda: not control.is_running() or control.status() == "zombie", 5, "control is dead")
        gateway.wait(gateway.ready, 40, "a new control answers")
        counts.append((datetime.now(UTC), bad.count))
        closed = shop.incident_when(
            gateway, "payments", lambda one: one["state"] == "CLOSED", 150, "the incident is closed by the new control"
        )
        time.sleep(2)
        back_count = bad.count
        gateway.wait(lambda: bad.count > back_count + 5, 10, "the target has its share again")
        gateway.wait(lambda: any(b":closed:" in one.body for one in pager.received), 30, "the pager was told")
        callers.stop()
        return {
            "broke": broke,
            "acted": acted,
            "explained": explained,
            "closed": closed,
            "counts": counts,
            "pager": list(pager.received),
            "slack": list(slack.received),
            "questions": list(model.requests),
            "bad": bad.name,
            "log": gateway.log.read_text(),
        }


def test_an_incident_survives_the_death_of_control_a_slow_model_and_a_pager_that_is_away(stories: Stories) -> None:
    told = stories.outcome(loop_with_a_death)
    acted, closed = told["acted"], told["closed"]

    # Found in time, at the right place, and acted on long before the model had answered.
    opened_s = datetime.fromisoformat(acted["opened_at"]).timestamp() - told["broke"]
    assert opened_s <= shop.DETECT_S
    action = closed["actions"][0]
    assert action["target"] == told["bad"]
    explained_at = next(one["at"] for one in closed["timeline"] if one["kind"] == "incident.explained")
    assert seconds(action["executed_at"], closed["opened_at"]) < 2
    assert seconds(explained_at, action["executed_at"]) > 4
    assert len(told["questions"]) == 2  # the report, and the pass that tries to refute it
    report = closed["diagnosis"]["report"]
    assert (report["source"], report["fallback_reason"]) == ("anthropic", "")
    assert report["summary"] == "One of two payments targets refuses connections."
    assert all(claim["evidence"] for claim in report["claims"])

    # The ejection outlived the control that made it, and the next one finished what the first began.
    tried_at = min(datetime.fromisoformat(one["at"]) for one in closed["timeline"] if one["kind"] == "action.trial")
    while_out = {count for at, count in told["counts"] if at < tried_at}
    assert len(while_out) == 1
    assert action["state"] == "REVERTED"
    assert action["outcome"]["verdict"] == "helped"
    assert shop.kinds(closed).count("incident.closed") == 1
    assert shop.kinds(closed).count("action.executed") == 1
    assert "Traceback" not in told["log"]

    # Everybody was told everything, once, although the pager was away at first.
    refused, *taken = [json.loads(one.body) for one in told["pager"][1:]]
    first = json.loads(told["pager"][0].body)
    keys = Counter(one["key"] for one in taken)
    assert set(keys.values()) == {1}
    assert {first["key"], refused["key"]} <= set(keys)
    news = [one["what"] for one in taken]
    wanted = {"opened", "action_executed", "diagnosed", "action_verified", "action_reverted", "closed"}
    assert wanted <= set(news)
    assert Counter(news)["opened"] == Counter(news)["closed"] == 1
    assert all(one.headers["x-sentinel-signature"].startswith("t=") for one in told["pager"])
    assert len(told["slack"]) == len(keys)
    bodies = [one.body for one in told["slack"]]
    assert len(set(bodies)) == len(bodies)


# People decide: three incidents that wait for approval.


WEIGHTY = "the first of three targets carries three fifths of the traffic, so taking it out is MODERATE"


def three_decisions(folder: Path) -> dict[str, Any]:
    names = ("alpha", "beta", "gamma")
    with ExitStack() as stack:
        made = stack.enter_context(shop.targets(9))
        upstreams = {
            name: list(zip(made[number * 3 : number * 3 + 3], (3, 1, 1), strict=True))
            for number, name in enumerate(names)
        }
        text = shop.config(upstreams, more='[remediate]\nmode = "approve"\napproval_ttl = "15s"\n')
        gateway = stack.enter_context(running.gateway(folder, text))
        stack.enter_context(shop.calling(gateway.url, *(f"/{name}/1" for name in names), per_s=20))
        time.sleep(5)
        for weighted in upstreams.values():
            weighted[0][0].broken = True
        told: dict[str, Any] = {}

        # gamma: declined on the command line.
        found = _pending(gateway, "gamma")
        told["gamma proposed"] = found
        action = shop.action_in(found, "PENDING")
        assert action is not None
        told["reject"] = gateway.sentinel(
            "incidents", "reject", action["id"], "--reason", "a deploy is under way", "-c", str(gateway.config)
        )

        # beta: fifty people click at the same moment.
        action = shop.action_in(_pending(gateway, "beta"), "PENDING")
        assert action is not None
        path = f"/api/v1/actions/{action['id']}/approve"

        def click(_number: int) -> tuple[int, str]:
            answer = gateway.control.post(path, json={"fingerprint": action["fingerprint"]}, timeout=30)
            return answer.status_code, answer.text

        with ThreadPoolExecutor(50) as people:
            told["clicks"] = list(people.map(click, range(50)))
        told["beta"] = shop.incident_at(gateway, "beta")

        # alpha: nobody decides in time; the next proposal is approved on the command line, and approved again.
        lapsed = shop.incident_when(
            gateway, "alpha", lambda one: shop.action_in(one, "EXPIRED"), 30, "the proposal lapses"
        )
        action = shop.action_in(lapsed, "EXPIRED")
        assert action is not None
        told["late"] = gateway.sentinel("incidents", "approve", action["id"], "-c", str(gateway.config))
        action = shop.action_in(_pending(gateway, "alpha"), "PENDING")
        assert action is not None
        told["approve"] = gateway.sentinel("incidents", "approve", action["id"], "--json", "-c", str(gateway.config))
        told["again"] = gateway.sentinel("incidents", "approve", action["id"], "-c", str(gateway.config))
        time.sleep(1.5)
        ejected = upstreams["alpha"][0][0]
        before = ejected.count
        time.sleep(3)
        told["requests after ejection"] = ejected.count - before
        told["alpha"], told["gamma"] = shop.incident_at(gateway, "alpha"), shop.incident_at(gateway, "gamma")
        told["audit"] = gateway.api("/api/v1/audit?limit=200")["items"]
        return told


def _pending(gateway: running.Gateway, upstream: str) -> dict[str, Any]:
    return shop.incident_when(
        gateway, upstream, lambda one: shop.action_in(one, "PENDING"), shop.DETECT_S, f"{upstream}: an action waits"
    )


def test_risky_actions_wait_for_people_and_each_is_decided_once(stories: Stories) -> None:
    told = stories.outcome(three_decisions)

    proposed = told["gamma proposed"]["actions"][0]
    assert proposed["risk"] == "MODERATE", WEIGHTY
    assert proposed["executed_at"] is None

    # Declined, and not proposed again.
    assert told["reject"].returncode == 0, told["reject"].stderr
    declined = told["gamma"]["actions"]
    assert [one["state"] for one in declined] == ["REJECTED"]
    assert declined[0]["note"] == "a deploy is under way"

    # Of fifty clicks one counts, and the others hear whose.
    statuses = Counter(status for status, _ in told["clicks"])
    assert statuses == {200: 1, 409: 49}
    assert all("already" in text for status, text in told["clicks"] if status == 409)
    assert shop.kinds(told["beta"]).count("action.executed") == 1

    # Too late is refused; in time works once.
    assert told["late"].returncode == 1
    assert "EXPIRED" in told["late"].stderr
    assert told["approve"].returncode == 0, told["approve"].stderr
    approved = json.loads(told["approve"].stdout)
    assert approved["state"] == "EXECUTED"
    assert told["again"].returncode == 1
    assert approved["decided_by"] in told["again"].stderr
    assert told["requests after ejection"] == 0

    verbs = Counter(line["verb"] for line in told["audit"])
    assert sum(count for verb, count in verbs.items() if "approve" in verb) == 2
    assert sum(count for verb, count in verbs.items() if "reject" in verb) == 1


# Only looking, with a model that talks nonsense.


def only_observed(folder: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        good, bad = stack.enter_context(shop.targets(2))
        model = stack.enter_context(shop.in_a_loop(ModelServer))
        model.answer = "I would rather talk about the weather."
        text = shop.config(
            {"payments": [(good, 1), (bad, 1)]},
            more=f"""
[remediate]
mode = "observe"

[diagnose]
provider = "openai"
model = "gpt-5-mini"
base_url = "{model.openai_url}"
""",
        )
        gateway = stack.enter_context(running.gateway(folder, text, OPENAI_API_KEY="a key for tests"))
        stack.enter_context(shop.calling(gateway.url, "/payments/1"))
        bad.broken = True
        found = shop.incident_when(
            gateway,
            "payments",
            lambda one: one["actions"] and "incident.explained" in shop.kinds(one),
            shop.DETECT_S,
            "an action is shown and the model was asked",
        )
        time.sleep(6)  # one more pass, and more than a worker needs to hear of a directive
        before = bad.count
        time.sleep(2)
        return {
            "found": found,
            "still asked": bad.count - before,
            "now": shop.incident_at(gateway, "payments"),
            "questions": len(model.requests),
            "page": gateway.control.get(f"/dashboard/incidents/{found['id']}.md").text,
        }


def test_observing_shows_the_plan_and_touches_nothing(stories: Stories) -> None:
    told = stories.outcome(only_observed)
    assert [one["state"] for one in told["now"]["actions"]] == ["PENDING"]
    assert "observe" in next(one["text"] for one in told["now"]["timeline"] if one["kind"] == "action.proposed")
    assert told["still asked"] > 5

    # A model that talks nonsense costs nothing but its tokens: the rules' report stands, and says why.
    report = told["now"]["diagnosis"]["report"]
    assert report["source"] == "rules"
    assert report["fallback_reason"]
    assert report["root_cause"]
    assert told["questions"] == 1
    assert report["fallback_reason"] in told["page"]


# PostgreSQL goes away in the middle and comes back.


def database_away(folder: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        good, bad = stack.enter_context(shop.targets(2))
        database = stack.enter_context(servers.postgres_server())
        text = shop.config({"payments": [(good, 1), (bad, 1)]})
        gateway = running.Gateway(folder, text, {"SENTINEL_STORE__URL": database.url})
        stack.callback(gateway.close)
        told: dict[str, Any] = {}
        refused = gateway.sentinel("serve", "--config", str(gateway.config))
        told["unmigrated"] = refused
        told["migrate"] = gateway.sentinel("migrate", "up", "--config", str(gateway.config))
        gateway.start()
        callers = stack.enter_context(shop.calling(gateway.url, "/payments/1"))
        gateway.wait(lambda: len(gateway.records()) > 50, 20, "records arrive in PostgreSQL")
        database.stop()
        callers.slowest_s = 0.0
        gateway.wait(lambda: not gateway.ready(), 20, "readiness says that the store is away")
        told["not ready"] = gateway.control.get("/health/ready").json()
        bad.broken = True
        gateway.wait(
            lambda: shop.metric(gateway, "sentinel_actions_total") >= 1, shop.DETECT_S, "detection acts without a store"
        )
        gateway.wait(lambda: _about_us(gateway), 90, "the gateway says of itself that its database is away")
        told["about us"] = _about_us(gateway)
        told["while away"] = [one for one in gateway.api("/api/v1/incidents")["items"] if one["signal"] != "self"]
        told["slowest_s"] = callers.slowest_s
        callers.stop()
        database.start()
        gateway.wait(gateway.ready, 40, "readiness says that the store is back")
        gateway.wait(lambda: _stored(database.url, "requests") >= callers.total, 30, "every record is stored")
        wanted = "incidents WHERE dedup_key NOT LIKE 'self:%'"
        gateway.wait(lambda: _stored(database.url, wanted) == 1, 30, "the incident is stored")
        told["answers"] = Counter(callers.answers)
        told["sent"] = callers.total
        told["stored"] = _stored(database.url, "requests")
        told["in buckets"] = _fetch(database.url, "SELECT sum(requests) FROM buckets")
        told["lost"] = shop.metric(gateway, 'sentinel_records_total{outcome="dropped"}')
        return told


def _about_us(gateway: running.Gateway) -> list[str]:
    return [one["title"] for one in gateway.api("/api/v1/incidents")["items"] if one["place"]["part"] == "store"]


def _stored(url: str, table: str) -> int:
    return int(_fetch(url, f"SELECT count(*) FROM {table}") or 0)


def _fetch(url: str, query: str) -> Any:
    async def fetch() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def test_postgresql_may_go_away_and_nothing_is_lost(stories: Stories) -> None:
    told = stories.outcome(database_away)

    assert told["unmigrated"].returncode == 1
    assert "sentinel migrate up" in told["unmigrated"].stderr
    assert told["unmigrated"].stderr.count("child.started") <= 2, "it gives up at once instead of starting again"
    assert told["migrate"].returncode == 0, told["migrate"].stderr

    assert told["not ready"]["reasons"]
    assert len(told["while away"]) == 1
    assert told["about us"] == ["Our own database does not answer"]
    assert set(told["answers"]) <= {200, 503}, "callers never noticed the database"
    assert told["answers"][200] > told["answers"][503]
    assert told["slowest_s"] < 2
    assert told["stored"] == told["sent"]
    assert told["in buckets"] == told["sent"]
    assert told["lost"] == 0


ALL: tuple[Story, ...] = (demo, loop_with_a_death, three_decisions, database_away, only_observed)
