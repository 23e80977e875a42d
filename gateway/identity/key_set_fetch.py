"""One GET of a JSON Web Key Set: bounded in time and size, without redirects, never from a forbidden address.

The host name is resolved here, every address is judged, and the connection goes to the address that was judged: a name
that answers differently the second time gains nothing. The certificate is still checked against the name. Plain HTTP
is for this machine only, because whoever is on the way could put in keys of their own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx2

from gateway.errors import KeySetError
from gateway.jwk import MAX_SET_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

logging.getLogger("httpx2").setLevel(logging.WARNING)  # the library logs every URL it calls at INFO

STEP_TIMEOUT_S = 5.0
WHOLE_TIMEOUT_S = 10.0
_ADDRESSES_TRIED = 2
_HTTPS_PORT = 443
_HTTP_PORT = 80


class KeySetFetcher:
    """Fetches sets. An async context manager; one for all issuers.

    Args:
        refusal: why an address may never be asked, or empty.
        timeout_s: wall clock for one fetch, from name resolution to the end of the answer.
        verify: the certificates that are trusted; by default the system's.
    """

    def __init__(
        self,
        refusal: Callable[[str], str],
        *,
        timeout_s: float = WHOLE_TIMEOUT_S,
        verify: ssl.SSLContext | None = None,
    ) -> None:
        self._refusal = refusal
        self._timeout_s = timeout_s
        # No connection is kept: minutes pass between two fetches. No proxy from the environment: behind one, the
        # address that is judged would not be the one that is reached.
        self._client = httpx2.AsyncClient(
            verify=verify or ssl.create_default_context(),
            follow_redirects=False,
            trust_env=False,
            timeout=httpx2.Timeout(min(STEP_TIMEOUT_S, timeout_s)),
            limits=httpx2.Limits(max_connections=16, max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def fetch(self, url: str) -> bytes:
        """The body of a 200 answer, as it came; it is not judged here.

        Raises:
            KeySetError: it could not be had, and why.
        """
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            raise KeySetError("jwks_url is not a URL") from error
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._from_any(parsed, await self._addresses(parsed))
        except TimeoutError as error:
            raise KeySetError(f"{parsed.host} did not answer within {self._timeout_s:g} s") from error

    async def _addresses(self, url: httpx2.URL) -> list[str]:
        port = url.port or (_HTTPS_PORT if url.scheme == "https" else _HTTP_PORT)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise KeySetError(f"the name {url.host} cannot be resolved") from error
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        for address in addresses:
            if why := self._refusal(address):
                raise KeySetError(f"no keys are fetched from {url.host}: {address} is {why}")
            if url.scheme != "https" and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
                raise KeySetError(f"no keys are fetched from {url.host}: without https only this machine is asked")
        return addresses

    async def _from_any(self, url: httpx2.URL, addresses: list[str]) -> bytes:
        failure = KeySetError(f"{url.host} has no address")
        for address in addresses[:_ADDRESSES_TRIED]:
            try:
                return await self._exchange(url, address)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = KeySetError(f"{url.host} cannot be reached: {type(error).__name__}")
            except httpx2.TimeoutException as error:
                raise KeySetError(f"{url.host} was too slow: {type(error).__name__}") from error
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise KeySetError(f"{url.host} answered no proper HTTP: {type(error).__name__}") from error
        raise failure

    async def _exchange(self, url: httpx2.URL, address: str) -> bytes:
        request = self._client.build_request(
            "GET",
            url.copy_with(host=address),
            headers={
                "Host": url.netloc.decode("ascii"),
                "Accept": "application/jwk-set+json, application/json",
                "Accept-Encoding": "identity",  # so that the bound holds for what arrives
            },
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        response = await self._client.send(request, stream=True)
        try:
            if response.status_code != HTTPStatus.OK:
                raise KeySetError(f"{url.host} answered {response.status_code}; redirects are not followed")
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_SET_BYTES:
                    raise KeySetError(f"{url.host} answered more than {MAX_SET_BYTES} bytes")
        finally:
            await response.aclose()
        return body
