"""One exchange with somebody else's server: bounded in time and size, no redirects, never at a forbidden address.

The host name is resolved here, every address is judged, and the connection goes to the address that was judged: a name
that answers differently the second time gains nothing. The certificate is still checked against the name.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import TYPE_CHECKING

import httpx2
import msgspec

from gateway.errors import OutwardError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

# The URL of a webhook is a secret, and the library logs every URL it calls at INFO.
logging.getLogger("httpx2").setLevel(logging.WARNING)

STEP_TIMEOUT_S = 5.0
WHOLE_TIMEOUT_S = 10.0
_ADDRESSES_TRIED = 2
_PORTS = {"http": 80, "https": 443}


class Answer(msgspec.Struct, frozen=True):
    """What came back. ``cut``: the body was longer than asked for, and ends early here."""

    status: int
    body: bytes
    headers: dict[str, str]  # names in lower case
    cut: bool = False


class Outward:
    """A client for such exchanges. An async context manager; one serves many.

    Args:
        refusal: given scheme and address, why that address may not be asked; empty when it may.
        timeout_s: wall clock for one exchange, from name resolution to the end of the answer.
        verify: the certificates that are trusted; by default the system's.
        step_s: how long it may be silent, once it is connected.
    """

    def __init__(
        self,
        refusal: Callable[[str, str], str],
        *,
        timeout_s: float = WHOLE_TIMEOUT_S,
        verify: ssl.SSLContext | None = None,
        step_s: float = STEP_TIMEOUT_S,
    ) -> None:
        self._refusal = refusal
        self._timeout_s = timeout_s
        # No connection is kept: it would be pooled by address, and was verified for one name only. No proxy from the
        # environment: behind one, the address that is judged would not be the one that is reached.
        self._client = httpx2.AsyncClient(
            verify=verify or ssl.create_default_context(),
            follow_redirects=False,
            trust_env=False,
            timeout=httpx2.Timeout(min(step_s, timeout_s), connect=min(STEP_TIMEOUT_S, timeout_s)),
            limits=httpx2.Limits(max_connections=16, max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        """Nothing is opened before the first exchange."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of everything."""
        await self._client.aclose()

    async def exchange(
        self, method: str, url: str, *, headers: dict[str, str], most_bytes: int, body: bytes | None = None
    ) -> Answer:
        """The answer, whatever its status, with at most ``most_bytes`` of its body.

        Raises:
            OutwardError: there is none; never shows the URL, only its host.
        """
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            raise OutwardError("that is not a URL", retryable=False) from error
        try:
            async with asyncio.timeout(self._timeout_s):
                addresses = await self._addresses(parsed)
                return await self._from_any(method, parsed, addresses, headers, most_bytes, body)
        except TimeoutError as error:
            raise OutwardError(f"{parsed.host} did not answer within {self._timeout_s:g} s", reached=True) from error

    async def _addresses(self, url: httpx2.URL) -> list[str]:
        port = url.port or _PORTS.get(url.scheme, 0)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise OutwardError(f"the name {url.host} cannot be resolved") from error
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        for address in addresses:
            if why := self._refusal(url.scheme, address):
                raise OutwardError(f"nothing is sent to {url.host}: {address} is {why}", retryable=False)
        return addresses

    async def _from_any(
        self,
        method: str,
        url: httpx2.URL,
        addresses: list[str],
        headers: dict[str, str],
        most_bytes: int,
        body: bytes | None,
    ) -> Answer:
        failure = OutwardError(f"{url.host} has no address")
        for address in addresses[:_ADDRESSES_TRIED]:
            try:
                return await self._exchange(method, url, address, headers, most_bytes, body)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = OutwardError(f"{url.host} cannot be reached: {type(error).__name__}")
            except httpx2.TimeoutException as error:
                raise OutwardError(f"{url.host} was too slow: {type(error).__name__}", reached=True) from error
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                why = f"{url.host} answered no proper HTTP: {type(error).__name__}"
                raise OutwardError(why, reached=True) from error
        raise failure

    async def _exchange(
        self,
        method: str,
        url: httpx2.URL,
        address: str,
        headers: dict[str, str],
        most_bytes: int,
        body: bytes | None,
    ) -> Answer:
        request = self._client.build_request(
            method,
            url.copy_with(host=address),
            content=body,
            # Unpacked by nobody: so the bound on the body holds for what arrives.
            headers={**headers, "Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        response = await self._client.send(request, stream=True)
        try:
            taken = b""
            async for chunk in response.aiter_raw():
                taken += chunk[: most_bytes + 1 - len(taken)]
                if len(taken) > most_bytes:
                    break
        finally:
            await response.aclose()
        return Answer(
            status=response.status_code,
            body=taken[:most_bytes],
            headers={name.lower(): value for name, value in response.headers.items()},
            cut=len(taken) > most_bytes,
        )
