"""One POST to somebody else's server, and what its answer means for trying again."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.errors import DeliveryError, OutwardError
from gateway.notify.addresses import refusal
from gateway.notify.wording import plain
from gateway.outward import WHOLE_TIMEOUT_S, Answer, Outward

if TYPE_CHECKING:
    import ssl
    from types import TracebackType
    from typing import Self

_ANSWER_BYTES = 4096
_LONGEST_RETRY_AFTER_S = 3600.0
_TRY_AGAIN = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class Poster:
    """Sends bodies. An async context manager; one for all channels.

    Args:
        allow_link_local: send to link-local and metadata addresses as well.
        timeout_s: wall clock for one POST, from name resolution to the end of the answer.
        verify: the certificates that are trusted; by default the system's.
    """

    def __init__(
        self,
        *,
        allow_link_local: bool = False,
        timeout_s: float = WHOLE_TIMEOUT_S,
        verify: ssl.SSLContext | None = None,
    ) -> None:
        self._outward = Outward(
            lambda _scheme, address: "" if allow_link_local else refusal(address), timeout_s=timeout_s, verify=verify
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._outward.__aexit__(kind, error, trace)

    async def post(
        self, url: str, body: bytes, headers: dict[str, str], now: float, *, most_bytes: int = _ANSWER_BYTES
    ) -> Answer:
        """The answer to a POST with a status of success, with at most ``most_bytes`` of its body.

        Raises:
            DeliveryError: it did not arrive or was refused; says whether and when to try again. Never shows the URL.
        """
        try:
            answer = await self._outward.exchange("POST", url, headers=headers, most_bytes=most_bytes, body=body)
        except OutwardError as error:
            raise DeliveryError(str(error), retryable=error.retryable) from error
        judge(urlsplit(url).hostname or "", answer, now)
        return answer


def judge(host: str, answer: Answer, now: float) -> None:
    """Raise DeliveryError unless the status means success.

    429, 408, 425 and 5xx may go better later; any other status will not: a redirect is not followed, and a request
    that was wrong once is wrong again.
    """
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    retryable = answer.status in _TRY_AGAIN or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    said = plain(answer.body.decode("utf-8", "replace"), 200)
    raise DeliveryError(
        f"{host} answered {answer.status}" + (f": {said}" if said else ""),
        retryable=retryable,
        retry_after_s=retry_after_s(answer.headers.get("retry-after", ""), now) if retryable else 0.0,
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
