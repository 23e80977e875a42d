"""The story of five services: an hour stays silent, and the leak after it is found in time and blamed rightly."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import msgspec
import pytest

from gateway.domain.incident import AlertSource, IncidentState
from gateway.ingest import alerts
from gateway.simulate.alerts import KINDS, alert
from gateway.simulate.shop import Pool, Shop, busyness
from gateway.simulate.story import DETECT_WITHIN_S, Story, callers, tell


@pytest.mark.anyio
@pytest.mark.parametrize(("seed", "service"), [(3, "accounts"), (4, "inventory"), (11, "payments")])
async def test_the_leak_is_found_in_time_and_its_service_is_the_first_cause(tmp_path, seed, service):
    told = await tell(seed, tmp_path)
    assert told.service == service
    assert told.false_alarms == ()
    assert told.detected_s is not None and told.detected_s <= DETECT_WITHIN_S
    assert told.cause == service
    assert told.problems == ()
    assert told.incident is not None and told.incident.state is IncidentState.CLOSED
    hurt = {anomaly.place.upstream or anomaly.place.route for anomaly in told.incident.anomalies}
    assert hurt & set(callers(service)), "it cascaded to nobody"


def test_the_command_prints_one_document_and_says_by_its_exit_code_how_it_went():
    command = [sys.executable, "-m", "gateway", "simulate", "story", "--seed", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    document = json.loads(done.stdout)
    assert document["ok"] and document["problems"] == []
    assert (done.returncode, done.stderr) == (0, "")
    assert document["incident"]["timeline"][0]["kind"] == "incident.opened"
    assert document["report"]["report"]["root_cause"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"false_alarms": ("slow",)}, "a false alarm in usual traffic: slow"),
        ({"detected_s": None}, "the failure was not detected"),
        ({"detected_s": 31.0}, "detected after 31 s, later than 30 s"),
        ({"cause": "orders"}, "the first cause named is orders, not payments"),
    ],
)
def test_what_went_wrong_is_said(change, problem):
    good = Story(1, "payments", 0.0, 1, (), detected_s=20.0, cause="payments")
    assert good.problems == ()
    assert msgspec.structs.replace(good, **change).problems == (problem,)


def test_usual_traffic_follows_the_day_and_hardly_fails():
    assert busyness(14 * 3600.0) > busyness(2 * 3600.0) * 2
    shop = Shop(random.Random(1))
    records = [record for at in range(1000, 1120) for record in shop.second(at)]
    assert sum(record.status >= 500 for record in records) / len(records) < 0.01
    assert {record.upstream for record in records} == {"storefront", "orders", "accounts", "inventory", "payments"}


def test_a_pool_makes_wait_until_a_place_is_free_and_refuses_who_would_wait_too_long():
    pool = Pool(2)
    for until in (3.0, 5.0):
        assert pool.start(1.0, 0.0) == 1.0
        pool.hold(until)
    assert pool.start(2.0, 0.5) is None
    assert pool.start(2.0, 1.0) == 3.0
    assert [pool.leak(), pool.leak(), pool.leak()] == [True, True, False]
    assert pool.start(9.0, 99.0) is None
    pool.renew(9.0)
    assert pool.start(9.0, 0.0) == 9.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_up_alert_is_one_that_the_gateway_reads_and_its_end_ends_it(kind):
    bodies = [
        alerts.read(AlertSource.GENERIC, json.dumps(alert(kind, "orders", random.Random(1), resolved=over)).encode())
        for over in (False, True)
    ]
    assert [body.wrong for body in bodies] == [(), ()]
    (fires,), (ends,) = (body.alerts for body in bodies)
    assert (fires.firing, ends.firing) == (True, False)
    assert fires.key == ends.key
    assert fires.labels["service"] == "orders"
