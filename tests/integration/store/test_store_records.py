from __future__ import annotations

import msgspec
import pytest

from gateway.collect.aggregate import aggregate, minutes
from gateway.domain.paging import RequestFilter
from gateway.domain.shipment import Shipment
from gateway.domain.traffic import BucketKey, SeriesKey, SpoolPosition
from gateway.domain.window import Window
from gateway.errors import ConflictError, InvalidInputError, NotFoundError
from gateway.store.buckets import Buckets
from gateway.store.records import Records
from tests.collect_rows import MINUTE, record

pytestmark = pytest.mark.anyio


def shipment(*records, after=100, before=(), node="n", stream="n-b-0", finished=()):
    return Shipment(
        node=node,
        records=list(records),
        buckets=minutes(aggregate(records)),
        positions=(SpoolPosition(f"{stream}-0000000001.seg", after, len(records)),),
        before=before,
        finished=finished,
    )


async def test_a_record_reads_back_as_it_was(store):
    wanted = record(path="/ä\n<b>", user_agent="\x1b[31m", error="rate_limited", bytes_in=2**40)
    assert await Records(store).ship(shipment(wanted)) == []
    assert await Records(store).get("r-0") == wanted


async def test_positions_are_stored_with_the_records(store):
    records = Records(store)
    sent = shipment(record())
    await records.ship(sent)
    assert list(await records.positions("n")) == list(sent.positions)
    assert list(await records.positions("other")) == []


async def test_a_shipment_that_was_stored_is_refused_a_second_time_whole(store):
    records = Records(store)
    await records.ship(shipment(record()))
    with pytest.raises(ConflictError):
        await records.ship(shipment(record()))
    assert len((await records.search(RequestFilter())).items) == 1
    ((_, tally),) = await Buckets(store).read(0, 1e12)
    assert tally.requests == 1


async def test_a_late_minute_is_added_to_its_row(store):
    records = Records(store)
    first = shipment(record(duration_us=10), record(status=500))
    await records.ship(first)
    await records.ship(shipment(record(duration_us=99), after=200, before=first.positions))
    rows = dict(await Buckets(store).read(MINUTE, MINUTE + 60))
    good = rows[BucketKey(MINUTE, "orders", "orders", "10.0.0.5:9000", "acme", 2)]
    assert (good.requests, good.errors, good.duration_us, sum(good.latency.values())) == (2, 0, 109, 2)
    assert len(rows) == 2


async def test_rows_of_several_nodes_add_up_on_reading(store):
    records = Records(store)
    await records.ship(shipment(record(), node="a", stream="a-b-0"))
    await records.ship(shipment(record(), record(), node="b", stream="b-b-0"))
    ((_, tally),) = await Buckets(store).read(MINUTE, MINUTE + 60)
    assert tally.requests == 3


async def test_a_finished_stream_is_forgotten(store):
    records = Records(store)
    sent = shipment(record())
    await records.ship(sent)
    await records.ship(msgspec.structs.replace(sent, records=[], buckets={}, positions=(), finished=("n-b-0",)))
    assert list(await records.positions("n")) == []


async def test_records_the_database_cannot_hold_are_returned_and_all_others_stored(store):
    bad = record(id="bad", bytes_in=2**63)
    good = [record(id=str(number)) for number in range(20)]
    refused = await Records(store).ship(shipment(*good[:7], bad, *good[7:], bad))
    assert list(refused) == [bad, bad]
    found = await Records(store).search(RequestFilter(limit=100))
    assert sorted(item.id for item in found.items) == sorted(item.id for item in good)


async def test_a_tenant_with_a_nul_in_its_name_does_not_block_the_spool(store):
    await Records(store).ship(shipment(record(tenant="a\x00b"), record()))
    rows = await Buckets(store).read(MINUTE, MINUTE + 60)
    assert sum(tally.requests for _, tally in rows) == 2


async def test_pages_follow_each_other_newest_first_even_within_one_instant(store):
    records = Records(store)
    await records.ship(shipment(*(record(id=str(number), completed_at=MINUTE + number // 3) for number in range(10))))
    seen, cursor = [], ""
    while True:
        page = await records.search(RequestFilter(limit=3, cursor=cursor))
        seen += [item.id for item in page.items]
        if page.next is None:
            break
        cursor = page.next
    assert seen == [str(number) for number in reversed(range(10))]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (RequestFilter(route="pay"), {"b"}),
        (RequestFilter(status=502), {"b"}),
        (RequestFilter(status=2), {"a", "c"}),
        (RequestFilter(tenant="zoo"), {"c"}),
        (RequestFilter(upstream="payments"), {"b"}),
        (RequestFilter(target="h:2"), {"c"}),
        (RequestFilter(since=MINUTE + 1), {"b", "c"}),
        (RequestFilter(until=MINUTE + 1), {"a"}),
        (RequestFilter(text="ders/7"), {"a"}),
        (RequestFilter(text="%"), {"c"}),
        (RequestFilter(text="f" * 32), {"b"}),
    ],
)
async def test_a_filter_finds_what_it_says(store, wanted, found):
    await Records(store).ship(
        shipment(
            record(id="a"),
            record(
                id="b",
                path="/x",
                route="pay",
                upstream="payments",
                status=502,
                completed_at=MINUTE + 1,
                trace_id="f" * 32,
            ),
            record(id="c", path="/100%", tenant="zoo", target="h:2", completed_at=MINUTE + 2),
        )
    )
    assert {item.id for item in (await Records(store).search(wanted)).items} == found


@pytest.mark.parametrize("cursor", ["x", "!!", "WzEsMl0", "WzEuMCwieCJd"])
async def test_a_foreign_cursor_is_the_callers_error(store, cursor):
    with pytest.raises(InvalidInputError) as caught:
        await Records(store).search(RequestFilter(cursor=cursor))
    assert caught.value.field == "cursor"


async def test_an_unknown_request_is_not_found(store):
    with pytest.raises(NotFoundError):
        await Records(store).get("nobody")


async def test_purging_keeps_what_is_within_its_retention(store, monkeypatch):
    monkeypatch.setattr("gateway.store.records.PURGE_ROWS", 2)
    records = Records(store)
    old = [record(id=f"old{number}", completed_at=MINUTE - 600 - number) for number in range(5)]
    await records.ship(shipment(*old, record(id="new")))
    await records.purge(MINUTE + 60, requests_s=300, buckets_s=900)
    assert [item.id for item in (await records.search(RequestFilter())).items] == ["new"]
    assert len({key.minute for key, _ in await Buckets(store).read(0, 1e12)}) == 3
    await records.purge(MINUTE + 60, requests_s=300, buckets_s=120)
    assert {key.minute for key, _ in await Buckets(store).read(0, 1e12)} == {MINUTE}


async def test_stored_minutes_warm_a_window(store):
    await Records(store).ship(shipment(record(), record(status=503), record(completed_at=MINUTE - 61)))
    window = Window()
    for minute, cell in await Buckets(store).recent_minutes(MINUTE):
        window.add_minute(minute, cell)
    total = window.total(MINUTE, MINUTE + 60, minutes=True)
    assert (total.requests, total.errors) == (2, 1)
    ((_, cell),) = await Buckets(store).recent_minutes(MINUTE)
    assert SeriesKey("orders", "orders", "10.0.0.5:9000", "acme", "", 500, "") in cell


async def test_one_route_can_be_read_alone(store):
    await Records(store).ship(shipment(record(), record(route="pay")))
    ((key, _),) = await Buckets(store).read(MINUTE, MINUTE + 60, route="pay")
    assert key.route == "pay"
