"""Which rows a caller may see: a user with a tenant sees that tenant's alone, and every endpoint asks here."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from gateway.domain.paging import Page
from gateway.errors import ForbiddenError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.domain.access import ApiKey
    from gateway.domain.audit import AuditEntry
    from gateway.domain.identity import Actor, User
    from gateway.domain.incident import Incident
    from gateway.domain.paging import RequestFilter
    from gateway.domain.traffic import BucketKey, RequestRecord, SeriesKey
    from gateway.notify.message import Message

    Owned = Incident | Message | RequestRecord | ApiKey | AuditEntry | User | BucketKey | SeriesKey

T = TypeVar("T", bound="Owned")
_MOST_PAGES = 20  # read for one answer; what lies further back comes with the cursor


def sees(actor: Actor, row: Owned) -> bool:
    """Whether this row belongs to the caller's tenant; staff (no tenant) sees every row."""
    return not actor.tenant or row.tenant == actor.tenant


def own(actor: Actor, row: T, what: str) -> T:
    """The row, if the caller may see it.

    Raises:
        NotFoundError: the same answer as for a row that does not exist, so that ids cannot be probed.
    """
    if not sees(actor, row):
        raise NotFoundError(f"there is no {what}")
    return row


async def own_page(actor: Actor, read: Callable[[str], Awaitable[Page[T]]], cursor: str, *, limit: int) -> Page[T]:
    """The caller's rows out of a list kept for everybody.

    Args:
        actor: whose rows.
        read: gives the page at a cursor.
        cursor: where to begin.
        limit: reading stops once so many were found; an answer may be up to a page longer, or shorter with a cursor.
    """
    page = await read(cursor)
    if not actor.tenant:
        return page
    kept = [row for row in page.items if sees(actor, row)]
    for _ in range(_MOST_PAGES - 1):
        if page.next is None or len(kept) >= limit:
            break
        page = await read(page.next)
        kept += [row for row in page.items if sees(actor, row)]
    return Page(items=tuple(kept), next=page.next)


def own_filter(actor: Actor, wanted: RequestFilter) -> RequestFilter:
    """The same search, narrowed to the caller's tenant whatever it asked for."""
    return msgspec.structs.replace(wanted, tenant=actor.tenant) if actor.tenant else wanted


def own_series(actor: Actor) -> Callable[[SeriesKey], bool] | None:
    """A condition for Window reads; None for staff."""
    return (lambda key: sees(actor, key)) if actor.tenant else None


def settle(actor: Actor, asked: str) -> str:
    """The tenant something new will belong to.

    Raises:
        ForbiddenError: another tenant than the caller's own.
    """
    if actor.tenant and asked not in {"", actor.tenant}:
        raise ForbiddenError(f"you may only act for tenant {actor.tenant}")
    return actor.tenant or asked


def staff_only(actor: Actor) -> None:
    """Refuse users of one tenant what concerns the whole installation. Raises ForbiddenError."""
    if actor.tenant:
        raise ForbiddenError("this concerns every tenant; only users without a tenant may do it")
