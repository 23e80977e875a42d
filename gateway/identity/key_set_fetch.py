"""One GET of a JSON Web Key Set. Plain HTTP is for this machine only: whoever is on the way could put in their keys."""

from __future__ import annotations

import ipaddress
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.errors import KeySetError, OutwardError
from gateway.jwk import MAX_SET_BYTES
from gateway.outward import WHOLE_TIMEOUT_S, Outward

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

_ACCEPT = {"Accept": "application/jwk-set+json, application/json"}


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
        self._outward = Outward(self._judge, timeout_s=timeout_s, verify=verify)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._outward.__aexit__(kind, error, trace)

    async def fetch(self, url: str) -> bytes:
        """The body of a 200 answer, as it came; it is not judged here.

        Raises:
            KeySetError: it could not be had, and why.
        """
        try:
            answer = await self._outward.exchange("GET", url, headers=_ACCEPT, most_bytes=MAX_SET_BYTES)
        except OutwardError as error:
            raise KeySetError(str(error)) from error
        host = urlsplit(url).hostname
        if answer.status != HTTPStatus.OK:
            raise KeySetError(f"{host} answered {answer.status}; redirects are not followed")
        if answer.cut:
            raise KeySetError(f"{host} answered more than {MAX_SET_BYTES} bytes")
        return answer.body

    def _judge(self, scheme: str, address: str) -> str:
        if why := self._refusal(address):
            return why
        plain = scheme != "https" and not ipaddress.ip_address(address.partition("%")[0]).is_loopback
        return "another machine; without https only this machine is asked" if plain else ""
