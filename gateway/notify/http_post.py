"""One POST to somebody else's server: bounded in time and size, without redirects, never to a forbidden address.

The host name is resolved here, every address is judged, and the connection goes to the address that was judged: a
name that answers differently the second time gains nothing. The certificate is still checked against the name.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx2
import msgspec

from gateway.errors import DeliveryError
from gateway.notify.addresses import refusal
from gateway.notify.wording import plain

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

# The URL of a Slack webhook is a secret, and the library logs every URL it calls at INFO.
logging.getLogger("httpx2").setLevel(logging.WARNING)

_STEP_TIMEOUT_S = 5.0
_WHOLE_TIMEOUT_S = 10.0
_ANSWER_BYTES = 4096
_LONGEST_RETRY_AFTER_S = 3600.0
_ADDRESSES_TRIED = 2
_TRY_AGAIN = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class Answer(msgspec.Struct, frozen=True):
    """What came back: the beginning of the body only."""

    status: int
    text: str
    retry_after: str = ""


class Poster:
    """Sends bodies. An async context manager; one for all channels.

    Args:
        allow_link_local: send to link-local and metadata addresses as well.
        timeout_s: wall clock for one POST, from name resolution to the end of the answer.
    """

    def __init__(self, *, allow_link_local: bool = False, timeout_s: float = _WHOLE_TIMEOUT_S) -> None:
        self._allow_link_local = allow_link_local
        self._timeout_s = timeout_s
        # No connection is kept: it is pooled by address, and was verified for one name only. No proxy from the
        # environment: behind one, the address that is judged would not be the one that is reached.
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            timeout=httpx2.Timeout(min(_STEP_TIMEOUT_S, timeout_s)),
            limits=httpx2.Limits(max_connections=16, max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def post(self, url: str, body: bytes, headers: dict[str, str], now: float) -> Answer:
        """The answer to a POST with a status of success.

        Raises:
            DeliveryError: it did not arrive or was refused; says whether and when to try again. Never shows the URL.
        """
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            raise DeliveryError("the configured URL is not one", retryable=False) from error
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._send(parsed, body, headers)
        except TimeoutError as error:
            raise DeliveryError(f"{parsed.host} did not answer within {self._timeout_s:g} s") from error
        judge(parsed.host, answer, now)
        return answer

    async def _send(self, url: httpx2.URL, body: bytes, headers: dict[str, str]) -> Answer:
        failure = DeliveryError(f"{url.host} has no address")
        for address in (await self._addresses(url))[:_ADDRESSES_TRIED]:
            try:
                return await self._exchange(url, address, body, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = DeliveryError(f"{url.host} cannot be reached: {type(error).__name__}")
            except httpx2.TimeoutException as error:
                raise DeliveryError(f"{url.host} was too slow: {type(error).__name__}") from error
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise DeliveryError(f"{url.host} answered no proper HTTP: {type(error).__name__}") from error
        raise failure

    async def _addresses(self, url: httpx2.URL) -> list[str]:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise DeliveryError(f"the name {url.host} cannot be resolved") from error
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        for address in addresses:
            if not self._allow_link_local and (why := refusal(address)):
                raise DeliveryError(f"nothing is sent to {url.host}: {address} is {why}", retryable=False)
        return addresses

    async def _exchange(self, url: httpx2.URL, address: str, body: bytes, headers: dict[str, str]) -> Answer:
        request = self._client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers={**headers, "Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        response = await self._client.send(request, stream=True)
        try:
            text = b""
            async for chunk in response.aiter_raw():
                text += chunk[: _ANSWER_BYTES - len(text)]
                if len(text) >= _ANSWER_BYTES:
                    break
        finally:
            await response.aclose()
        return Answer(
            status=response.status_code,
            text=text.decode("utf-8", "replace"),
            retry_after=response.headers.get("retry-after", ""),
        )


def judge(host: str, answer: Answer, now: float) -> None:
    """Raise DeliveryError unless the status means success.

    429, 408, 425 and 5xx may go better later; any other status will not: a redirect is not followed, and a request
    that was wrong once is wrong again.
    """
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    retryable = answer.status in _TRY_AGAIN or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    said = plain(answer.text, 200)
    raise DeliveryError(
        f"{host} answered {answer.status}" + (f": {said}" if said else ""),
        retryable=retryable,
        retry_after_s=retry_after_s(answer.retry_after, now) if retryable else 0.0,
    )


def retry_after_s(value: str, now: float) -> float:
    """Seconds of a Retry-After field (RFC 9110, 10.2.3: delay or date), at most an hour; 0 for anything else."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        wait = float(text[:9])
    else:
        try:
            wait = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return min(max(wait, 0.0), _LONGEST_RETRY_AFTER_S)
