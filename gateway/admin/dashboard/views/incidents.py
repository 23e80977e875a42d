"""Incidents: the list, the page of one, its chart and export, and the decisions a person takes there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.admin import tenancy
from gateway.admin.dashboard.models import chart as chart_model
from gateway.admin.dashboard.models import incident as model
from gateway.admin.dashboard.models.markdown import export
from gateway.admin.dashboard.render import Notice, segment
from gateway.admin.dashboard.views.around import around, knows_seconds
from gateway.domain.identity import Role
from gateway.domain.incident import IncidentState, Severity
from gateway.domain.plan import ActionState
from gateway.domain.window import COARSE_S
from gateway.errors import ConflictError, NotFoundError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages
    from gateway.domain.audit import ConfigRevision
    from gateway.domain.deploy import Deploy
    from gateway.domain.identity import Actor
    from gateway.domain.incident import Incident

PAGE_SIZE = 50
LONGEST_REASON = 300
_LIST = "/dashboard/incidents"


class Changed(NamedTuple):
    """What was changed around an incident; ``note`` says why it is not known."""

    revisions: Sequence[ConfigRevision] = ()
    deploys: Sequence[Deploy] = ()
    note: str = ""


class Incidents:
    """``/dashboard/incidents`` and everything below it."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._ports = pages.ports

    def routes(self) -> list[BaseRoute]:
        """The export stands before the page, whose pattern would take it."""
        page, part = self._pages.page, self._pages.part
        one = f"{_LIST}/{{incident_id}}"
        return [
            Route(_LIST, page(Role.VIEWER, self.all), methods=["GET"]),
            Route(f"{one}.md", page(Role.VIEWER, self.markdown), methods=["GET"]),
            Route(one, page(Role.VIEWER, self.one), methods=["GET"]),
            Route(f"{one}/pulse", part(Role.VIEWER, self.pulse), methods=["GET"]),
            Route(f"{one}/chart.json", part(Role.VIEWER, self.chart), methods=["GET"]),
            Route(f"{one}/acknowledge", page(Role.OPERATOR, self.acknowledge), methods=["POST"]),
            Route(f"{one}/close", page(Role.OPERATOR, self.close), methods=["POST"]),
            Route(f"{one}/actions/{{action_id}}/approve", page(Role.OPERATOR, self.approve), methods=["POST"]),
            Route(f"{one}/actions/{{action_id}}/reject", page(Role.OPERATOR, self.reject), methods=["POST"]),
            Route(f"{one}/actions/{{action_id}}/take-back", page(Role.OPERATOR, self.take_back), methods=["POST"]),
        ]

    async def all(self, request: Request) -> Response:
        """The list; its filter stands in the address."""
        actor, asked = self._pages.auth.actor(request), request.query_params
        state = asked.get("state", "") if asked.get("state", "") in {"open", *IncidentState} else ""
        severity = asked.get("severity", "") if asked.get("severity", "") in set(Severity) else ""
        page = await tenancy.own_page(
            actor,
            lambda cursor: self._ports.incidents.page(state=state, severity=severity, limit=PAGE_SIZE, cursor=cursor),
            asked.get("cursor", ""),
            limit=PAGE_SIZE,
        )
        kept = {"state": state, "severity": severity, "cursor": page.next or ""}
        return self._pages.render(
            request,
            "incidents.html",
            here="Incidents",
            page=page,
            state=state,
            severity_wanted=severity,
            states=list(IncidentState),
            severities=list(Severity),
            next_link=f"{_LIST}?{urlencode({name: value for name, value in kept.items() if value})}",
        )

    async def one(self, request: Request) -> Response:
        """The page of one incident."""
        return await self._show(request, await self._own(request))

    async def pulse(self, request: Request) -> Response:
        """204 either way; when the incident has moved on, the header tells the page's script."""
        incident = await self._own(request)
        changed = request.query_params.get("version", "") != str(incident.version)
        return Response(status_code=204, headers={"HX-Trigger": "incident-changed"} if changed else {})

    async def chart(self, request: Request) -> Response:
        """The chart's figures, for an incident that goes on."""
        actor, incident = self._pages.auth.actor(request), await self._own(request)
        drawn, _ = await self._chart(actor, incident)
        return Response(msgspec.json.encode(drawn), media_type="application/json")

    async def markdown(self, request: Request) -> Response:
        """The incident as Markdown."""
        actor, incident = self._pages.auth.actor(request), await self._own(request)
        now = self._ports.clock()
        text = export(incident, model.headline(incident, self._hurt(actor, incident, now), now))
        name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in incident.id[:80])
        return Response(
            text,
            media_type="text/markdown; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="incident-{name}.md"'},
        )

    async def approve(self, request: Request) -> Response:
        """Run a pending action."""
        shown = (await self._pages.auth.form(request)).get("fingerprint", "")
        return await self._decide(
            request, "approved", lambda action_id, actor: self._ports.decisions.approve(action_id, actor, shown)
        )

    async def reject(self, request: Request) -> Response:
        """Decline a pending action."""
        reason = (await self._pages.auth.form(request)).get("reason", "").strip()[:LONGEST_REASON]
        return await self._decide(
            request, "rejected", lambda action_id, actor: self._ports.decisions.reject(action_id, actor, reason)
        )

    async def take_back(self, request: Request) -> Response:
        """Take an action that is in force back."""
        return await self._decide(
            request, "taken-back", lambda action_id, actor: self._ports.decisions.take_back(action_id, actor, "")
        )

    async def acknowledge(self, request: Request) -> Response:
        """Take care of it: reminders end."""
        actor, incident = self._pages.auth.actor(request), await self._own(request)
        try:
            await self._ports.decisions.acknowledge(incident.id, actor)
        except ConflictError as error:
            return await self._show(request, await self._own(request), str(error), status=409)
        return RedirectResponse(f"{_LIST}/{segment(incident.id)}?done=acknowledged", 303)

    async def close(self, request: Request) -> Response:
        """Close by hand; a reason is asked for, because the next reader will want it."""
        actor, incident = self._pages.auth.actor(request), await self._own(request)
        reason = (await self._pages.auth.form(request)).get("reason", "").strip()[:LONGEST_REASON]
        if not reason:
            return await self._show(request, incident, "Say why it is closed; nothing was changed.", status=422)
        try:
            await self._ports.decisions.close(incident.id, actor, reason)
        except ConflictError as error:
            return await self._show(request, await self._own(request), str(error), status=409)
        return RedirectResponse(f"{_LIST}/{segment(incident.id)}?done=closed", 303)

    async def _decide(self, request: Request, done: str, decide: Callable[[str, Actor], Awaitable[object]]) -> Response:
        actor, incident = self._pages.auth.actor(request), await self._own(request)
        action_id = request.path_params["action_id"]
        if all(action.id != action_id for action in incident.actions):
            raise NotFoundError(f"incident {incident.id} has no action {action_id}")
        try:
            await decide(action_id, actor)
        except ConflictError as error:  # somebody was first, or it lapsed: show the state as it is now
            return await self._show(request, await self._own(request), str(error), status=409)
        return RedirectResponse(f"{_LIST}/{segment(incident.id)}?done={done}", 303)

    async def _own(self, request: Request) -> Incident:
        incident_id = request.path_params["incident_id"]
        found = await self._ports.incidents.get(incident_id)
        return tenancy.own(self._pages.auth.actor(request), found, f"incident {incident_id}")

    async def _show(self, request: Request, incident: Incident, problem: str = "", status: int = 200) -> Response:
        actor, now = self._pages.auth.actor(request), self._ports.clock()
        changed = await self._changed(actor, incident)
        drawn, note = await self._chart(actor, incident, changed)
        values: dict[str, Any] = {
            "incident": incident,
            "closed": incident.state is IncidentState.CLOSED,
            "headline": model.headline(incident, self._hurt(actor, incident, now), now),
            "diagnosis": incident.diagnosis,
            "cost": model.cost(incident.diagnosis) if incident.diagnosis else "",
            "noticed": [(anomaly, model.measured(anomaly)) for anomaly in incident.anomalies],
            "pending": model.pending(incident),
            "decided": [action for action in incident.actions if action.state is not ActionState.PENDING],
            "timeline": model.timeline(incident, changed.revisions, changed.deploys, chart_model.span(incident, now)),
            "chart": drawn,
            "chart_place": chart_model.surroundings(incident.place),
            "chart_json": msgspec.json.encode(drawn).decode(),
            "chart_note": note,
            "here_path": f"{_LIST}/{segment(incident.id)}",
        }
        notice = Notice(text=problem, bad=True) if problem else None
        return self._pages.render(request, "incident.html", here="Incidents", notice=notice, status=status, **values)

    async def _chart(
        self, actor: Actor, incident: Incident, changed: Changed | None = None
    ) -> tuple[chart_model.Chart, str]:
        now = self._ports.clock()
        traffic = await around(self._ports, incident, actor, now)
        changed = changed or await self._changed(actor, incident)
        drawn = chart_model.chart(incident, traffic.series, traffic.step_s, changed.revisions, now, changed.deploys)
        return drawn, traffic.note or changed.note

    async def _changed(self, actor: Actor, incident: Incident) -> Changed:
        """What was changed around the incident; nothing for users of one tenant."""
        if actor.tenant:
            return Changed()
        span = chart_model.span(incident, self._ports.clock())
        try:
            return Changed(
                await self._ports.configuration.history(limit=20),
                await self._ports.deploys.between(span.start, span.end),
            )
        except StoreUnavailableError as error:
            return Changed(note=f"{error}; revisions and deploys are not marked")

    def _hurt(self, actor: Actor, incident: Incident, now: float) -> tuple[model.Hurt, ...]:
        """Who was hurt, as far as memory reaches back; nothing is better than a part that looks like the whole."""
        window = self._ports.window
        if window.started_at is None or window.started_at > incident.onset:
            return ()
        where = chart_model.at_place(chart_model.surroundings(incident.place), actor.tenant)
        end = incident.closed_at or now
        minutes = not knows_seconds(window, incident.onset, end, now)
        start = incident.onset // COARSE_S * COARSE_S if minutes else incident.onset  # a cell counts by its beginning
        sums = window.sums(start, end, by=("tenant",), where=where, minutes=minutes)
        return model.hurt_by_tenant(sums, incident.signal)
