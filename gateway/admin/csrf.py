"""Whether a request that changes something was really made by a page of ours.

Two checks, both needed where a cookie is the proof of identity: where the browser says the request comes from, and a
token only our own pages can know. A bearer token is never sent by a browser unasked, so it needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from gateway.errors import ForbiddenError, InvalidInputError
from gateway.identity.tokens import csrf_matches

if TYPE_CHECKING:
    from starlette.requests import Request

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEADER = "x-csrf-token"
FIELD = "csrf_token"
_MOST_FIELDS = 100


def check_origin(request: Request, *, missing_ok: bool) -> None:
    """Refuse what another site caused.

    Args:
        request: its Sec-Fetch-Site is believed first (a browser sets it, a page cannot), else its Origin against Host.
        missing_ok: whether a request with neither passes; programs send neither, every current browser sends one.

    Raises:
        ForbiddenError: another site, or not said.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site == "same-origin":
            return
    else:
        origin = request.headers.get("origin")
        if origin is None and missing_ok:
            return
        if origin is not None and urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower() != "":
            return
    raise ForbiddenError(
        "this request was not made by a page of this dashboard", remedy="Open the dashboard and try again there."
    )


async def check_token(request: Request, session_token: str) -> None:
    """Refuse a request that carries no form token of this session, in ``X-CSRF-Token`` or the form's ``csrf_token``.

    Raises:
        ForbiddenError: the token is missing or belongs to another session.
    """
    given = request.headers.get(HEADER) or (await form(request)).get(FIELD, "")
    if not csrf_matches(session_token, given):
        raise ForbiddenError("the form's token is missing or old", remedy="Reload the page and try again.")


async def form(request: Request) -> dict[str, str]:
    """The fields of an ``application/x-www-form-urlencoded`` body, empty for any other kind; a repeated field's last.

    Raises:
        InvalidInputError: not UTF-8, or more than 100 fields.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    try:
        text = (await request.body()).decode("utf-8")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError as error:
        raise InvalidInputError("the form cannot be read", remedy="Reload the page and try again.") from error
