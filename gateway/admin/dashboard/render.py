"""Templates, filters and what every page shares; turns our errors into pages instead of JSON."""

from __future__ import annotations

import hashlib
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
import msgspec
from starlette.responses import HTMLResponse, Response

from gateway.admin import csrf, tenancy
from gateway.admin.dashboard import wording
from gateway.admin.dashboard.models import incident as incident_model
from gateway.admin.guard import nonce
from gateway.domain.identity import RANK, Role
from gateway.errors import SentinelError, StoreUnavailableError, TooManyAttemptsError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from gateway.admin.auth import Auth
    from gateway.admin.ports import AdminPorts
    from gateway.domain.identity import Actor

    Endpoint = Callable[[Request], Awaitable[Response]]

_HERE = Path(__file__).resolve().parent
STATIC = _HERE / "static"
_COUNT_EVERY_S = 5.0
_MOST_TENANTS = 256
_NAVIGATION = (
    {"name": "Overview", "path": "/dashboard"},
    {"name": "Incidents", "path": "/dashboard/incidents"},
    {"name": "Requests", "path": "/dashboard/requests"},
    {"name": "Upstreams", "path": "/dashboard/upstreams"},
    {"name": "SLOs", "path": "/dashboard/objectives"},
    {"name": "Config", "path": "/dashboard/configuration"},
)
# Objectives and configuration concern every tenant; who is bound to one finds the keys in their place.
_NAVIGATION_OF_TENANTS = (*_NAVIGATION[:-2], {"name": "Keys", "path": "/dashboard/keys"})
_HEADINGS = {
    401: "Please sign in",
    403: "Not allowed",
    404: "Nothing here",
    409: "Too late",
    422: "That does not fit",
    429: "Too many attempts",
    503: "Not available now",
}
# What a page says after a form was sent and the browser came back; the address carries only the key.
_NOTICES = {
    "acknowledged": "You take care of it; nobody is reminded of it any more.",
    "approved": "Approved. The action starts now; the time line shows what becomes of it.",
    "rejected": "Rejected. Nothing was changed.",
    "closed": "Closed. Pending actions lapsed and running ones were taken back.",
    "stopped": "Stopped. Nothing is executed or approved on any node until somebody lets actions run again.",
    "released": "Actions may run again. What was proposed meanwhile waits for a decision.",
    "taken-back": "Taken back. It is as it was within a second.",
    "applied": "Applied. Workers take the new configuration over within a second.",
    "silenced": "Silenced. Nobody is told of what fits until it ends.",
    "unsilenced": "Ended. People are told of what goes on.",
    "revoked": "Revoked. Workers refuse the key within a second.",
}


class Notice(msgspec.Struct, frozen=True):
    """One line on top of a page."""

    text: str
    bad: bool = False


def segment(text: str) -> str:
    """Text as one segment of a path; ids can come from callers."""
    return quote(text, safe="")


def lower_first(text: str) -> str:
    """For a name in the middle of a sentence."""
    return text[:1].lower() + text[1:]


def _fingerprint(folder: Path) -> str:
    """Changes whenever a static file does, so that browsers may keep files for ever."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def environment() -> jinja2.Environment:
    """The template environment: everything escaped, an undefined name is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        action_name=incident_model.name,
        ago=wording.ago,
        clock=wording.clock,
        count=wording.count,
        iso=wording.iso,
        latency=wording.latency,
        lower_first=lower_first,
        plural=wording.plural,
        segment=segment,
        share=wording.share,
        shown=wording.shown,
        size=wording.size,
        span=wording.span,
        time_left=incident_model.time_left_s,
    )
    version = _fingerprint(STATIC)
    made.globals.update(
        asset=lambda name: f"/dashboard/static/{name}?v={version}",
        csrf_name=csrf.FIELD,
        action_states=incident_model.ACTION_STATES,
        incident_states=incident_model.INCIDENT_STATES,
        evidence_kinds=incident_model.EVIDENCE_KINDS,
        detectors=incident_model.DETECTORS,
    )
    return made


