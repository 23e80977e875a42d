"""Rules for where a route's requests go: one upstream, several by weight, a copy beside, again, or elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.config.choice_notation import TOKEN
from gateway.config.notation import did_you_mean, listed, nearest
from gateway.config.rules.methods import IDEMPOTENT
from gateway.domain.access import AuthMode

if TYPE_CHECKING:
    from gateway.config.document_routes import CanaryEntry, RouteEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")  # RFC 6265 section 4.1.1
_LONGEST_VALUE = 256
_MOST_CANARIES = 32


def of_route(context: Context, route: RouteEntry, known: set[str] | None) -> None:
    """Judge the destinations of one route. ``known`` are the upstreams' names; None where some could not be read."""
    where = context.path(route)
    if not _one_way(context, route, where):
        return
    if route.upstream:
        _known(context, (*where, "upstream"), route.upstream, known)
    if route.split:
        _split(context, route, where, known)
    _split_only(context, route, where)
    if route.redirect is not None:
        _without_upstream(context, route, where)
        return
    _mirror(context, route, where, known)
    _retry(context, route, where)


def _one_way(context: Context, route: RouteEntry, where: Path) -> bool:
    """Whether exactly one of the three says where requests go."""
    report = context.report
    keys = ("upstream", "split", "redirect")
    if not report.sound(*((*where, key) for key in keys)):
        return False
    given = [key for key in keys if getattr(route, key)]
    if not given and not _misspelt(context, route, keys):
        report.at_key(
            (*where, "upstream"),
            f'route "{route.name}" does not say where requests go',
            'add upstream = "…", or split, or redirect',
        )
    elif len(given) > 1:
        report.at_key(
            (*where, given[1]), f"a route has one of upstream, split and redirect, found {listed(given, last='and')}"
        )
    return len(given) == 1


def _misspelt(context: Context, route: RouteEntry, keys: tuple[str, ...]) -> bool:
    """Whether one of the keys was meant, and is reported as unknown already."""
    section = context.reading.raw.get("routes", [])
    written = section[int(context.path(route)[1])] if isinstance(section, list) else {}
    return any(nearest(name, keys) for name in written if name not in route.__struct_encode_fields__)


def _known(context: Context, where: Path, name: str, known: set[str] | None, *, at_key: bool = False) -> bool:
    if known is None or name in known:
        return True
    otherwise = f"known are {listed(sorted(known), last='and')}" if known else "add it under [[upstreams]]"
    tell = context.report.at_key if at_key else context.report.at_value
    tell(where, f'unknown upstream "{name}"', did_you_mean(name, known, otherwise=otherwise))
    return False


def _split(context: Context, route: RouteEntry, where: Path, known: set[str] | None) -> None:
    report = context.report
    for name in route.split:
        _known(context, (*where, "split", name), name, known, at_key=True)
    if not any(route.split.values()):
        report.at_value((*where, "split"), "every weight of the split is 0", "give one upstream a weight")
    elif len(route.split) == 1 and not route.canary:
        (name,) = route.split
        report.at_value(
            (*where, "split"), "a split with one upstream divides nothing", f'write upstream = "{name}"', warning=True
        )
    if route.sticky == "subject" and route.auth is AuthMode.NONE and report.sound((*where, "auth")):
        report.at_value(
            (*where, "sticky"),
            f'route "{route.name}" has auth = "none", so its requests have no subject',
            'set auth, or write sticky = "client" or "cookie:NAME"',
        )
    if len(route.canary) > _MOST_CANARIES:
        report.at_value(
            (*where, "canary"), f"there are more than {_MOST_CANARIES} canaries", "match on one header field"
        )
    seen: set[tuple[str, str, str]] = set()
    for canary in route.canary:
        _canary(context, canary, known)
        same = (canary.header.lower(), canary.cookie, canary.value)
        if same in seen:
            report.at_key(context.path(canary), "a second canary asks for the same", "the first one wins; leave it out")
        seen.add(same)


def _canary(context: Context, canary: CanaryEntry, known: set[str] | None) -> None:
    report, where = context.report, context.path(canary)
    _known(context, (*where, "upstream"), canary.upstream, known)
    if bool(canary.header) == bool(canary.cookie):
        report.at_key(where, "a canary asks for a header field or for a cookie", 'write header = "X-Canary"')
        return
    key = "header" if canary.header else "cookie"
    name = canary.header or canary.cookie
    if not TOKEN.fullmatch(name):
        what = "header field" if canary.header else "cookie"
        report.at_value(
            (*where, key), f'"{name}" cannot be the name of a {what}', "names are letters, digits and dashes"
        )
    allowed = _COOKIE_VALUE if canary.cookie else re.compile(r"[!-~]([ -~]*[!-~])?")
    if not canary.value or len(canary.value) > _LONGEST_VALUE or not allowed.fullmatch(canary.value):
        report.at_value((*where, "value"), "this cannot be the value that a canary asks for", 'for any value write "*"')


def _split_only(context: Context, route: RouteEntry, where: Path) -> None:
    if route.split:
        return
    for key in ("sticky", "canary"):
        if getattr(route, key):
            context.report.at_key(
                (*where, key),
                f"{key} says nothing without split",
                f"write split = {{ {route.upstream or 'NAME'} = 100 }}",
            )


def _without_upstream(context: Context, route: RouteEntry, where: Path) -> None:
    """A redirect is answered here, so what concerns an upstream would do nothing."""
    given = {
        "strip_prefix": bool(route.strip_prefix),
        "rewrite": bool(route.rewrite),
        "mirror": route.mirror is not None,
        "retry": route.retry is not None,
        "request_headers": bool(route.request_headers.remove or route.request_headers.set or route.request_headers.add),
        "compress": route.compress,
    }
    for key, is_given in given.items():
        if is_given:
            context.report.at_key(
                (*where, key), f"{key} does nothing on a redirect, which no upstream ever sees", "leave it out"
            )


def _mirror(context: Context, route: RouteEntry, where: Path, known: set[str] | None) -> None:
    if route.mirror is None:
        return
    report, name = context.report, route.mirror.upstream
    place = (*where, "mirror")
    _known(context, place, name, known)
    if name == route.upstream or route.split.get(name):
        report.at_value(
            place,
            f'upstream "{name}" would get every request of route "{route.name}" twice',
            "mirror to another upstream",
        )
    if route.mirror.share == 0:
        report.at_value((*place, "share"), "mirror.share = 0 copies nothing", "leave mirror out", warning=True)


def _retry(context: Context, route: RouteEntry, where: Path) -> None:
    if route.retry is None:
        return
    report, retry, where = context.report, route.retry, (*where, "retry")
    if retry.attempts and not retry.on and report.sound((*where, "on")):
        report.at_value(
            (*where, "on"), "retry.on is empty: nothing is tried again", 'write ["connect"] or attempts = 0'
        )
    for index, cause in enumerate(retry.on):
        if cause in retry.on[:index] and report.sound((*where, "on")):
            report.at_value((*where, "on", index), f'"{cause}" stands twice', "keep one of them")
    methods = set(route.match.methods)
    beyond = [cause for cause in retry.on if cause != "connect"]
    if beyond and methods and methods.isdisjoint(IDEMPOTENT):
        report.at_value(
            (*where, "on"),
            f'after {listed(beyond)} only idempotent requests are tried again, and route "{route.name}" takes '
            f"{listed(sorted(methods), last='and')} alone",
            'write on = ["connect"]',
            warning=True,
        )
