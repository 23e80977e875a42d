"""What Prometheus reads is what passed through."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.admin.exposition import BOUNDS_S, Meters
from gateway.domain.histogram import ALPHA, bin_of
from gateway.domain.traffic import BatchHeader, RequestRecord, SeriesKey, Tally
from gateway.metrics import METRICS


def header(**counters):
    return BatchHeader(worker="w", first_sequence=0, count=1, dropped=0, counters=counters)


def key(**change):
    usual = {"route": "orders", "upstream": "orders", "target": "a:1", "tenant": "acme", "method": "GET"}
    return SeriesKey(**{**usual, "status": 200, "error": "", **change})


def tally(*durations_us, errors=0):
    latency: dict[int, int] = {}
    for duration in durations_us:
        latency[bin_of(duration)] = latency.get(bin_of(duration), 0) + 1
    return Tally(requests=len(durations_us), errors=errors, duration_us=sum(durations_us), latency=latency)


def samples(meters):
    """(name, labels as sorted pairs) → value, as Prometheus would read it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(meters.render().decode())
        for sample in family.samples
    }


def value(meters, name, **labels):
    return samples(meters)[name, tuple(sorted(labels.items()))]


def test_every_family_of_the_table_is_shown_with_its_kind_and_help():
    text = Meters().render().decode()
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.help}" in text
        assert f"# TYPE {metric.name} {metric.kind}" in text


def test_requests_add_up_over_batches():
    meters = Meters()
    for _ in range(3):
        meters.on_batch(
            header(), [], {0: {key(): tally(1000, 2000), key(status=502, error="upstream_timeout"): tally(9)}}
        )
    labels = {"route": "orders", "method": "GET", "tenant": ""}
    assert value(meters, "sentinel_requests_total", status_class="2xx", **labels) == 6
    assert value(meters, "sentinel_requests_total", status_class="5xx", **labels) == 3
    assert value(meters, "sentinel_errors_total", route="orders", kind="upstream_timeout") == 3
    assert value(meters, "sentinel_upstream_duration_seconds_count", upstream="orders", target="a:1") == 9


@given(st.lists(st.integers(1, 90_000_000), min_size=1, max_size=60))
def test_a_bucket_counts_what_is_below_its_bound_but_for_one_percent(durations):
    meters = Meters()
    meters.on_batch(header(), [], {0: {key(): tally(*durations)}})
    read = samples(meters)
    for bound in (*BOUNDS_S, math.inf):
        le = "+Inf" if bound == math.inf else f"{bound:g}"
        got = read["sentinel_request_duration_seconds_bucket", (("le", le), ("route", "orders"))]
        surely = sum(duration / 1e6 <= bound * (1 - 2 * ALPHA) for duration in durations)
        perhaps = sum(duration / 1e6 <= bound * (1 + 2 * ALPHA) for duration in durations)
        assert surely <= got <= perhaps
    assert read["sentinel_request_duration_seconds_sum", (("route", "orders"),)] == pytest.approx(sum(durations) / 1e6)


def test_a_workers_counters_are_raised_by_name_and_labels():
    meters = Meters()
    counters = {"sentinel_rate_limited_total|orders|subject": 4, "sentinel_limiter_fallback_total": 2}
    meters.on_batch(header(**counters), [], {})
    meters.on_batch(header(**counters), [], {})
    assert value(meters, "sentinel_rate_limited_total", route="orders", scope="subject") == 8
    assert value(meters, "sentinel_limiter_fallback_total") == 4


def said_by(worker: str, **circuits: float):
    counters = {f"sentinel_circuit_state|{upstream}": level for upstream, level in circuits.items()}
    return BatchHeader(worker=worker, first_sequence=0, count=0, dropped=0, counters=counters)


def test_a_workers_gauges_are_added_up_over_workers_and_not_over_batches():
    meters = Meters()
    for worker in ("n-b1-1", "n-b2-2", "n-b1-1"):
        meters.on_batch(said_by(worker, orders=1), [], {})
    assert value(meters, "sentinel_circuit_state", upstream="orders") == 2
    meters.on_batch(said_by("n-b1-1"), [], {})
    assert value(meters, "sentinel_circuit_state", upstream="orders") == 1
    meters.on_batch(said_by("n-b2-2", payments=1), [], {})
    assert value(meters, "sentinel_circuit_state", upstream="orders") == 0
    assert value(meters, "sentinel_circuit_state", upstream="payments") == 1


