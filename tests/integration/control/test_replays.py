"""Replays over both databases."""

from __future__ import annotations

import msgspec
import pytest

from gateway.app.replaying import changed_settings
from gateway.collect.aggregate import aggregate, minutes
from gateway.config import checking
from gateway.config import compile as compiling
from gateway.control import replays as replays_module
from gateway.control.replays import Replays
from gateway.domain.shipment import Shipment
from gateway.domain.traffic import SpoolPosition
from gateway.errors import ConflictError, InvalidInputError
from gateway.settings import Settings
from gateway.store.buckets import Buckets
from gateway.store.incidents import Incidents
from gateway.store.passed_requests import PassedRequests
from gateway.store.records import Records
from tests.collect_rows import record

pytestmark = pytest.mark.anyio

MINUTE = 1_790_000_040 // 60 * 60
NOW = float(MINUTE + 3600)
TEXT = """
[auth.jwt]
secret_env = "SECRET"
[[upstreams]]
name = "orders"
targets = ["http://127.0.0.1:9000"]
[[routes]]
name = "orders"
match = { path = "/orders/*" }
upstream = "orders"
auth = "jwt"
limit = "100/s burst 200 per subject"
[[routes]]
name = "open"
match = { path = "/open/*" }
upstream = "orders"
"""
SETTINGS = Settings.from_environ({"SECRET": "x" * 40})


async def ship(store, *records):
    await Records(store).ship(
        Shipment(
            node="n",
            records=list(records),
            buckets=minutes(aggregate(records)),
            positions=(SpoolPosition("n-b-0-0000000001.seg", 100, len(records)),),
            before=(),
            finished=(),
        )
    )


def replays(store, *, page_rows=7):
    configuration = checking.check_text(TEXT, "sentinel.toml", SETTINGS).configuration
    return Replays(
        PassedRequests(store, page_rows=page_rows),
        Buckets(store),
        Incidents(store),
        snapshot=lambda: configuration.compiled,
        retention_s=lambda: 30 * 86_400.0,
        detect_in_force=lambda: compiling.detect_settings(configuration.document),
        detect_with=lambda changed: changed_settings(TEXT, SETTINGS, changed),
        clock=lambda: NOW,
    )


def at(second, **changes):
    return record(completed_at=MINUTE + second, **changes)


async def test_a_limit_is_tried_on_the_records_of_its_route_over_several_pages(store):
    hasty = [at(number / 50, subject="ana") for number in range(50)]
    calm = [at(number, subject="bob") for number in range(20)]
    await ship(store, *hasty, *calm, at(1, route="open"), at(2, status=401, error="unauthenticated"))
    found = await replays(store).limit("orders", "5/s burst 5 per subject", 7200)
    assert (found.requests, found.callers, found.callers_rejected) == (70, 2, 1)
    assert found.rejected == 50 - 9  # five at once, and one each fifth of a second
    assert found.headline == "would have rejected 41 of 70 requests, 1 caller"
    assert (found.coverage.recorded, found.coverage.counted) == (71, 71)


async def test_rows_of_the_same_moment_are_read_once_each_across_pages(store):
    await ship(store, *(at(5.0, subject=f"s{number}") for number in range(30)))
    assert (await replays(store).limit("orders", "1/s per subject", 7200)).callers == 30


async def test_a_user_of_one_tenant_learns_of_its_own_callers_only(store):
    await ship(store, at(1, tenant="acme"), at(2, tenant="other"))
    found = await replays(store).limit("orders", "1/s per tenant", 7200, tenant="acme")
    assert [one.caller for one in found.top] == ["tenant acme"]
    assert found.coverage.counted == 1


async def test_records_that_are_gone_are_told_from_the_minute_sums(store):
    await ship(store, *(at(number) for number in range(10)))
    await Records(store).purge(MINUTE + 100, 95.0, 1e9)
    found = await replays(store).limit("orders", "1/s per subject", 7200)
    assert found.coverage.counted == 10
    assert found.coverage.recorded < 10
    assert any("of 10 requests of that time stand in the records" in note for note in found.coverage.notes)


