"""Runbooks: list, search, read, keep, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.admin.api.endpoint import Api, Call, Endpoint
from gateway.admin.api.shapes import Listing, Time, time_of
from gateway.domain.identity import Role

if TYPE_CHECKING:
    from gateway.domain.runbook import Match, Runbook

# A path parameter and the name of a file: the same alphabet as the folder's.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9][a-z0-9-]*$")]


class RunbookQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which runbooks: with ``q`` the ten that fit these words best, else all in pages, the latest change first."""

    q: Annotated[str, msgspec.Meta(max_length=200)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    cursor: str = ""


class NewRunbook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A runbook as Markdown with its front matter; one of the same id is replaced."""

    id: Id
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=64_000)]


class RunbookRow(msgspec.Struct, frozen=True, kw_only=True):
    """A runbook as lists show it. One that could not be read has ``error`` and ``line``; ``words`` are those found."""

    id: str
    title: str
    services: tuple[str, ...]
    signals: tuple[str, ...]
    actions: tuple[str, ...]
    source: str
    updated_at: Time
    error: str
    line: int
    words: tuple[str, ...] = ()


class RunbookShape(RunbookRow, frozen=True, kw_only=True):
    """A runbook whole."""

    body: str


async def list_runbooks(api: Api, call: Call) -> Listing[RunbookRow]:
    """Runbooks, and those that could not be read with the line that is wrong."""
    asked: RunbookQuery = call.query
    if asked.q:
        return Listing(items=tuple(_found(one) for one in await api.ports.runbooks.search(asked.q)))
    page = await api.ports.runbooks.page(limit=asked.limit, cursor=asked.cursor)
    return Listing(items=tuple(_row(one) for one in page.items), next=page.next)


async def get_runbook(api: Api, call: Call) -> RunbookShape:
    """One runbook whole."""
    return _whole(await api.ports.runbooks.get(call.path("id")))


async def add_runbook(api: Api, call: Call) -> RunbookShape:
    """Keep a runbook. 422 names the line that is wrong; 409 where a file has that name."""
    body: NewRunbook = call.body
    call.subject = f"runbook {body.id}"
    return _whole(await api.ports.runbooks.add(body.id, body.text))


async def delete_runbook(api: Api, call: Call) -> None:
    """Delete a runbook. 409 for one that comes out of a file."""
    runbook_id = call.path("id")
    await api.ports.runbooks.delete(runbook_id)
    call.subject = f"runbook {runbook_id}"


def _row(one: Runbook, words: tuple[str, ...] = ()) -> RunbookRow:
    return RunbookRow(
        id=one.id,
        title=one.title,
        services=one.services,
        signals=one.signals,
        actions=one.actions,
        source=one.source,
        updated_at=time_of(one.updated_at),
        error=one.error,
        line=one.line,
        words=words,
    )


def _found(match: Match) -> RunbookRow:
    return _row(match.runbook, match.words)


def _whole(one: Runbook) -> RunbookShape:
    return RunbookShape(**msgspec.structs.asdict(_row(one)), body=one.body)


_TAG = "runbooks"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/runbooks",
        handler=list_runbooks,
        tag=_TAG,
        role=Role.VIEWER,
        staff=True,
        query=RunbookQuery,
        answer=Listing[RunbookRow],
    ),
    Endpoint(
        method="GET",
        path="/runbooks/{id}",
        handler=get_runbook,
        tag=_TAG,
        role=Role.VIEWER,
        staff=True,
        answer=RunbookShape,
    ),
    Endpoint(
        method="POST",
        path="/runbooks",
        handler=add_runbook,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        body=NewRunbook,
        answer=RunbookShape,
        status=201,
        verb="runbook.kept",
        errors=(409,),
    ),
    Endpoint(
        method="DELETE",
        path="/runbooks/{id}",
        handler=delete_runbook,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        status=204,
        verb="runbook.deleted",
        errors=(409,),
    ),
)
