from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from gateway.collect.aggregate import add, aggregate, bounded, minutes
from gateway.domain.histogram import bin_of
from gateway.domain.traffic import METHODS, OTHER, BucketKey, SeriesKey, Tally
from tests.collect_rows import MINUTE, record

if TYPE_CHECKING:
    import random

records = st.lists(
    st.builds(
        record,
        completed_at=st.floats(MINUTE, MINUTE + 200),
        status=st.sampled_from([101, 200, 301, 404, 429, 499, 500, 502]),
        route=st.sampled_from(["a", "b"]),
        tenant=st.sampled_from(["x", "y"]),
        method=st.sampled_from(["GET", "BREW"]),
        error=st.sampled_from(["", "upstream_truncated", "rate_limited"]),
        duration_us=st.integers(0, 10**8),
        bytes_in=st.integers(0, 10**6),
    ),
    max_size=40,
)


def test_sums_of_one_request():
    cells = aggregate([record(completed_at=MINUTE + 7.9, status=502, bytes_in=3, duration_us=1234)])
    (key, tally), *rest = cells[MINUTE + 5].items()
    assert not rest
    assert key == SeriesKey("orders", "orders", "10.0.0.5:9000", "acme", "GET", 502, "")
    assert isinstance(key, SeriesKey)
    assert tally == Tally(1, 1, 3, 100, 1234, {bin_of(1234): 1})


def test_a_truncated_answer_is_an_error_whatever_its_status():
    (cell,) = aggregate([record(status=200, error="upstream_truncated"), record(status=404)]).values()
    assert sorted((key.status, tally.errors) for key, tally in cell.items()) == [(200, 1), (404, 0)]


def test_the_life_of_a_websocket_is_a_request_but_no_latency():
    (cell,) = aggregate([record(status=101, duration_us=3_600_000_000, bytes_in=5), record(status=200)]).values()
    websocket, ordinary = sorted(cell.values(), key=lambda tally: bool(tally.latency))
    assert (websocket.requests, websocket.bytes_in, websocket.duration_us, websocket.latency) == (1, 5, 0, {})
    assert sum(ordinary.latency.values()) == 1


def test_made_up_methods_share_one_series():
    (cell,) = aggregate([record(method=f"M{number}") for number in range(100)]).values()
    assert [key.method for key in cell] == [OTHER]


@given(records)
def test_bins_are_those_of_the_domain(found):
    for item in found:
        ((_, cell),) = aggregate([item]).items()
        ((key, tally),) = cell.items()
        assert tally.latency == ({} if item.status == 101 else {bin_of(item.duration_us): 1})
        assert key.method in METHODS | {OTHER}


@given(records, st.randoms(use_true_random=False), st.integers(1, 5))
def test_any_split_in_any_order_adds_up_the_same(found, chance: random.Random, parts):
    whole = aggregate(found)
    shuffled = list(found)
    chance.shuffle(shuffled)
    total: dict = {}
    for part in range(parts):
        add(total, aggregate(shuffled[part::parts]))
    assert total == whole
    assert minutes(total) == minutes(whole)
    assert sum(tally.requests for tally in minutes(whole).values()) == len(found)


def test_adding_leaves_what_is_added_alone():
    part = aggregate([record()])
    total: dict = {}
    add(total, part)
    add(total, part)
    assert [tally.requests for tally in part[MINUTE].values()] == [1]
    assert [tally.requests for tally in total[MINUTE].values()] == [2]


def test_a_minute_row_folds_method_and_exact_status():
    cells = aggregate(
        [
            record(status=200, completed_at=MINUTE + 1),
            record(status=204, method="POST", completed_at=MINUTE + 59.9),
            record(status=101, completed_at=MINUTE),
        ]
    )
    rows = minutes(cells)
    assert rows[BucketKey(MINUTE, "orders", "orders", "10.0.0.5:9000", "acme", 2)].requests == 2
    assert rows[BucketKey(MINUTE, "orders", "orders", "10.0.0.5:9000", "acme", 0)].requests == 1


def test_ten_thousand_tenants_fold_into_a_bounded_number_of_rows_without_losing_a_request():
    found = [record(tenant=f"t{number}") for number in range(10_000)] + [record(tenant="big")] * 3
    rows = bounded(minutes(aggregate(found)), 100)
    assert len(rows) <= 101
    assert sum(tally.requests for tally in rows.values()) == 10_003
    assert any(key.tenant == "big" for key in rows)
