"""API keys of callers: list, issue (the text is shown once), revoke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.admin import tenancy
from gateway.admin.api.endpoint import Api, Call, Endpoint, actor_of
from gateway.admin.api.shapes import KeyShape, Listing, PageQuery, Time, listing, time_of
from gateway.domain.identity import Role
from gateway.errors import InvalidInputError, NotFoundError
from gateway.identity import api_keys

if TYPE_CHECKING:
    from gateway.domain.access import ApiKey
    from gateway.domain.identity import Actor
    from gateway.domain.paging import Page

# They become values of forwarded headers and of metrics labels, so only plain characters.
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:@/-]+$")]
MaybeName = Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[A-Za-z0-9._:@/-]*$")]
_PAGE = 500
LONGEST_S = 10 * 365 * 86400


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to issue; an empty ``subject`` becomes its id. It lives until revoked, or to one of the two ends."""

    subject: MaybeName = ""
    tenant: MaybeName = ""
    scopes: Annotated[tuple[Name, ...], msgspec.Meta(max_length=64)] = ()
    expires_at: Time | None = None
    expires_in_s: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_S)] | None = None


class ForeignKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that a caller has already; ``digest`` is the SHA-256 of its text in hexadecimal."""

    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    subject: MaybeName = ""
    tenant: MaybeName = ""
    scopes: Annotated[tuple[Name, ...], msgspec.Meta(max_length=64)] = ()


class ForeignKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys to take over. They live until revoked, or to one of the two ends."""

    keys: Annotated[tuple[ForeignKey, ...], msgspec.Meta(min_length=1, max_length=1000)]
    expires_at: Time | None = None
    expires_in_s: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_S)] | None = None


class ImportedKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What became of them: those that are new, and how many were there before and are as they were."""

    imported: tuple[KeyShape, ...]
    known: int


class IssuedKey(KeyShape, frozen=True, kw_only=True):
    """A new key; ``key`` is its text, which cannot be shown again. Callers send it as ``X-Api-Key``."""

    key: str


async def list_keys(api: Api, call: Call) -> Listing[KeyShape]:
    """API keys, without their secrets."""
    asked: PageQuery = call.query

    async def read(cursor: str) -> Page[ApiKey]:
        return await api.ports.keys.page(limit=asked.limit, cursor=cursor)

    page = await tenancy.own_page(actor_of(api, call), read, asked.cursor, limit=asked.limit)
    return listing(page, KeyShape, show=_shown)


async def issue_key(api: Api, call: Call) -> IssuedKey:
    """Issue an API key; workers know it within a second. Its text is in this answer and nowhere else."""
    body: NewKey = call.body
    tenant = tenancy.settle(actor_of(api, call), body.tenant)
    text, key = api_keys.make(
        tenant=tenant,
        subject=body.subject,
        scopes=frozenset(body.scopes),
        expires_at=_end_of_life(body, api.ports.clock()),
    )
    await api.ports.keys.issue(key)
    call.subject, call.tenant = f"key {key.id}", tenant
    call.detail = {"subject": key.subject, "scopes": " ".join(sorted(key.scopes))}
    return IssuedKey(key=text, **msgspec.structs.asdict(_shown(key)))


async def import_keys(api: Api, call: Call) -> ImportedKeys:
    """Take over API keys of another gateway; workers know them within a second. One known already is left as it is."""
    body: ForeignKeys = call.body
    actor, ends = actor_of(api, call), _end_of_life(body, api.ports.clock())
    given = [
        api_keys.adopt(
            bytes.fromhex(one.digest),
            tenant=tenancy.settle(actor, one.tenant),
            subject=one.subject,
            scopes=frozenset(one.scopes),
            expires_at=ends,
        )
        for one in body.keys
    ]
    new = await api.ports.keys.adopt(given)
    call.subject, call.tenant = "keys", given[0].tenant
    call.detail = {"given": str(len(given)), "ids": " ".join(key.id for key in new)[:500]}
    return ImportedKeys(imported=tuple(_shown(key) for key in new), known=len(given) - len(new))


def _end_of_life(body: NewKey | ForeignKeys, now: float) -> float | None:
    if body.expires_at is not None and body.expires_in_s is not None:
        raise InvalidInputError("give expires_at or expires_in_s, not both", field="expires_in_s")
    if body.expires_in_s is not None:
        return now + body.expires_in_s
    if body.expires_at is None:
        return None
    if body.expires_at.timestamp() <= now:
        raise InvalidInputError("this moment has passed", field="expires_at")
    return body.expires_at.timestamp()


async def revoke_key(api: Api, call: Call) -> None:
    """Revoke an API key; workers refuse it within a second."""
    actor, key_id = actor_of(api, call), call.path("id")
    if actor.tenant:
        await _check_own(api, actor, key_id)
    await api.ports.keys.revoke(key_id)
    call.subject, call.tenant = f"key {key_id}", actor.tenant


async def _check_own(api: Api, actor: Actor, key_id: str) -> None:
    """Raises NotFoundError unless the key is the caller's tenant's."""
    cursor: str | None = ""
    while cursor is not None:
        page = await api.ports.keys.page(limit=_PAGE, cursor=cursor)
        if any(key.id == key_id and tenancy.sees(actor, key) for key in page.items):
            return
        cursor = page.next
    raise NotFoundError(f"there is no key {key_id}")


def _shown(key: ApiKey) -> KeyShape:
    return KeyShape(
        id=key.id,
        tenant=key.tenant,
        subject=key.subject,
        scopes=tuple(sorted(key.scopes)),
        expires_at=None if key.expires_at is None else time_of(key.expires_at),
    )


_TAG = "keys"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/keys",
        handler=list_keys,
        tag=_TAG,
        role=Role.ADMIN,
        query=PageQuery,
        answer=Listing[KeyShape],
    ),
    Endpoint(
        method="POST",
        path="/keys",
        handler=issue_key,
        tag=_TAG,
        role=Role.ADMIN,
        body=NewKey,
        answer=IssuedKey,
        status=201,
        verb="key.issued",
    ),
    Endpoint(
        method="POST",
        path="/keys/import",
        handler=import_keys,
        tag=_TAG,
        role=Role.ADMIN,
        body=ForeignKeys,
        answer=ImportedKeys,
        status=201,
        verb="key.imported",
    ),
    Endpoint(
        method="DELETE",
        path="/keys/{id}",
        handler=revoke_key,
        tag=_TAG,
        role=Role.ADMIN,
        status=204,
        verb="key.revoked",
    ),
)
