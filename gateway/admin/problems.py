"""Errors as RFC 9457 problem documents: what went wrong, which field, how to mend it; never a stack trace."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from gateway import logs
from gateway.errors import ConfigError, InvalidInputError, SentinelError, TooManyAttemptsError

if TYPE_CHECKING:
    from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5  # for errors that pass by themselves and do not say when
_SERVER_ERROR = 500
_log = logs.get("admin")


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Problem details (RFC 9457). ``remedy``, ``field`` and ``problems`` are ours."""

    title: str
    status: int
    detail: str
    remedy: str = ""
    field: str = ""  # dotted path of the value that is wrong
    problems: tuple[str, ...] = ()  # every finding in a configuration


def problem(
    status: int,
    detail: str,
    *,
    remedy: str = "",
    field: str = "",
    problems: tuple[str, ...] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem document as a response; ``type`` is left out, which RFC 9457 reads as about:blank."""
    document = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, remedy=remedy, field=field, problems=problems
    )
    return Response(msgspec.json.encode(document), status, headers, MEDIA_TYPE)


def of_error(error: SentinelError) -> Response:
    """Any error of our own tree. What only concerns us (500) is logged and not told in detail."""
    status = error.status
    headers: dict[str, str] = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyAttemptsError):
        headers["Retry-After"] = str(max(1, ceil(error.retry_after_s)))
    elif error.retryable:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if status == _SERVER_ERROR:
        _log.error("admin.failed", error=str(error), kind=type(error).__name__)
        return of_crash()
    return problem(
        status,
        str(error),
        remedy=error.remedy,
        field=error.field if isinstance(error, InvalidInputError) else "",
        problems=error.problems if isinstance(error, ConfigError) else (),
        headers=headers,
    )


def of_crash() -> Response:
    """For what should not happen; the log has the reason."""
    return problem(_SERVER_ERROR, "something went wrong here; the log of control says what")


_REMEDIES = {
    404: "GET /openapi.json lists every path.",
    405: "The Allow header lists the methods of this path.",
}


def of_http(error: HTTPException) -> Response:
    """What Starlette's router refuses by itself: unknown paths and methods."""
    details = {404: "there is nothing at this path", 405: "this path does not take this method"}
    return problem(
        error.status_code,
        details.get(error.status_code, error.detail),
        remedy=_REMEDIES.get(error.status_code, ""),
        headers=dict(error.headers or {}),
    )


def of_validation(error: msgspec.MsgspecError, *, what: str) -> InvalidInputError:
    """Our error for a body or query that does not fit; msgspec's message ends in ``- at `$.field``` if it knows."""
    text, _, place = str(error).partition(" - at `")
    field = place.rstrip("`").removeprefix("$").lstrip(".") if place else ""
    unknown = "unknown field `"
    if not field and unknown in text:
        field = text.partition(unknown)[2].rstrip("`")
    return InvalidInputError(f"{what}: {text}", field=field, remedy="/docs shows what is expected.")
