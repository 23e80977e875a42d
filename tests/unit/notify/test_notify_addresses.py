"""Nothing is sent to a cloud's metadata, in whatever spelling; channels are built or refused with a clear reason."""

from __future__ import annotations

import pytest

from gateway.domain.policy import NotifyChannel
from gateway.errors import ConfigError, DeliveryError
from gateway.notify.addresses import is_loopback, refusal
from gateway.notify.channels import build
from gateway.notify.http_post import Poster, judge, retry_after_s
from gateway.notify.outbox import backoff_s
from gateway.outward import Answer

SLACK_URL = "https://hooks.slack.example/services/T0/B0/very-secret"


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
    ],
)
def test_forbidden_addresses_are_refused(address: str) -> None:
    assert refusal(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "93.184.216.34", "2606:4700::1"])
def test_ordinary_and_private_addresses_are_fine(address: str) -> None:
    assert refusal(address) == ""


def test_loopback_is_known_without_asking_anybody() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("localhost")
    assert not is_loopback("localhost.evil.example")


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("99999999999999999999", 3600.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("²", 0.0),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_delay_or_date_and_bounded(value: str, wait: float) -> None:
    assert retry_after_s(value, 1_767_225_600.0) == wait


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(500, True), (503, True), (429, True), (408, True), (400, False), (404, False), (410, False), (302, False)],
)
def test_a_status_says_whether_trying_again_can_help(status: int, *, retryable: bool) -> None:
    with pytest.raises(DeliveryError) as caught:
        judge("h.example", Answer(status, b"no\x00 thanks", {}), 0.0)
    assert caught.value.retryable is retryable
    assert str(caught.value) == f"h.example answered {status}: no thanks"


def test_any_status_of_success_is_success() -> None:
    for status in (200, 201, 202, 204):
        judge("h.example", Answer(status, b"", {}), 0.0)


def test_the_pause_doubles_is_capped_and_leaves_half_to_chance() -> None:
    assert [backoff_s(attempt, 1.0) for attempt in (1, 2, 3, 20, 10_000)] == [5.0, 10.0, 20.0, 900.0, 900.0]
    assert backoff_s(1, 0.0) == 2.5


def test_channels_are_built_from_the_environment() -> None:
    built = build(
        (
            NotifyChannel(name="team", kind="slack", url_env="SLACK_WEBHOOK_URL"),
            NotifyChannel(name="hook", kind="webhook", url="http://10.0.0.1/x", secret_env="HOOK_KEY"),
        ),
        {"SLACK_WEBHOOK_URL": SLACK_URL, "HOOK_KEY": "k"}.get,
        Poster(),
    )
    assert {name: channel.kind for name, channel in built.items()} == {"team": "slack", "hook": "webhook"}


@pytest.mark.parametrize(
    ("entry", "environ", "says"),
    [
        (NotifyChannel(name="a", kind="slack", url_env="U"), {}, "variable U is not set"),
        (NotifyChannel(name="a", kind="slack", url_env="U"), {"U": "http://h.example/hidden"}, "must be https"),
        (NotifyChannel(name="a", kind="webhook", url_env="U"), {"U": "ftp://h.example/hidden"}, "http:// or https://"),
        (NotifyChannel(name="a", kind="webhook", url_env="U"), {"U": "http://h:99999/hidden"}, "http:// or https://"),
        (NotifyChannel(name="a", kind="webhook", url_env="U"), {"U": "https://u:hidden@h"}, "password"),
        (NotifyChannel(name="a", kind="webhook", url="http://h/", secret_env="K"), {}, "variable K is not set"),
        (NotifyChannel(name="a", kind="fax", url="http://h/"), {}, "use one of slack, slack_app, pagerduty"),
    ],
)
def test_a_channel_that_cannot_work_is_refused_without_showing_its_url(
    entry: NotifyChannel, environ: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build((entry,), environ.get, Poster())
    assert says in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_every_wrong_channel_is_reported_at_once() -> None:
    entries = (NotifyChannel(name="a", kind="slack", url_env="A"), NotifyChannel(name="b", kind="slack", url_env="B"))
    with pytest.raises(ConfigError) as caught:
        build(entries, {}.get, Poster())
    assert len(caught.value.problems) == 2
