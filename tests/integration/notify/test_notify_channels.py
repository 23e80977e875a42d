"""Slack and webhook over real HTTP, with receivers that behave well, badly and strangely."""

from __future__ import annotations

import hmac
import json
import logging
import socket
from typing import TYPE_CHECKING

import httpx2
import pytest

from gateway.errors import DeliveryError
from gateway.notify.http_post import Poster
from gateway.notify.message import What, of_action, of_incident
from gateway.notify.slack import Slack
from gateway.notify.webhook import Webhook
from tests.integration.notify import receiver as http
from tests.unit.notify.incidents import NOW, action, incident

if TYPE_CHECKING:
    from gateway.notify.message import Message
    from tests.integration.notify.receiver import Receiver

pytestmark = pytest.mark.anyio

OPENED: Message = of_incident(incident(), What.OPENED, NOW, base_url="https://g.example")


async def failure(url: str, *, timeout_s: float = 5.0) -> DeliveryError:
    async with Poster(timeout_s=timeout_s) as poster:
        with pytest.raises(DeliveryError) as caught:
            await Slack("team", url, poster).deliver(OPENED, NOW)
    assert "very-secret" not in str(caught.value)
    return caught.value


async def test_slack_gets_blocks_and_a_notice(receiver: Receiver) -> None:
    async with Poster() as poster:
        message = of_action(incident(), action(), What.PROPOSED, NOW, base_url="https://g.example")
        await Slack("team", receiver.url(), poster).deliver(message, NOW)
    (request,) = receiver.received
    body = json.loads(request.body)
    assert request.target == "/hook/very-secret"
    assert request.headers["content-type"] == "application/json"
    assert body["text"].startswith("P1 · Please decide: take 10.0.0.1:1 of payments out?")
    assert body["blocks"][0]["text"]["text"] == "*P1 · Please decide: take 10.0.0.1:1 of payments out?*"


async def test_a_webhook_gets_a_versioned_signed_document_with_an_idempotency_key(receiver: Receiver) -> None:
    async with Poster() as poster:
        await Webhook("hook", receiver.url(), poster, b"key").deliver(OPENED, NOW)
    (request,) = receiver.received
    assert json.loads(request.body) == {
        "schema": "sentinelstack.notification/1",
        "key": "incident:i-1:opened:1",
        "what": "opened",
        "at": "2026-01-01T03:00:00Z",
        "severity": "P1",
        "title": "orders: half of the requests fail",
        "lines": ["50 of the last 100 requests of orders failed; usually 0."],
        "fields": {
            "Severity": "P1",
            "Where": "route orders, upstream orders",
            "Since": "02:59:40 UTC, 20 s",
            "Incident": "i-1",
        },
        "links": [
            {
                "text": "Open the incident",
                "url": "https://g.example/dashboard/incidents/i-1",
                "wants_decision": False,
            }
        ],
        "incident_id": "i-1",
        "tenant": "",
    }
    assert request.headers["idempotency-key"] == "incident:i-1:opened:1"
    at, digest = (part.split("=")[1] for part in request.headers["x-sentinel-signature"].split(","))
    assert hmac.new(b"key", f"{at}.".encode() + request.body, "sha256").hexdigest() == digest
    assert float(at) == NOW


async def test_a_webhook_without_a_secret_is_not_signed(receiver: Receiver) -> None:
    async with Poster() as poster:
        await Webhook("hook", receiver.url(), poster).deliver(OPENED, NOW)
    assert "x-sentinel-signature" not in receiver.received[0].headers


async def test_the_host_field_names_the_host_as_configured(receiver: Receiver) -> None:
    async with Poster() as poster:
        await Webhook("hook", f"http://localhost:{receiver.port}/x?y=1", poster).deliver(OPENED, NOW)
    assert receiver.received[0].headers["host"] == f"localhost:{receiver.port}"
    assert receiver.received[0].target == "/x?y=1"


@pytest.mark.parametrize(
    ("answer", "retryable", "retry_after_s", "says"),
    [
        (http.BROKEN, True, 0.0, "answered 500: oops"),
        (http.BUSY, True, 42.0, "answered 429: rate_limited"),
        (http.MISSING, False, 0.0, "answered 404: no_service"),
        (http.GARBAGE, True, 0.0, "no proper HTTP"),
        (http.RESET, True, 0.0, "no proper HTTP"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            False,
            0.0,
            "answered 302",
        ),
    ],
)
async def test_what_a_bad_answer_means(
    receiver: Receiver, answer: bytes, *, retryable: bool, retry_after_s: float, says: str
) -> None:
    receiver.answers = [answer]
    error = await failure(receiver.url())
    assert (error.retryable, error.retry_after_s) == (retryable, retry_after_s)
    assert says in str(error)


@pytest.mark.parametrize("answer", [http.HANG, http.DRIP])
async def test_a_receiver_that_never_finishes_is_left_in_time(receiver: Receiver, answer: bytes) -> None:
    receiver.answers = [answer]
    error = await failure(receiver.url(), timeout_s=0.3)
    assert error.retryable


async def test_an_endless_answer_is_cut(receiver: Receiver) -> None:
    receiver.answers = [http.ENDLESS]
    error = await failure(receiver.url())
    assert not error.retryable
    assert len(str(error)) < 300
    assert receiver.sent < 50_000_000


async def test_a_receiver_that_is_down_is_tried_again() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        error = await failure(f"http://127.0.0.1:{closed.getsockname()[1]}/very-secret")
    assert error.retryable
    assert "cannot be reached" in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/very-secret",
        "http://[::ffff:169.254.169.254]/very-secret",
        "http://2852039166/very-secret",
        "http://0xa9fea9fe/very-secret",
        "http://[fe80::1]/very-secret",
    ],
)
async def test_metadata_addresses_are_refused_in_any_spelling(url: str) -> None:
    error = await failure(url)
    assert not error.retryable
    assert "nothing is sent" in str(error)


async def test_a_name_that_resolves_to_a_forbidden_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    async def resolve(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    error = await failure("http://innocent.example/very-secret")
    assert "169.254.169.254 is link-local" in str(error)


async def test_the_address_that_was_judged_is_the_one_that_is_reached(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    asked = []

    async def resolve(host: str, port: int, **_: object) -> list[object]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    async with Poster() as poster:
        await Webhook("hook", f"http://rebinding.example:{receiver.port}/", poster).deliver(OPENED, NOW)
    assert asked.count("rebinding.example") == 1
    assert receiver.received[0].headers["host"] == f"rebinding.example:{receiver.port}"


async def test_a_url_that_is_none_is_given_up_at_once() -> None:
    error = await failure("http://a\x00b/very-secret")
    assert not error.retryable


async def test_an_operator_may_allow_link_local_addresses() -> None:
    url = httpx2.URL("http://169.254.169.254/")
    async with Poster(allow_link_local=True) as poster:
        assert await poster._outward._addresses(url) == ["169.254.169.254"]  # judged only: nothing leaves this machine


async def test_a_proxy_from_the_environment_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with Poster() as poster:
        await Webhook("hook", receiver.url(), poster).deliver(OPENED, NOW)
    assert len(receiver.received) == 1


async def test_the_url_never_reaches_the_log(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Poster() as poster:
        await Slack("team", receiver.url(), poster).deliver(OPENED, NOW)
    assert "very-secret" not in caplog.text
