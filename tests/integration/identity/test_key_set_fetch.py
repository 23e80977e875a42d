"""Fetching over real sockets: what is refused, and how much of it is read."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.errors import KeySetError
from gateway.identity.key_set_fetch import KeySetFetcher
from gateway.notify.addresses import refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def provider(*parts: bytes, pause_s: float = 0.0) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that sends these bytes to whoever connects; its URL, and the requests it got."""
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks?v=1", requests


async def fetched(url: str, **options: float) -> bytes:
    async with KeySetFetcher(refusal, **options) as fetcher:
        return await fetcher.fetch(url)


async def test_a_set_is_fetched_as_it_is():
    async with provider(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", b'{"keys":[]}') as (url, requests):
        assert await fetched(url) == b'{"keys":[]}'
    assert requests[0].startswith(b"GET /jwks?v=1 HTTP/1.1\r\n")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "401 No", "404 No", "500 Oops", "204 None"])
async def test_any_other_status_is_a_failure_and_no_redirect_is_followed(status):
    async with provider(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (elsewhere, followed):
        head = f"HTTP/1.1 {status}\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n".encode()
        async with provider(head) as (url, _):
            with pytest.raises(KeySetError, match=status[:3]):
                await fetched(url)
    assert followed == []


async def test_an_endless_answer_is_cut_off():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    async with provider(head, *[chunk] * 100) as (url, _):
        with pytest.raises(KeySetError, match="more than 262144 bytes"):
            await fetched(url)


async def test_a_slow_provider_is_given_up():
    async with provider(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *[b"x"] * 50, pause_s=0.05) as (url, _):
        with pytest.raises(KeySetError, match=r"within 0\.3 s"):
            await fetched(url, timeout_s=0.3)


async def test_what_is_no_http_is_a_failure():
    async with provider(b"SSH-2.0-OpenSSH_9\r\n") as (url, _):
        with pytest.raises(KeySetError, match="no proper HTTP"):
            await fetched(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://169.254.169.254/latest/meta-data", "cloud metadata"),
        ("https://[fe80::1]/jwks", "cloud metadata"),
        ("https://[::ffff:169.254.169.254]/jwks", "cloud metadata"),
        ("https://[fd00:ec2::254]/jwks", "metadata service"),
        ("http://10.0.0.1/jwks", "without https only this machine"),
        ("http://0.0.0.0/jwks", "not the address of one host"),
        ("https://no-such-host.invalid/jwks", "cannot be resolved"),
    ],
)
async def test_forbidden_addresses_are_never_asked(url, why):
    with pytest.raises(KeySetError, match=why):
        await fetched(url)


async def test_a_provider_that_is_away_is_named():
    with pytest.raises(KeySetError, match=r"127\.0\.0\.1 cannot be reached"):
        await fetched("http://127.0.0.1:1/jwks")
