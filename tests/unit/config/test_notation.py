from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import choice_notation, limit_notation, notation
from gateway.config.limit_notation import ConcurrencyRule, LimitRule, QuotaRule
from gateway.config.notation import Address, NotationError
from gateway.domain.limits import Scope


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30.0), ("5m", 300.0), ("5min", 300.0), ("1h", 3600.0), ("30d", 2592000.0), ("1.5s", 1.5)],
)
def test_a_duration_is_seconds(text, seconds):
    assert notation.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "30", "-1s", "0s", "1e3s", "٣s", "30 sec", "99999d"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(NotationError):
        notation.duration(text)


def test_a_pause_may_be_zero():
    assert notation.pause("0s") == 0.0
    assert notation.pause("30s") == 30.0


@pytest.mark.parametrize(("text", "count"), [("1B", 1), ("16KiB", 16384), ("100MiB", 104857600), ("1GB", 10**9)])
def test_a_size_is_bytes(text, count):
    assert notation.size(text) == count


def test_a_limit_without_a_burst_holds_one_window():
    assert limit_notation.limit("600/min per client") == LimitRule(
        count=600, window_s=60, burst=600, scope=Scope.CLIENT
    )


def test_a_limit_with_a_burst_holds_that_many():
    assert limit_notation.limit("100/s  burst 200 per subject") == LimitRule(
        count=100, window_s=1, burst=200, scope=Scope.SUBJECT
    )


@given(
    count=st.integers(1, 10**9),
    unit=st.sampled_from(["s", "min", "h", "day"]),
    burst=st.integers(1, 10**9),
    scope=st.sampled_from(Scope),
)
def test_every_limit_reads_as_it_was_written(count, unit, burst, scope):
    rule = limit_notation.limit(f"{count}/{unit} burst {burst} per {scope}")
    window_s = {"s": 1, "min": 60, "h": 3600, "day": 86400}[unit]
    assert rule == LimitRule(count=count, window_s=window_s, burst=burst, scope=scope)


def refusal(parse, text):
    try:
        parse(text)
    except NotationError as error:
        return error
    return None


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_at_a_place_inside_it(text):
    for parse in (limit_notation.limit, notation.duration, notation.size, notation.target, notation.bind_address):
        error = refusal(parse, text)
        assert error is None or 0 <= error.offset <= max(len(text), len("http://"))


@pytest.mark.parametrize(
    ("url", "host", "port", "name"),
    [
        ("http://10.0.0.5:9000", "10.0.0.5", 9000, "10.0.0.5:9000"),
        ("http://Orders.internal/", "orders.internal", 80, "orders.internal:80"),
        ("http://[::1]:9000", "::1", 9000, "[::1]:9000"),
    ],
)
def test_a_target_is_host_and_port(url, host, port, name):
    address = notation.target(url)
    assert address == Address(host=host, port=port)
    assert address.name == name


@pytest.mark.parametrize(
    "url", ["http://[10.0.0.1]:80", "http://::1", "http://a b", "http://", "http://h:", "http://h:0"]
)
def test_what_is_no_target_is_refused(url):
    with pytest.raises(NotationError):
        notation.target(url)


def test_an_address_to_bind_may_be_ipv6():
    assert notation.bind_address("[::1]:8001") == Address(host="::1", port=8001)


def test_the_nearest_word_is_found_whatever_its_case():
    assert notation.nearest("mib", ["B", "MiB", "GiB"]) == "MiB"
    assert notation.nearest("frobnicate", ["host", "port"]) == ""


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("20 at once per tenant", ConcurrencyRule(20, Scope.TENANT)),
        ("quota 1000 per day per key", QuotaRule(1000, "day", Scope.KEY)),
        ("quota  5  per month per tenant", QuotaRule(5, "month", Scope.TENANT)),
    ],
)
def test_a_limit_may_be_a_quota_or_what_is_under_way(text, rule):
    assert limit_notation.limit(text) == rule


@given(st.text(max_size=40) | st.sampled_from(["hash:", "header:", "header:a b", "5XX", "quota", "1 at", "unix://x"]))
def test_any_choice_is_read_or_refused_at_a_place_inside_it(text):
    parsers = (
        choice_notation.balance,
        choice_notation.caller_source,
        choice_notation.retry_cause,
        limit_notation.limit,
    )
    for parse in (*parsers, notation.target):
        error = refusal(parse, text)
        assert error is None or 0 <= error.offset <= max(len(text), len("https://"))
