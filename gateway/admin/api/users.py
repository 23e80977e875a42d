"""Dashboard users: list, create, change, delete; never without an administrator left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.admin import tenancy
from gateway.admin.api.endpoint import Api, Call, Endpoint, actor_of
from gateway.admin.api.shapes import Listing, PageQuery, UserShape, listing, shown
from gateway.domain.identity import Role
from gateway.errors import ConflictError, ForbiddenError

if TYPE_CHECKING:
    from gateway.domain.identity import User
    from gateway.domain.paging import Page

Text = Annotated[str, msgspec.Meta(max_length=1024)]
Name = Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[A-Za-z0-9._:@/-]*$")]
_PAGE = 500


class NewUser(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user to create; an empty ``tenant`` sees every tenant."""

    email: Text
    password: Text
    role: Role = Role.VIEWER
    tenant: Name = ""


class UserChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change; what is left out stays as it is."""

    role: Role | msgspec.UnsetType = msgspec.UNSET
    tenant: Name | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET
    password: Text | msgspec.UnsetType = msgspec.UNSET


async def list_users(api: Api, call: Call) -> Listing[UserShape]:
    """Dashboard users."""
    asked: PageQuery = call.query

    async def read(cursor: str) -> Page[User]:
        return await api.ports.users.page(limit=asked.limit, cursor=cursor)

    page = await tenancy.own_page(actor_of(api, call), read, asked.cursor, limit=asked.limit)
    return listing(page, UserShape)


async def get_user(api: Api, call: Call) -> UserShape:
    """One dashboard user."""
    return shown(await _own(api, call), UserShape)


async def create_user(api: Api, call: Call) -> UserShape:
    """Create a dashboard user with a first password."""
    body: NewUser = call.body
    tenant = tenancy.settle(actor_of(api, call), body.tenant)
    user = await api.auth.sessions.new_user(body.email, body.password, body.role, tenant)
    if await api.ports.users.by_email(user.email) is not None:
        raise ConflictError(f"there already is a user {user.email}")
    await api.ports.users.save(user)
    call.subject, call.tenant = f"user {user.id}", tenant
    call.detail = {"email": user.email, "role": str(user.role)}
    return shown(user, UserShape)


async def change_user(api: Api, call: Call) -> UserShape:
    """Change role, tenant, password, or disable; a disabled user's sessions end at once."""
    actor = actor_of(api, call)
    async with api.auth.changing_users:
        user = await _own(api, call)
        changes = {
            name: value for name, value in msgspec.structs.asdict(call.body).items() if value is not msgspec.UNSET
        }
        if "tenant" in changes and actor.tenant and changes["tenant"] != actor.tenant:
            raise ForbiddenError(f"you may only act for tenant {actor.tenant}")
        if "password" in changes:
            changes["password_hash"] = await api.auth.sessions.hash(changes.pop("password"), email=user.email)
        changed = msgspec.structs.replace(user, **changes)
        if _governs(user) and not _governs(changed):
            await _check_not_last(api, user)
        await api.ports.users.save(changed)
    call.subject, call.tenant = f"user {user.id}", changed.tenant
    call.detail = {"changed": ", ".join("password" if name == "password_hash" else name for name in sorted(changes))}
    return shown(changed, UserShape)


async def delete_user(api: Api, call: Call) -> None:
    """Delete a dashboard user and their sessions."""
    async with api.auth.changing_users:
        user = await _own(api, call)
        if _governs(user):
            await _check_not_last(api, user)
        await api.ports.users.delete(user.id)
    call.subject, call.tenant, call.detail = f"user {user.id}", user.tenant, {"email": user.email}


async def _own(api: Api, call: Call) -> User:
    user_id = call.path("id")
    user = await api.ports.users.get(user_id)
    return tenancy.own(actor_of(api, call), user, f"user {user_id}")


def _governs(user: User) -> bool:
    return user.role == Role.ADMIN and not user.disabled and not user.tenant


async def _check_not_last(api: Api, user: User) -> None:
    """Raises ConflictError if nobody else could administer the installation."""
    cursor: str | None = ""
    while cursor is not None:
        page = await api.ports.users.page(limit=_PAGE, cursor=cursor)
        if any(_governs(other) and other.id != user.id for other in page.items):
            return
        cursor = page.next
    raise ConflictError(
        f"{user.email} is the last administrator", remedy="Make another administrator first, without a tenant."
    )


_TAG = "users"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/users",
        handler=list_users,
        tag=_TAG,
        role=Role.ADMIN,
        query=PageQuery,
        answer=Listing[UserShape],
    ),
    Endpoint(
        method="POST",
        path="/users",
        handler=create_user,
        tag=_TAG,
        role=Role.ADMIN,
        body=NewUser,
        answer=UserShape,
        status=201,
        verb="user.created",
        errors=(409, 429),
    ),
    Endpoint(method="GET", path="/users/{id}", handler=get_user, tag=_TAG, role=Role.ADMIN, answer=UserShape),
    Endpoint(
        method="PUT",
        path="/users/{id}",
        handler=change_user,
        tag=_TAG,
        role=Role.ADMIN,
        body=UserChange,
        answer=UserShape,
        verb="user.changed",
        errors=(409, 429),
    ),
    Endpoint(
        method="DELETE",
        path="/users/{id}",
        handler=delete_user,
        tag=_TAG,
        role=Role.ADMIN,
        status=204,
        verb="user.deleted",
        errors=(409,),
    ),
)