def test_what_a_killed_worker_said_is_forgotten_with_the_first_word_of_its_successor():
    meters = Meters()
    meters.on_batch(said_by("n-b1-1", orders=1), [], {})
    meters.on_batch(said_by("n-b9-1"), [], {})
    assert value(meters, "sentinel_circuit_state", upstream="orders") == 0


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("made_up_total", 1),
        ("sentinel_circuit_state|orders", -1),
        ("sentinel_rate_limited_total|orders", 1),
        ("sentinel_rate_limited_total|a|b|c", 1),
        ("sentinel_requests_total|orders|GET|2xx|", 1),  # raised from records, so a worker may not
        ("sentinel_spool_bytes", 1),
        ("sentinel_limiter_fallback_total", -1),
        ("sentinel_limiter_fallback_total", math.nan),
        ("", 1),
    ],
)
def test_what_a_worker_may_not_say_is_ignored_and_counted(name, amount):
    meters = Meters()
    before = samples(meters)
    meters.on_batch(header(**{name: amount}), [], {})
    after = samples(meters)
    changed = {series for series in after if after[series] != before.get(series)}
    assert changed == {("sentinel_metrics_ignored_total", ())}


def test_label_sets_are_bounded_and_nothing_is_lost():
    meters = Meters(most_series=10)
    for number in range(100):
        meters.on_batch(header(), [], {0: {key(route=f"r{number}"): tally(1000)}})
    read = samples(meters)
    series = {labels: amount for (name, labels), amount in read.items() if name == "sentinel_requests_total"}
    assert len(series) == 11
    assert sum(series.values()) == 100
    assert value(meters, "sentinel_metrics_ignored_total") > 0


def test_a_made_up_method_does_not_become_a_label():
    meters = Meters()
    meters.on_batch(header(), [], {0: {key(method=f"M{number}"): tally(1) for number in range(50)}})
    assert value(meters, "sentinel_requests_total", route="orders", method="other", status_class="2xx", tenant="") == 50


def test_tenants_are_labels_only_when_asked_for():
    quiet, chatty = Meters(), Meters(tenants=True)
    for meters in (quiet, chatty):
        meters.on_batch(header(), [], {0: {key(): tally(1)}})
    assert "acme" not in quiet.render().decode()
    assert 'tenant="acme"' in chatty.render().decode()


def test_hostile_label_values_are_escaped():
    meters = Meters()
    meters.on_batch(header(), [], {0: {key(route='a"}\nevil_total 1\n\\'): tally(1)}})
    names = {family.name for family in text_string_to_metric_families(meters.render().decode())}
    assert "evil" not in names and "evil_total" not in names


def test_a_gauge_set_as_a_whole_forgets_what_is_gone():
    meters = Meters()
    meters.set_all("sentinel_target_healthy", {("orders", "a:1"): 1, ("orders", "b:1"): 0})
    meters.set_all("sentinel_target_healthy", {("orders", "a:1"): 1})
    assert "b:1" not in meters.render().decode()
    assert value(meters, "sentinel_target_healthy", upstream="orders", target="a:1") == 1


def test_what_the_shipper_reports_is_shown():
    meters = Meters()
    meters.on_stored(500, 2, 0.03)
    meters.on_lost(7)
    meters.on_store(up=True)
    meters.on_spool(4096)
    assert value(meters, "sentinel_records_total", outcome="stored") == 500
    assert value(meters, "sentinel_records_total", outcome="poisoned") == 2
    assert value(meters, "sentinel_records_total", outcome="dropped") == 7
    assert value(meters, "sentinel_store_up") == 1
    assert value(meters, "sentinel_spool_bytes") == 4096
    assert value(meters, "sentinel_ship_seconds_bucket", le="0.05") == 1


def test_a_wrong_number_of_labels_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="has the labels"):
        Meters().count("sentinel_actions_total", "eject_target")


def record(**parts):
    usual = dict.fromkeys(RequestRecord.__struct_fields__, "")
    numbers = ("completed_at", "status", "bytes_in", "bytes_out", "duration_us", "attempts")
    phases = ("wait_us", "auth_us", "limit_us", "connect_us", "upstream_us", "stream_us")
    return RequestRecord(**{**usual, **dict.fromkeys((*numbers, *phases), 0), **parts})


def test_the_parts_of_requests_are_seconds_by_phase():
    meters = Meters()
    meters.on_batch(header(), [record(auth_us=40, upstream_us=20_000, attempts=1), record(auth_us=2_000_000)], {})
    name = "sentinel_request_phase_seconds"
    assert value(meters, f"{name}_count", phase="auth") == 2
    assert value(meters, f"{name}_sum", phase="auth") == pytest.approx(2.00004)
    assert value(meters, f"{name}_bucket", phase="auth", le="5e-05") == 1
    assert value(meters, f"{name}_bucket", phase="upstream", le="0.05") == 1
    assert value(meters, f"{name}_bucket", phase="upstream", le="0.01") == 0


def test_what_never_reached_an_upstream_has_no_time_there():
    meters = Meters()
    meters.on_batch(header(), [record(auth_us=40), record(auth_us=40, attempts=2)], {})
    assert value(meters, "sentinel_request_phase_seconds_count", phase="connect") == 1
