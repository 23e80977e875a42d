"""The configuration in force and its history; checking, applying and rolling back a text; the audit trail."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from starlette.responses import RedirectResponse
from starlette.routing import Route

from gateway.admin import tenancy
from gateway.domain.identity import Role
from gateway.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from gateway.admin.dashboard.render import Pages
    from gateway.domain.audit import ConfigRevision

HISTORY = 50
LONGEST_NOTE = 200
MOST_DIFF_LINES = 400
_AUDIT_PAGE = 50
_PATH = "/dashboard/configuration"
_ROWS_SHOWN = (12, 32)  # least and most lines of the editor


def diff(old: str, new: str) -> tuple[tuple[str, str], ...]:
    """Changed lines with three lines around them, each with the class that colours it: add, del, or none."""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=3))[2:]
    kinds = {"+": "add", "-": "del"}
    shown = [(kinds.get(line[:1], ""), line) for line in lines[:MOST_DIFF_LINES]]
    if len(lines) > MOST_DIFF_LINES:
        shown.append(("", f"… {len(lines) - MOST_DIFF_LINES} more lines"))
    return tuple(shown)


def numbered(text: str, default: int = -1) -> int:
    """A revision number out of an address; anything else is the default."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else default  # noqa: PLR2004 - 32 bits


class Configuration:
    """``/dashboard/configuration`` and ``/dashboard/audit``; both concern the whole installation."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._configuration = pages.ports.configuration

    def routes(self) -> list[BaseRoute]:
        """Everyone of the operator's staff may read; only an administrator may change."""
        return [
            Route(_PATH, self._pages.page(Role.VIEWER, self.page), methods=["GET"]),
            Route(_PATH, self._pages.page(Role.ADMIN, self.change), methods=["POST"]),
            Route("/dashboard/audit", self._pages.page(Role.VIEWER, self.audit), methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """In force; with ``?revision=`` what that one changed, with ``?edit=`` its text ready to apply again."""
        tenancy.staff_only(self._pages.auth.actor(request))
        history = await self._configuration.history(limit=HISTORY)
        asked = request.query_params
        values: dict[str, Any] = {"text": self._configuration.text(), "text_title": "the text in force"}
        if "revision" in asked:
            new, old = self._pair(history, numbered(asked["revision"]))
            title = f"What revision {new.revision} changed"
            values |= {"diff": diff(old, new.text), "diff_title": title, "viewed": new.revision}
        elif "edit" in asked:
            new, _ = self._pair(history, numbered(asked["edit"]))
            values |= {
                "text": new.text,
                "text_title": f"the text of revision {new.revision}, not in force",
                "note": f"back to revision {new.revision}",
                "diff": diff(self._configuration.text(), new.text),
                "diff_title": "What applying it would change",
            }
        return self._show(request, history, values)

    async def change(self, request: Request) -> Response:
        """Check a text, or check and apply it."""
        actor = self._pages.auth.actor(request)
        tenancy.staff_only(actor)
        fields = await self._pages.auth.form(request)
        text = fields.get("text", "").replace("\r\n", "\n")  # browsers send forms with CRLF
        note = fields.get("note", "").strip()[:LONGEST_NOTE]
        problems = self._configuration.check(text)
        if not problems and fields.get("do") == "apply":
            try:
                await self._configuration.apply(text, actor, note)
            except ConfigError as error:
                problems = error.problems or (str(error),)
            else:
                return RedirectResponse(f"{_PATH}?done=applied", 303)
        history = await self._configuration.history(limit=HISTORY)
        values: dict[str, Any] = {"text": text, "text_title": "not applied", "note": note, "problems": problems}
        if not problems:
            values |= {
                "checked": True,
                "diff": diff(self._configuration.text(), text),
                "diff_title": "What applying it would change",
            }
        return self._show(request, history, values, status=422 if problems else 200)

    async def audit(self, request: Request) -> Response:
        """Who decided and changed what; a user of one tenant sees that tenant's lines."""
        page = await tenancy.own_page(
            self._pages.auth.actor(request),
            lambda cursor: self._pages.ports.audit.page(limit=_AUDIT_PAGE, cursor=cursor),
            request.query_params.get("cursor", ""),
            limit=_AUDIT_PAGE,
        )
        link = f"/dashboard/audit?cursor={page.next}"
        return self._pages.render(request, "audit.html", here="Config", page=page, next_link=link)

    @staticmethod
    def _pair(history: Sequence[ConfigRevision], revision: int) -> tuple[ConfigRevision, str]:
        """A revision and the text before it."""
        for place, item in enumerate(history):
            if item.revision == revision:
                return item, history[place + 1].text if place + 1 < len(history) else ""
        raise NotFoundError("there is no such revision among the last ones", remedy="`sentinel config history` has all")

    def _show(
        self, request: Request, history: Sequence[ConfigRevision], values: dict[str, Any], status: int = 200
    ) -> Response:
        defaults = {"problems": (), "checked": False, "diff": (), "diff_title": "", "viewed": 0, "note": ""}
        rows = min(max(values["text"].count("\n") + 2, _ROWS_SHOWN[0]), _ROWS_SHOWN[1])
        shown = {**defaults, **values, "rows": rows, "history": history}
        return self._pages.render(request, "configuration.html", here="Config", status=status, **shown)