async def test_what_takes_too_long_ends_with_what_was_reached(store, monkeypatch):
    await ship(store, *(at(number) for number in range(20)))
    monkeypatch.setattr(replays_module, "MOST_RECORDS", 10)
    found = await replays(store).limit("orders", "1/s per subject", 7200)
    assert (found.requests, found.coverage.until) == (14, MINUTE + 13)
    assert any("It ended after 14 records" in note for note in found.coverage.notes)


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        pytest.param(("order", "5/s per subject", 60), "route", 'did you mean "orders"', id="no-such-route"),
        pytest.param(("orders", "5 per subject", 60), "limit", "is not a rate", id="no-limit"),
        pytest.param(("open", "5/s per subject", 60), "limit", "cannot count per subject", id="nobody-is-known-there"),
        pytest.param(("orders", "5/s per subject", 4e7), "since", "31 days", id="too-long"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_with_its_field(asked, field, said):
    with pytest.raises(InvalidInputError) as refused:
        await replays(None).limit(*asked)
    assert refused.value.field == field
    assert said in f"{refused.value} {refused.value.remedy}"


async def test_one_replay_runs_at_a_time():
    desk = replays(None)
    async with desk._alone():
        with pytest.raises(ConflictError):
            await desk.limit("orders", "5/s per subject", 60)


def slow_minutes():
    """Two quiet hours and ten minutes in which every second request fails, in sums only."""
    rows = []
    for minute in range(120):
        bad = 15 if 90 <= minute < 100 else 0
        for number in range(30):
            status = 500 if number < bad else 200
            rows.append(record(completed_at=NOW - 7200 + 60 * minute + 2 * number, status=status, error=""))
    return rows


async def test_a_higher_ceiling_would_have_opened_fewer_incidents(store):
    await ship(store, *slow_minutes())
    changed = {"error_share": "0.5", "z.p1": "90", "z.p2": "80", "z.p3": "70", "z.p4": "60"}
    found = await replays(store).detector(changed, 3600)
    assert [(one.severity, one.place) for one in found.in_force] == [("P1", "upstream orders, target 10.0.0.5:9000")]
    assert found.proposed == ()
    assert found.only_in_force == found.in_force
    assert found.headline == "would have opened 0 incidents, 1 fewer than the settings in force"
    assert ("error_share", "0.05", "0.5") in found.settings


async def test_incidents_close_in_a_replay_when_it_is_over(store):
    await ship(store, *slow_minutes())
    (one,) = (await replays(store).detector({"min_points": "11"}, 3600)).proposed
    onset = NOW - 7200 + 90 * 60
    assert onset < one.opened_at <= onset + 360
    assert onset + 600 <= one.closed_at <= onset + 900


async def test_an_incident_that_must_be_clear_for_longer_closes_later_in_a_replay(store):
    await ship(store, *slow_minutes())
    found = await replays(store).detector({"clear": "5m"}, 3600)
    (soon,), (late,) = found.in_force, found.proposed
    assert soon.opened_at == late.opened_at
    assert 120 <= late.closed_at - soon.closed_at <= 240  # one five-second bin in twelve need not be clear


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"z.p9": "3"}, "has no key 'z.p9'", id="no-such-key"),
        pytest.param({"error_share": "many"}, "error_share: ", id="no-such-value"),
        pytest.param({"z.p1": "1"}, "z falls from p1 to p4", id="out-of-order"),
    ],
)
def test_detector_settings_are_judged_like_the_configuration(changed, said):
    with pytest.raises(InvalidInputError) as refused:
        changed_settings(TEXT, SETTINGS, changed)
    assert said in str(refused.value)


def test_settings_that_are_given_replace_those_of_the_file():
    before = changed_settings(TEXT, SETTINGS, {"cooldown": "30m"})
    assert changed_settings(TEXT, SETTINGS, {"cooldown": "1h"}) == msgspec.structs.replace(before, cooldown_s=3600.0)
