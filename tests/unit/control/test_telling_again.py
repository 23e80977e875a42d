"""Who is called in, who is reminded, and when the daily report goes out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from gateway.control.daily import DailyReport
from gateway.control.telling import Herald, due_occasion
from gateway.domain.hours import Daily, Hours
from gateway.domain.incident import Severity
from gateway.domain.paging import Page
from gateway.domain.policy import NotifyChannel, ReportSettings
from gateway.notify.message import Message, What, of_incident
from gateway.notify.outbox import Outbox
from gateway.notify.pace import Pace, digest
from gateway.notify.routing import sends
from tests.unit.notify.incidents import NOW, diagnosis, incident
from tests.unit.notify.memory_store import MemoryStore

if TYPE_CHECKING:
    from gateway.domain.incident import Incident

pytestmark = pytest.mark.anyio

NIGHT = datetime(2026, 1, 3, 3, tzinfo=UTC).timestamp()  # a Saturday
OFFICE = Hours(days=(0, 1, 2, 3, 4), from_min=480, until_min=1080, zone="Europe/Berlin")
FIRST = NotifyChannel(name="first", kind="webhook", remind_s=600.0, reminders=2)
SECOND = NotifyChannel(name="second", kind="webhook", after_s=900.0)


class Took:
    """A channel that takes everything."""

    kind = "webhook"
    draws_together = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.titles: list[str] = []

    async def deliver(self, message: Message, now: float) -> None:
        del now
        self.titles.append(message.title)


class Bench:
    def __init__(self, *channels: NotifyChannel) -> None:
        self.now = NOW
        self.store = MemoryStore()
        self.channels = channels
        self.took = {channel.name: Took(channel.name) for channel in channels}
        self.restart()

    def restart(self) -> None:
        self.outbox = Outbox(self.store, self.channels, self.took, clock=lambda: self.now, jitter=lambda: 1.0)
        self.herald = Herald(self.outbox, base_url="", clock=lambda: self.now, channels=self.channels)

    async def at(self, after_s: float, one: Incident) -> dict[str, int]:
        self.now = NOW + after_s
        await self.herald.remind([one])
        await self.outbox.deliver_due(self.now)
        return {name: len(took.titles) for name, took in self.took.items()}


async def test_nobody_is_called_in_before_the_time_and_then_once_even_over_a_restart() -> None:
    bench, going_on = Bench(FIRST, SECOND), incident(diagnosis=diagnosis())
    await bench.herald.tell(going_on, What.OPENED)
    assert await bench.at(1, going_on) == {"first": 1, "second": 0}
    assert await bench.at(899, going_on) == {"first": 2, "second": 0}
    assert await bench.at(901, going_on) == {"first": 2, "second": 1}
    bench.restart()
    assert await bench.at(905, going_on) == {"first": 2, "second": 1}


async def test_reminders_are_bounded_and_end_when_somebody_takes_care() -> None:
    bench, going_on = Bench(FIRST), incident(diagnosis=diagnosis())
    counts = [(await bench.at(minutes * 60.0, going_on))["first"] for minutes in (5, 11, 12, 21, 31, 600)]
    assert counts == [0, 1, 1, 2, 2, 2]
    bench, taken = Bench(FIRST), incident(diagnosis=diagnosis(), acknowledged_by="ana")
    assert await bench.at(660, taken) == {"first": 0}


async def test_who_was_called_in_hears_how_it_ends() -> None:
    bench, going_on = Bench(SECOND), incident(diagnosis=diagnosis())
    await bench.at(901, going_on)
    await bench.herald.tell(going_on, What.CLOSED)
    await bench.outbox.deliver_due(bench.now)
    assert len(bench.took["second"].titles) == 2


@pytest.mark.parametrize(
    ("open_s", "occasion"),
    [(0, ""), (599, ""), (600, "remind.first.1"), (1300, "remind.first.2"), (9999, "remind.first.2")],
)
async def test_the_latest_reminder_is_said(open_s: float, occasion: str) -> None:
    assert due_occasion(FIRST, open_s) == occasion


async def test_news_of_one_incident_arrive_in_order_although_one_fails() -> None:
    bench = Bench(NotifyChannel(name="first", kind="webhook"))
    for what in (What.OPENED, What.RAISED, What.CLOSED):
        await bench.outbox.post(of_incident(incident(), what, bench.now))
    await bench.outbox.deliver_due(bench.now)
    assert [title.split(":")[0] for title in bench.took["first"].titles] == ["orders", "Worse", "Closed"]


@pytest.mark.parametrize(
    ("outside", "told"), [("later", {"office": 1767596400.0}), ("drop", {}), ("duty", {"duty": NIGHT})]
)
async def test_outside_of_its_hours_a_channel_waits_is_left_out_or_replaced(
    outside: str, told: dict[str, float]
) -> None:
    office = NotifyChannel(name="office", kind="slack", hours=OFFICE, outside=outside)
    duty = NotifyChannel(name="duty", kind="pagerduty", severities=())
    news = of_incident(incident(), What.OPENED, NIGHT)
    found = {one.channel.name: one.due_at for one in sends((office, duty), news, frozenset(), NIGHT)}
    assert found == told  # Monday 2026-01-05 08:00 in Berlin


async def test_a_channel_of_a_tenant_hears_of_no_other() -> None:
    acme = NotifyChannel(name="acme", kind="slack", tenants=("acme",))
    for tenant, heard in (("acme", 1), ("globex", 0), ("", 0)):
        assert len(sends((acme,), of_incident(incident(tenant=tenant), What.OPENED, NOW), frozenset(), NOW)) == heard


async def test_hours_over_midnight_belong_to_the_day_they_began_on() -> None:
    friday_night = Hours(days=(4,), from_min=22 * 60, until_min=6 * 60)
    assert friday_night.contain(NIGHT)
    assert not friday_night.contain(NIGHT + 86_400)
    assert friday_night.next_opening(NIGHT + 4 * 3600) == datetime(2026, 1, 9, 22, tzinfo=UTC).timestamp()


async def test_too_many_become_one_with_the_gravest_first() -> None:
    pace, news = Pace(2), of_incident(incident(), What.OPENED, NOW)
    assert [pace.take(news, NOW) for _ in range(3)] == [True, True, False]
    assert pace.take(news, NOW + 1800)
    many = [of_incident(incident(severity=one), What.OPENED, NOW) for one in (Severity.P3, Severity.P1)]
    assert digest(many, NOW).lines[0].startswith("P1 ")


async def test_a_flood_is_one_message_and_the_next_five_minutes_later() -> None:
    bench = Bench(NotifyChannel(name="team", kind="webhook", per_hour=1))
    bench.took["team"].draws_together = True
    bench.restart()
    for number in range(9):
        await bench.outbox.post(of_incident(incident(id=f"i-{number}"), What.OPENED, bench.now))
    for _ in range(3):
        await bench.outbox.deliver_due(bench.now)
    titles = bench.took["team"].titles
    assert len(titles) <= 3
    bench.now += 301
    await bench.outbox.deliver_due(bench.now)
    assert len(titles) <= 4
    assert all(row.state == "delivered" for row in bench.store.rows.values())


class Incidents:
    async def page(self, *, state: str = "", severity: str = "", limit: int = 50, cursor: str = "") -> Page[Incident]:
        del state, severity, limit, cursor
        return Page(items=(incident(),))


async def test_the_daily_report_is_said_once_a_day_whoever_leads() -> None:
    bench = Bench(NotifyChannel(name="team", kind="webhook"))
    settings = ReportSettings(daily=Daily(minute=8 * 60, zone="Europe/Berlin"))
    at_eight = datetime(2026, 1, 1, 7, tzinfo=UTC).timestamp()
    for moment in (at_eight + 5, at_eight + 60, at_eight + 90_000):
        bench.now = moment
        report = DailyReport(settings, bench.channels, bench.outbox, Incidents(), list, "", lambda: bench.now)
        await report.look()
        await report.look()
        await bench.outbox.deliver_due(bench.now)
    assert bench.took["team"].titles == ["Daily report, 2026-01-01", "Daily report, 2026-01-02"]
