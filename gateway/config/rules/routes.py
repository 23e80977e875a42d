"""Rules for routes: what they match, who may pass, and that no two take the same requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.config.notation import did_you_mean, host_name
from gateway.config.rules import clients, cors, destinations, header_fields, limits, paths, rewriting
from gateway.config.rules.methods import METHODS
from gateway.config.rules.upstreams import known_upstreams
from gateway.domain.access import AuthMode

if TYPE_CHECKING:
    from gateway.config.document_routes import RouteEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

_SCOPE_TOKEN = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 section 3.3


def judge(context: Context) -> None:
    """Judge every [[routes]]."""
    routes = context.document.routes
    context.unique(((_at(context, entry, "name"), entry.name) for entry in routes), "route")
    known = known_upstreams(context)
    for route in routes:
        _route(context, route, known)
    _overlaps(context)
    if not routes and context.report.sound(("routes",)):
        context.report.at_value(
            ("routes",), "there is no route: every request is answered 404", "add [[routes]]", warning=True
        )


def _at(context: Context, entry: RouteEntry, *keys: str | int) -> Path:
    return (*context.path(entry), *keys)


def _route(context: Context, route: RouteEntry, known: set[str] | None) -> None:
    context.name(_at(context, route, "name"), route.name, "a route")
    _match(context, route)
    paths.of_route(context, route)
    rewriting.of_route(context, route)
    destinations.of_route(context, route, known)
    header_fields.of_route(context, route)
    clients.of_route(context, route)
    cors.of_route(context, route)
    _auth(context, route)
    limits.of_route(context, route)


def _match(context: Context, route: RouteEntry) -> None:
    report, match = context.report, route.match
    for index, method in enumerate(match.methods):
        if method not in METHODS:
            remedy = did_you_mean(method, METHODS, otherwise="write it as in the request line")
            report.at_value(_at(context, route, "match", "methods", index), f'unknown method "{method}"', remedy)
    host = match.host.removeprefix("*.")
    if match.host and (not host_name(host) or ":" in host):
        report.at_value(
            _at(context, route, "match", "host"),
            f'"{match.host}" is not a host',
            'write "api.example.com" or "*.example.com", without scheme and port',
        )


def _auth(context: Context, route: RouteEntry) -> None:
    if not context.report.sound(_at(context, route, "auth")):
        return
    _rights(context, route)
    _roles(context, route)
    _proofs(context, route)


def _rights(context: Context, route: RouteEntry) -> None:
    report = context.report
    if route.scopes and route.auth in {AuthMode.NONE, AuthMode.CERTIFICATE}:
        why = "certificates carry none" if route.auth is AuthMode.CERTIFICATE else f'has auth = "{route.auth}"'
        report.at_value(
            _at(context, route, "scopes"),
            f'route "{route.name}" asks for scopes but {why}',
            'set auth = "jwt", "key" or "any"',
        )
    for index, scope in enumerate(route.scopes):
        if not _SCOPE_TOKEN.fullmatch(scope):
            report.at_value(
                _at(context, route, "scopes", index),
                f'"{scope}" is not a scope',
                "one scope per entry, without spaces and quotes",
            )


def _roles(context: Context, route: RouteEntry) -> None:
    report = context.report
    if route.roles and route.auth in {AuthMode.NONE, AuthMode.KEY}:
        why = "API keys carry none" if route.auth is AuthMode.KEY else f'has auth = "{route.auth}"'
        report.at_value(
            _at(context, route, "roles"),
            f'route "{route.name}" asks for roles but {why}',
            'set auth = "jwt", "certificate" or "any"',
        )
    for index, role in enumerate(route.roles):
        if not role.strip() or role != role.strip() or not role.isprintable():
            report.at_value(_at(context, route, "roles", index), f'"{role}" is not a role', "write it as in the token")


def _proofs(context: Context, route: RouteEntry) -> None:
    """What a route asks for must be there to be verified by."""
    report, where = context.report, _at(context, route, "auth")
    tls = context.document.server.tls
    certificates = tls is not None and tls.client_certificates != "off"
    if route.auth is AuthMode.CERTIFICATE and not certificates and report.sound(("server", "tls")):
        report.at_value(
            where,
            'auth = "certificate" needs [server.tls] to ask clients for one',
            'add client_ca = "…" and client_certificates = "optional" there',
        )
    if context.document.auth.jwt is None and report.sound(("auth",)):
        if route.auth is AuthMode.JWT:
            report.at_value(where, 'auth = "jwt" needs [auth.jwt]', "add [auth.jwt]; its defaults verify HS256")
        elif route.auth is AuthMode.ANY and not certificates:
            report.at_value(where, 'auth = "any" without [auth.jwt] takes API keys only', 'say "key"', warning=True)


def _overlaps(context: Context) -> None:
    """Two routes that would take the very same requests; which one wins would hang on their order."""
    seen: dict[tuple[object, ...], str] = {}
    for route in context.document.routes:
        match = route.match
        conditions = (
            frozenset((name.lower(), value) for name, value in match.headers.items()),
            frozenset(match.query.items()),
        )
        shape = paths.same_shape(match.path)
        for method in match.methods or ("",):
            same = (match.host.lower().removesuffix("."), shape, method, *conditions)
            other = seen.setdefault(same, route.name)
            if other != route.name:
                context.report.at_value(
                    _at(context, route, "match"),
                    f'route "{route.name}" takes the same requests as route "{other}"',
                    "give one of them another path, host, method, header or query condition",
                )
                break
