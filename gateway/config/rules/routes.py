"""Rules for routes: what they match, who may pass, how many, and that no two take the same requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.config.notation import did_you_mean, host_name, listed
from gateway.config.rules.upstreams import known_upstreams
from gateway.domain.access import AuthMode
from gateway.domain.limits import Scope

if TYPE_CHECKING:
    from gateway.config.document import RouteEntry
    from gateway.config.notation import LimitRule
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

# What the HTTP parser in front takes (llhttp's table); any other method is answered 400 before a route is looked up.
_METHOD_TABLE = (
    "DELETE GET HEAD POST PUT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND "
    "ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK UNLINK "
    "SOURCE QUERY"
)
METHODS = frozenset(_METHOD_TABLE.split())
_PATH = re.compile(r"/[!-~]*")
_ENCODED = re.compile(r"%(.{0,2})")
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
    report = context.report
    context.name(_at(context, route, "name"), route.name, "a route")
    if known is not None and route.upstream not in known:
        otherwise = f"known are {listed(sorted(known), last='and')}" if known else "add it under [[upstreams]]"
        report.at_value(
            _at(context, route, "upstream"),
            f'unknown upstream "{route.upstream}"',
            did_you_mean(route.upstream, known, otherwise=otherwise),
        )
    _match(context, route)
    _strip_prefix(context, route)
    _auth(context, route)
    limits(context, _at(context, route, "limit"), route.limit)
    if route.auth is AuthMode.NONE and report.sound(_at(context, route, "auth")):
        for index, rule in enumerate(route.limit):
            if rule.scope in {Scope.SUBJECT, Scope.KEY, Scope.TENANT}:
                report.at_value(
                    _limit_at(context, _at(context, route, "limit"), index),
                    f'route "{route.name}" has auth = "none", so it cannot count per {rule.scope}',
                    'set auth, or count "per client" or "per route"',
                )


def _match(context: Context, route: RouteEntry) -> None:
    report, match = context.report, route.match
    problem = path_problem(match.path)
    if problem:
        report.at_value(_at(context, route, "match", "path"), f'path "{match.path}" {problem[0]}', problem[1])
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


def path_problem(path: str) -> tuple[str, str] | None:
    """What is wrong with a route's path and how to mend it; requests with such paths are refused before routing."""
    plain = path.removesuffix("/*")
    wrong = (
        (not path.startswith("/"), 'does not begin with "/"', f'write "/{path}"'),
        (not _PATH.fullmatch(path), "holds spaces or characters outside ASCII", "percent-encode them, as requests do"),
        ("*" in plain, "has a * that is not its last segment", 'a prefix is written "/orders/*"'),
        (bool(set("?#\\") & set(path)), "holds one of ? # \\", "a route matches the path alone"),
        (
            "//" in path or not {".", ".."}.isdisjoint(plain.split("/")),
            "holds an empty, . or .. segment",
            "such requests are refused; leave it out",
        ),
        (
            any(_needless(found[1]) for found in _ENCODED.finditer(path)),
            "percent-encodes what needs none, or badly",
            "such requests are refused; write the plain character",
        ),
    )
    return next(((what, remedy) for is_wrong, what, remedy in wrong if is_wrong), None)


def _needless(digits: str) -> bool:
    """Whether requests with this encoding are refused as ambiguous: bad digits, a control, a slash, or unreserved."""
    if not re.fullmatch(r"[0-9A-Fa-f]{2}", digits):
        return True
    char = chr(int(digits, 16))
    return char < " " or char in "/\\\x7f" or (char.isascii() and (char.isalnum() or char in "-._~"))


def _strip_prefix(context: Context, route: RouteEntry) -> None:
    prefix = route.strip_prefix
    where = _at(context, route, "strip_prefix")
    if not prefix or not context.report.sound(_at(context, route, "match", "path")):
        return
    if not prefix.startswith("/") or prefix.endswith("/"):
        wanted = "/" + prefix.strip("/*")
        context.report.at_value(where, f'strip_prefix "{prefix}" is not a prefix', f'write "{wanted}"')
        return
    path = route.match.path.removesuffix("/*")
    if path != prefix and not path.startswith(prefix + "/"):
        context.report.at_value(
            where,
            f'strip_prefix "{prefix}" is not how path "{route.match.path}" begins, so it would strip nothing',
            f'use the beginning of "{route.match.path}"',
        )


def _auth(context: Context, route: RouteEntry) -> None:
    report, where = context.report, _at(context, route, "auth")
    if not report.sound(where):
        return
    if route.scopes and route.auth is AuthMode.NONE:
        report.at_value(
            _at(context, route, "scopes"),
            f'route "{route.name}" asks for scopes but has auth = "none"',
            'set auth = "jwt", "key" or "any"',
        )
    for index, scope in enumerate(route.scopes):
        if not _SCOPE_TOKEN.fullmatch(scope):
            report.at_value(
                _at(context, route, "scopes", index),
                f'"{scope}" is not a scope',
                "one scope per entry, without spaces and quotes",
            )
    if context.document.auth.jwt is None and report.sound(("auth",)):
        if route.auth is AuthMode.JWT:
            report.at_value(where, 'auth = "jwt" needs [auth.jwt]', "add [auth.jwt]; its defaults verify HS256")
        elif route.auth is AuthMode.ANY:
            report.at_value(where, 'auth = "any" without [auth.jwt] takes API keys only', 'say "key"', warning=True)


def limits(context: Context, where: Path, rules: tuple[LimitRule, ...]) -> None:
    """Several limits are fine, two of the same scope and window are a slip."""
    seen: set[tuple[Scope, int]] = set()
    for index, rule in enumerate(rules):
        if (rule.scope, rule.window_s) in seen:
            context.report.at_value(
                _limit_at(context, where, index),
                f"a second limit per {rule.scope} over the same window",
                "keep the stricter one",
            )
        seen.add((rule.scope, rule.window_s))


def _limit_at(context: Context, where: Path, index: int) -> Path:
    """The path of one limit, which may have been written without a list."""
    value: object = context.reading.raw
    for part in where:
        value = value[part] if isinstance(value, dict) else value[int(part)] if isinstance(value, list) else None
    return (*where, index) if isinstance(value, list) else where


def _overlaps(context: Context) -> None:
    """Two routes that would take the very same requests; which one wins would hang on their order."""
    seen: dict[tuple[str, str, str], str] = {}
    for route in context.document.routes:
        for method in route.match.methods or ("",):
            same = (route.match.host.lower().removesuffix("."), route.match.path, method)
            other = seen.setdefault(same, route.name)
            if other != route.name:
                context.report.at_value(
                    _at(context, route, "match"),
                    f'route "{route.name}" takes the same requests as route "{other}"',
                    "give one of them another path, host or method",
                )
                break
