"""Rules for header fields: which names and values are any, and which belong to the gateway itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.config.choice_notation import TOKEN
from gateway.config.notation import did_you_mean, listed
from gateway.domain.path_template import PLACE, PathPattern

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.document_routes import HeaderEntry, RouteEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

# RFC 9110 section 5.5, without obs-text; no space at either end, for every reader trims it.
_VALUE = re.compile(r"[!-~]([ -~\t]*[!-~])?")
_LONGEST_VALUE = 4096
_FRAMING = frozenset(
    {"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_REQUEST_FRAMING = _FRAMING | {"expect", "http2-settings", "proxy"}
_RESPONSE_FRAMING = _FRAMING | {"x-request-id"}
_REQUEST_FRAMING_BEGINS = ("proxy-", "sec-websocket-")
_OURS = "x-sentinel-"  # the proven identity; aliases are what a backend may take for the same
_LONGEST_NAME = 128
# What a value of request_headers may hold in braces, besides the captures of the route's path.
_FACTS = ("subject", "tenant", "client", "request_id", "scheme", "host", "path")


def of_route(context: Context, route: RouteEntry) -> None:
    """Judge what a route asks of header fields and query, and what it changes in them."""
    where = context.path(route)
    _conditions(context, route, (*where, "match"))
    rules(context, (*where, "request_headers"), route.request_headers, request=True)
    rules(context, (*where, "response_headers"), route.response_headers, request=False)
    if context.report.sound((*where, "match", "path")):
        _placeholders(context, route, where)


def of_server(context: Context) -> None:
    """Judge the fields of ``security_headers``."""
    fields = context.document.server.security_headers
    if not isinstance(fields, dict):
        return
    where = ("server", "security_headers")
    _set(context, where, fields, request=False)
    names = {name.lower() for name in fields}
    if "strict-transport-security" in names and context.document.server.tls is None:
        context.report.at_value(
            where,
            "Strict-Transport-Security without [server.tls] is ignored by browsers, unless TLS ends in front of us",
            "set it there, where TLS ends",
            warning=True,
        )


def rules(context: Context, where: Path, entry: HeaderEntry, *, request: bool) -> None:
    """Judge one set of changes."""
    for index, name in enumerate(entry.remove):
        _name(context, (*where, "remove", index), name, request=request, may_host=False)
    _set(context, (*where, "set"), entry.set, request=request)
    _set(context, (*where, "add"), entry.add, request=request, may_host=False)
    both = {name.lower() for name in entry.set} & {name.lower() for name in entry.add}
    for name in sorted(both):
        context.report.at_value(
            (*where, "add"), f'"{name}" is set and added, so it would stand twice', "keep one of them", warning=True
        )


def _placeholders(context: Context, route: RouteEntry, where: Path) -> None:
    """Braces are filled in on requests, from facts and captures; on answers they are plain text."""
    asked, said = route.request_headers, route.response_headers
    if not (asked.set or asked.add or said.set or said.add):
        return
    known = (*_FACTS, *PathPattern(route.match.path).names)
    for part in ("set", "add"):
        for name, value in getattr(asked, part).items():
            for placeholder in PLACE.findall(value):
                if placeholder not in known:
                    context.report.at_value(
                        (*where, "request_headers", part, name),
                        f"there is nothing to put for {{{placeholder}}}",
                        did_you_mean(placeholder, known, otherwise=f"known are {listed(known, last='and')}"),
                    )
        for name, value in getattr(said, part).items():
            if not set(_FACTS).isdisjoint(PLACE.findall(value)):
                context.report.at_value(
                    (*where, "response_headers", part, name),
                    "braces are filled in on requests only; clients would read them as they stand",
                    "write plain text",
                    warning=True,
                )


def _set(context: Context, where: Path, fields: Mapping[str, str], *, request: bool, may_host: bool = True) -> None:
    seen: set[str] = set()
    for name, value in fields.items():
        place = (*where, name)
        if not _name(context, place, name, request=request, may_host=may_host, at_key=True):
            continue
        if name.lower() in seen:
            context.report.at_key(place, f'"{name}" stands twice; names know no case', "keep one of them")
        seen.add(name.lower())
        _value(context, place, value)


def _name(context: Context, where: Path, name: str, *, request: bool, may_host: bool, at_key: bool = False) -> bool:
    lower = name.lower()
    plain = lower.translate(str.maketrans("_.", "--"))
    wrong: tuple[str, str] | None = None
    if not TOKEN.fullmatch(name):
        wrong = (f'"{name}" cannot be the name of a header field', "names are letters, digits and dashes")
    elif lower in (_REQUEST_FRAMING if request else _RESPONSE_FRAMING) or (
        request and plain.startswith(_REQUEST_FRAMING_BEGINS)
    ):
        wrong = (f'"{name}" is written by the gateway alone', "leave it out")
    elif plain.startswith(_OURS):
        wrong = (f'"{name}" carries what the gateway has proven, so nothing else may write it', "choose another name")
    elif lower == "host" and not (request and may_host):
        wrong = (
            '"Host" can only be set, and only on requests',
            'write request_headers = { set = { Host = "…" } }' if request else "leave it out",
        )
    elif not request and lower == "content-encoding":
        wrong = (f'"{name}" says how the body is encoded, which is not ours to say', "see compress")
    if wrong is None:
        return True
    tell = context.report.at_key if at_key else context.report.at_value
    tell(where, *wrong)
    return False


def _value(context: Context, where: Path, value: str) -> None:
    if len(value) > _LONGEST_VALUE or (value and not _VALUE.fullmatch(value)):
        context.report.at_value(
            where,
            "this cannot be the value of a header field",
            f"use visible ASCII without spaces at either end, at most {_LONGEST_VALUE} characters",
        )


def _conditions(context: Context, route: RouteEntry, where: Path) -> None:
    report = context.report
    seen: set[str] = set()
    for name, value in route.match.headers.items():
        place = (*where, "headers", name)
        if not TOKEN.fullmatch(name):
            report.at_key(
                place, f'"{name}" cannot be the name of a header field', "names are letters, digits and dashes"
            )
        elif name.lower() == "host":
            report.at_key(place, "the host is matched by match.host", f'write host = "{value}"')
        elif name.lower() in seen:
            report.at_key(place, f'"{name}" stands twice; names know no case', "keep one of them")
        elif not value:
            report.at_value(place, f'"{name}" is asked to be empty', 'for any value write "*"')
        else:
            _value(context, place, value)
        seen.add(name.lower())
    for name, value in route.match.query.items():
        place = (*where, "query", name)
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            report.at_key(place, f'"{name}" cannot be the name of a query parameter', "use 1 to 128 visible characters")
        elif len(value) > _LONGEST_VALUE or not value.isprintable():
            report.at_value(place, "this cannot be the value of a query parameter", 'for any value write "*"')
