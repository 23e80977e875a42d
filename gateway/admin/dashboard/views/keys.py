"""API keys of callers: the list, making one (its text is shown once), and revoking one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from starlette.responses import RedirectResponse
from starlette.routing import Route

from gateway.admin import audited, tenancy
from gateway.admin.api.keys import Name
from gateway.admin.dashboard.render import Notice
from gateway.domain.audit import AuditEntry
from gateway.domain.identity import Role
from gateway.errors import InvalidInputError, NotFoundError
from gateway.identity import api_keys

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages
    from gateway.domain.identity import Actor

PAGE_SIZE = 100
MOST_SCOPES = 32
MOST_DAYS = 3650
_DAY_S = 86_400.0
_PATH = "/dashboard/keys"
_FIELDS = ("tenant", "subject", "scopes", "days")


def expiry(days: str, now: float) -> float | None:
    """When a key made now ends; empty means never.

    Raises:
        InvalidInputError: not a whole number of days in 1..3650.
    """
    if not days:
        return None
    if not (days.isascii() and days.isdecimal() and len(days) <= 4 and 1 <= int(days) <= MOST_DAYS):  # noqa: PLR2004 - digits
        raise InvalidInputError(f"write a whole number of days from 1 to {MOST_DAYS}, or leave it empty", field="days")
    return now + int(days) * _DAY_S


def named(text: str, field: str) -> str:
    """A name by the same rule as the API's.

    Raises:
        InvalidInputError: empty, too long, or with characters that cannot stand in a forwarded header.
    """
    try:
        return msgspec.convert(text, Name)
    except msgspec.ValidationError as error:
        allowed = "1 to 128 letters, digits and . _ : @ / -"
        raise InvalidInputError(f"{field}: write {allowed}", field=field) from error


def scopes_of(text: str) -> frozenset[str]:
    """Scopes as typed, with spaces between. Raises InvalidInputError."""
    scopes = frozenset(named(scope, "scopes") for scope in text.split())
    if len(scopes) > MOST_SCOPES:
        raise InvalidInputError(f"at most {MOST_SCOPES} scopes", field="scopes")
    return scopes


class Keys:
    """``/dashboard/keys``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._ports = pages.ports

    def routes(self) -> list[BaseRoute]:
        """Everyone may look; only an administrator may make and revoke."""
        return [
            Route(_PATH, self._pages.page(Role.VIEWER, self.page), methods=["GET"]),
            Route(_PATH, self._pages.page(Role.ADMIN, self.make), methods=["POST"]),
            Route(f"{_PATH}/{{key_id}}/revoke", self._pages.page(Role.ADMIN, self.revoke), methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        """The list."""
        return await self._show(request)

    async def make(self, request: Request) -> Response:
        """A new key; this answer is the only place its text ever appears."""
        actor = self._pages.auth.actor(request)
        fields = await self._pages.auth.form(request)
        typed = {name: fields.get(name, "").strip() for name in _FIELDS}
        try:
            tenant = named(tenancy.settle(actor, typed["tenant"]), "tenant")
            text, key = api_keys.make(
                tenant=tenant,
                subject=named(typed["subject"], "subject"),
                scopes=scopes_of(typed["scopes"]),
                expires_at=expiry(typed["days"], self._ports.clock()),
            )
        except InvalidInputError as error:
            return await self._show(request, typed=typed, notice=Notice(text=str(error), bad=True), status=422)
        await self._ports.keys.issue(key)
        await self._note(actor, "key.issued", key.id, tenant)
        return await self._show(request, made=text)

    async def revoke(self, request: Request) -> Response:
        """End a key."""
        actor, key_id = self._pages.auth.actor(request), request.path_params["key_id"]
        tenant = await self._tenant_of(actor, key_id)
        await self._ports.keys.revoke(key_id)
        await self._note(actor, "key.revoked", key_id, tenant)
        return RedirectResponse(f"{_PATH}?done=revoked", 303)

    async def _tenant_of(self, actor: Actor, key_id: str) -> str:
        """The key's tenant, if the caller may see the key. Raises NotFoundError."""
        cursor = ""
        while True:
            page = await self._ports.keys.page(limit=500, cursor=cursor)
            for key in page.items:
                if key.id == key_id:
                    return tenancy.own(actor, key, f"key {key_id}").tenant
            if page.next is None:
                raise NotFoundError(f"there is no key {key_id}")
            cursor = page.next

    async def _note(self, actor: Actor, verb: str, key_id: str, tenant: str) -> None:
        entry = AuditEntry(
            at=self._ports.clock(),
            actor=audited.name_of(actor),
            verb=verb,
            subject=f"key {key_id}",
            tenant=tenant,
        )
        await audited.write(self._ports.audit, entry)

    async def _show(
        self,
        request: Request,
        *,
        made: str = "",
        typed: dict[str, str] | None = None,
        notice: Notice | None = None,
        status: int = 200,
    ) -> Response:
        actor = self._pages.auth.actor(request)
        page = await tenancy.own_page(
            actor,
            lambda cursor: self._ports.keys.page(limit=PAGE_SIZE, cursor=cursor),
            request.query_params.get("cursor", "") if request.method == "GET" else "",
            limit=PAGE_SIZE,
        )
        values: dict[str, Any] = {
            "page": page,
            "made": made,
            "typed": typed or dict.fromkeys(_FIELDS, ""),
            "next_link": f"{_PATH}?cursor={quote(page.next or '')}",
        }
        return self._pages.render(
            request, "keys.html", here="Keys" if actor.tenant else "Config", notice=notice, status=status, **values
        )
