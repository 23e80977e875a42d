"""What was promised and how it stands, and what people are not told of: silences and maintenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import RedirectResponse
from starlette.routing import Route

from gateway.admin import audited, tenancy
from gateway.admin.api.silences import detail_of, new_silence, state_of
from gateway.admin.dashboard.render import Notice
from gateway.domain.audit import AuditEntry
from gateway.domain.identity import Role
from gateway.domain.incident import Severity
from gateway.domain.objectives import ADVICE
from gateway.domain.silence import Matcher
from gateway.errors import InvalidInputError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages
    from gateway.domain.silence import Silence

PAGE_SIZE = 100
_PATH = "/dashboard/objectives"
_SILENCES = "/dashboard/silences"
_FIELDS = ("route", "upstream", "target", "severities", "hours", "why")
_LENGTH = {"why": 500}
_MOST_HOURS = 744
_HOUR_S = 3600.0


def hours_of(text: str) -> float:
    """How long, in seconds. Raises InvalidInputError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= _MOST_HOURS):  # noqa: PLR2004 - digits
        raise InvalidInputError(f"write a whole number of hours from 1 to {_MOST_HOURS}", field="hours")
    return int(text) * _HOUR_S


def severities_of(text: str) -> tuple[Severity, ...]:
    """Severities as typed, with spaces or commas between. Raises InvalidInputError."""
    try:
        return tuple(Severity(word) for word in text.upper().replace(",", " ").split())
    except ValueError as error:
        raise InvalidInputError("severities are P1, P2, P3 and P4", field="severities") from error


def _made(typed: dict[str, str], who: str, now: float) -> Silence:
    """The silence that was typed. Raises InvalidInputError."""
    if not typed["why"]:
        raise InvalidInputError("say why, for those who wonder at three in the morning", field="why")
    return new_silence(
        Matcher(
            route=typed["route"],
            upstream=typed["upstream"],
            target=typed["target"],
            severities=severities_of(typed["severities"]),
        ),
        starts_at=now,
        ends_at=now + hours_of(typed["hours"]),
        who=who,
        why=typed["why"],
        now=now,
    )


class Objectives:
    """``/dashboard/objectives`` and ``/dashboard/silences``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._ports = pages.ports

    def routes(self) -> list[BaseRoute]:
        """Everyone without a tenant may look; operators silence."""
        return [
            Route(_PATH, self._pages.page(Role.VIEWER, self.page), methods=["GET"]),
            Route(_SILENCES, self._pages.page(Role.OPERATOR, self.silence), methods=["POST"]),
            Route(f"{_SILENCES}/{{silence_id}}/end", self._pages.page(Role.OPERATOR, self.end), methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        """Objectives with their budgets; silences and maintenance below."""
        return await self._show(request)

    async def silence(self, request: Request) -> Response:
        """Make a silence."""
        actor = self._pages.auth.actor(request)
        tenancy.staff_only(actor)
        fields = await self._pages.auth.form(request)
        typed = {name: fields.get(name, "").strip()[: _LENGTH.get(name, 256)] for name in _FIELDS}
        try:
            made = _made(typed, audited.name_of(actor), self._ports.clock())
        except InvalidInputError as error:
            return await self._show(request, typed=typed, notice=Notice(text=str(error), bad=True), status=422)
        await self._ports.silences.add(made)
        await self._note(request, "silence.made", made)
        return RedirectResponse(f"{_PATH}?done=silenced#silences", 303)

    async def end(self, request: Request) -> Response:
        """End a silence at once."""
        tenancy.staff_only(self._pages.auth.actor(request))
        await self._note(request, "silence.ended", await self._ports.silences.end(request.path_params["silence_id"]))
        return RedirectResponse(f"{_PATH}?done=unsilenced#silences", 303)

    async def _note(self, request: Request, verb: str, silence: Silence) -> None:
        entry = AuditEntry(
            at=self._ports.clock(),
            actor=audited.name_of(self._pages.auth.actor(request)),
            verb=verb,
            subject=f"silence {silence.id}",
            detail=detail_of(silence),
        )
        await audited.write(self._ports.audit, entry)

    async def _show(
        self,
        request: Request,
        *,
        typed: dict[str, str] | None = None,
        notice: Notice | None = None,
        status: int = 200,
    ) -> Response:
        tenancy.staff_only(self._pages.auth.actor(request))
        now = self._ports.clock()
        page = await self._ports.silences.page(limit=PAGE_SIZE)
        values: dict[str, Any] = {
            "objectives": self._ports.objectives(),
            "advice": ADVICE,
            "silences": [(one, state_of(one, now)) for one in page.items],
            "planned": [(one, one.hours.contain(now)) for one in self._ports.silences.planned()],
            "typed": typed or {**dict.fromkeys(_FIELDS, ""), "hours": "2"},
            "days": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
        }
        return self._pages.render(request, "objectives.html", here="SLOs", notice=notice, status=status, **values)
