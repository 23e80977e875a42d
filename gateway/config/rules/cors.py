"""Rules for CORS: what a browser could ever send, and what would open a door to every page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.config.choice_notation import TOKEN
from gateway.config.notation import did_you_mean, host_name
from gateway.config.rules.methods import METHODS

if TYPE_CHECKING:
    from gateway.config.document_routes import CorsEntry, RouteEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

_LONGEST_AGE_S = 86400.0  # Firefox keeps a preflight this long, every other browser shorter
_FORBIDDEN_METHODS = frozenset({"CONNECT", "TRACE", "TRACK"})  # the Fetch standard: no page can send them
# What a preflight has of the request it asks for (Fetch standard, 4.8): neither cookies, credentials nor own fields.
_OF_PREFLIGHTS = frozenset(
    {"origin", "host", "user-agent", "referer", "accept-language", "sec-fetch-site", "access-control-request-method"}
)


def of_route(context: Context, route: RouteEntry) -> None:
    """Judge ``cors`` of one route."""
    if route.cors is None:
        return
    cors, where, report = route.cors, (*context.path(route), "cors"), context.report
    if not cors.origins and report.sound((*where, "origins")):
        report.at_value((*where, "origins"), "origins is empty: no page may call", 'write ["https://app.example"]')
    _origins(context, cors, (*where, "origins"))
    for index, method in enumerate(cors.methods):
        if method in _FORBIDDEN_METHODS or method not in METHODS:
            remedy = did_you_mean(method, METHODS - _FORBIDDEN_METHODS, otherwise="leave it out")
            report.at_value((*where, "methods", index), f'no page can send the method "{method}"', remedy)
    for key, names in (("headers", cors.headers), ("expose", cors.expose)):
        for index, name in enumerate(names):
            if not TOKEN.fullmatch(name):
                report.at_value(
                    (*where, key, index),
                    f'"{name}" cannot be the name of a header field',
                    "names are letters, digits and dashes",
                )
            elif name == "*":
                report.at_value((*where, key, index), f'cors.{key} takes names, not "*"', "name each field")
    if cors.max_age_s > _LONGEST_AGE_S:
        report.at_value(
            (*where, "max_age"),
            "cors.max_age is over a day, and no browser keeps it so long",
            'write "24h"',
            warning=True,
        )

    _preflight(context, route, where)


def _preflight(context: Context, route: RouteEntry, where: Path) -> None:
    """A preflight names the fields it asks for and has none of them: such a condition never holds for it."""
    unsent = [name for name in route.match.headers if name.lower() not in _OF_PREFLIGHTS]
    if not unsent or any(_answers_for(other, route) for other in context.document.routes):
        return
    context.report.at_value(
        where,
        f"what browsers ask first (the preflight) has no {' and no '.join(unsent)}, so it does not find this route",
        "give the same cors to a route for this path without the condition, which answers it",
        warning=True,
    )


def _answers_for(other: RouteEntry, route: RouteEntry) -> bool:
    """Whether ``other`` is found by the preflights of requests to ``route``, and answers them."""
    if other.cors is None or any(name.lower() not in _OF_PREFLIGHTS for name in other.match.headers):
        return False
    wide, narrow = other.match, route.match
    same_path = wide.path == narrow.path or (wide.path.endswith("/*") and narrow.path.startswith(wide.path[:-1]))
    return (
        same_path and wide.host in {"", narrow.host} and (not wide.methods or set(wide.methods) >= set(narrow.methods))
    )


def _origins(context: Context, cors: CorsEntry, where: Path) -> None:
    report = context.report
    if "*" in cors.origins:
        if cors.credentials:
            report.at_value(
                where,
                'credentials with origins = ["*"] would let every page act as the user who looks at it',
                "name the origins",
            )
        elif len(cors.origins) > 1:
            report.at_value(where, '"*" takes every origin, so the others say nothing', 'write ["*"] alone')
    for index, origin in enumerate(cors.origins):
        if origin != "*" and (problem := _origin_problem(origin)):
            report.at_value((*where, index), f'"{origin}" {problem[0]}', problem[1])


def _origin_problem(origin: str) -> tuple[str, str] | None:
    """RFC 6454 section 6.2: scheme, host, and the port where it is not the scheme's own."""
    if origin == "null":
        return "is what any sandboxed page sends", "name an origin of your own"
    if "*" in origin:
        return "is a pattern, and origins are exact", 'write each out, or ["*"] for any'
    found = re.fullmatch(
        r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^/:\[\]]+)(?::(\d{1,5}))?(.*)", origin, re.IGNORECASE
    )
    if found is None or not host_name(found[2].strip("[]")):
        return "is not an origin", 'write it such as "https://app.example"'
    if found[4]:
        return "has a path, which no Origin field has", f'write "{origin[: found.start(4)]}"'
    if found[3] == {"http": "80", "https": "443"}.get(found[1].lower()):
        return "names the usual port, which browsers leave out", f'write "{origin[: found.start(3) - 1]}"'
    return None