class Pages:
    """What every view is handed: the ports, the guard, and ``render``."""

    def __init__(self, ports: AdminPorts, auth: Auth) -> None:
        self.ports = ports
        self.auth = auth
        self._environment = environment()
        self._open: dict[str, tuple[float, str]] = {}  # tenant → (when counted, what the badge says)

    def render(
        self,
        request: Request,
        template: str,
        *,
        here: str = "",
        status: int = 200,
        notice: Notice | None = None,
        **values: Any,
    ) -> HTMLResponse:
        """One page or fragment for a caller that has been proven."""
        actor = self.auth.actor(request)
        if notice is None and (text := _NOTICES.get(request.query_params.get("done", ""))):
            notice = Notice(text=text)
        return self.bare(
            request,
            template,
            status=status,
            actor=actor,
            here=here,
            notice=notice,
            navigation=_NAVIGATION_OF_TENANTS if actor.tenant else _NAVIGATION,
            open_count=self._open.get(actor.tenant, (0, ""))[1],
            stop=self.ports.stop.known,
            may_stop=RANK[actor.role] >= RANK[Role.OPERATOR] and not actor.tenant,
            may_decide=RANK[actor.role] >= RANK[Role.OPERATOR],
            may_edit=RANK[actor.role] >= RANK[Role.ADMIN],
            **values,
        )

    def bare(self, request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A page without the frame: sign-in and set-up."""
        html = self._environment.get_template(template).render(
            now=self.ports.clock(), nonce=nonce(request), csrf=self.auth.csrf_token(request), **values
        )
        return HTMLResponse(html, status)

    def fragment(self, template: str, **values: Any) -> str:
        """A piece of HTML outside a request's answer, such as rows of the live tail."""
        return self._environment.get_template(template).render(now=self.ports.clock(), **values)

    def page(self, role: Role, endpoint: Endpoint) -> Endpoint:
        """A page: readers who are not signed in go to sign-in and back; errors of ours become a page."""

        async def counted(request: Request) -> Response:
            await self._count_open(self.auth.actor(request))
            return await endpoint(request)

        guarded = self.auth.page(role)(counted)

        @wraps(endpoint)
        async def answered(request: Request) -> Response:
            try:
                return await guarded(request)
            except SentinelError as error:
                if error.status >= 500 and not error.retryable:  # noqa: PLR2004 - ours to mend: the guard logs it
                    raise
                return self.problem(request, error)

        return answered

    async def _count_open(self, actor: Actor) -> None:
        """Keep the badge beside "Incidents" true to a few seconds; without the store it stays as it was."""
        now = self.ports.clock()
        if actor.tenant in self._open and abs(now - self._open[actor.tenant][0]) < _COUNT_EVERY_S:
            return
        if len(self._open) >= _MOST_TENANTS:
            self._open.clear()
        try:
            page = await tenancy.own_page(
                actor, lambda cursor: self.ports.incidents.page(state="open", limit=100, cursor=cursor), "", limit=100
            )
        except StoreUnavailableError:
            return
        number = len(page.items)
        self._open[actor.tenant] = (now, f"{number}+" if page.next else str(number or ""))

    def part(self, role: Role, endpoint: Endpoint) -> Endpoint:
        """What a script asks for: 401 instead of a redirect, so that no sign-in form lands inside a page."""
        return self.auth.required(role)(endpoint)

    async def error_page(self, request: Request, error: SentinelError) -> Response:
        """How the application shows an error to a browser under /dashboard, such as an unknown address."""
        return self.problem(request, error)

    def problem(self, request: Request, error: SentinelError) -> HTMLResponse:
        """An error as a page that says what, and how to mend it."""
        headers = {}
        if isinstance(error, TooManyAttemptsError):
            headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
        told: dict[str, Any] = {
            "heading": _HEADINGS.get(error.status, "That did not work"),
            "problem": str(error),
            "remedy": error.remedy,
        }
        try:
            answer = self.render(request, "problem.html", status=error.status, frame="layout.html", **told)
        except UnauthenticatedError:  # a wrong address is told to strangers too, without the frame
            answer = self.bare(request, "problem.html", status=error.status, frame="bare.html", **told)
        answer.headers.update(headers)
        return answer
