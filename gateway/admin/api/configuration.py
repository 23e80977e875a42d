"""The configuration in force, its history, a dry run, and applying another."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec

from gateway.admin.api.endpoint import Api, Call, Endpoint, actor_of
from gateway.admin.api.shapes import Listing, RevisionShape, shown
from gateway.domain.identity import Role

Toml = Annotated[str, msgspec.Meta(max_length=512 * 1024)]
Note = Annotated[str, msgspec.Meta(max_length=500)]


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many revisions, newest first."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50


class Candidate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text of a sentinel.toml."""

    text: Toml


class Application(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text of a sentinel.toml, and a word on why."""

    text: Toml
    note: Note = ""


class DiffQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which earlier revision; 0 is the one in force."""

    revision: Annotated[int, msgspec.Meta(ge=0)] = 0


class Rollback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which revision to go back to, and a word on why."""

    revision: Annotated[int, msgspec.Meta(ge=1)]
    note: Note = ""


class Difference(msgspec.Struct, frozen=True):
    """What would change; with problems it cannot be applied at all, and ``restart`` names keys that want a restart."""

    good: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: tuple[str, ...]
    restart: tuple[str, ...]
    unified: str


class InForce(msgspec.Struct, frozen=True):
    """The configuration in force."""

    revision: int
    text: str


class Verdict(msgspec.Struct, frozen=True):
    """What a dry run found; every problem names file, line and column."""

    good: bool
    problems: tuple[str, ...]


async def get_configuration(api: Api, call: Call) -> InForce:  # noqa: ARG001 - every handler takes both
    """The configuration in force."""
    return InForce(revision=api.ports.snapshot().revision, text=api.ports.configuration.text())


async def list_revisions(api: Api, call: Call) -> Listing[RevisionShape]:
    """Configurations that were in force, newest first."""
    revisions = await api.ports.configuration.history(limit=call.query.limit)
    return Listing(items=tuple(shown(revision, RevisionShape) for revision in revisions))


async def check_configuration(api: Api, call: Call) -> Verdict:
    """Check a configuration without applying it: every problem with file, line and column."""
    problems = tuple(await asyncio.to_thread(api.ports.configuration.check, call.body.text))
    return Verdict(good=not problems, problems=problems)


async def diff_configuration(api: Api, call: Call) -> Difference:
    """What applying a configuration would change; nothing is changed."""
    return await _difference(api, call.body.text)


async def diff_revision(api: Api, call: Call) -> Difference:
    """What going back to an earlier revision would change; nothing is changed."""
    number = call.query.revision
    if not number:
        return await _difference(api, api.ports.configuration.text())
    return await _difference(api, (await api.ports.configuration.revision(number)).text)


async def _difference(api: Api, text: str) -> Difference:
    found = await api.ports.configuration.difference(text)
    return Difference(
        good=not found.problems,
        problems=found.problems,
        warnings=found.warnings,
        changes=found.changes,
        restart=found.restart,
        unified=found.unified,
    )


async def rollback_configuration(api: Api, call: Call) -> RevisionShape:
    """Put an earlier configuration in force again, as a new revision; one that no longer checks changes nothing."""
    made = await api.ports.configuration.rollback(call.body.revision, actor_of(api, call), call.body.note)
    return shown(made, RevisionShape)


async def apply_configuration(api: Api, call: Call) -> RevisionShape:
    """Apply a configuration to every worker as a new revision; a bad one changes nothing."""
    made = await api.ports.configuration.apply(call.body.text, actor_of(api, call), call.body.note)
    return shown(made, RevisionShape)


_TAG = "configuration"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/config",
        handler=get_configuration,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        answer=InForce,
    ),
    Endpoint(
        method="GET",
        path="/config/history",
        handler=list_revisions,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        query=HistoryQuery,
        answer=Listing[RevisionShape],
    ),
    Endpoint(
        method="POST",
        path="/config/check",
        handler=check_configuration,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        body=Candidate,
        answer=Verdict,
    ),
    Endpoint(
        method="GET",
        path="/config/diff",
        handler=diff_revision,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        query=DiffQuery,
        answer=Difference,
        errors=(404,),
    ),
    Endpoint(
        method="POST",
        path="/config/diff",
        handler=diff_configuration,
        tag=_TAG,
        role=Role.OPERATOR,
        staff=True,
        body=Candidate,
        answer=Difference,
    ),
    Endpoint(
        method="POST",
        path="/config/rollback",
        handler=rollback_configuration,
        tag=_TAG,
        role=Role.ADMIN,
        staff=True,
        body=Rollback,
        answer=RevisionShape,
        errors=(404, 409),
    ),
    Endpoint(
        method="POST",
        path="/config/apply",
        handler=apply_configuration,
        tag=_TAG,
        role=Role.ADMIN,
        staff=True,
        body=Application,
        answer=RevisionShape,
        errors=(409,),
    ),
)
