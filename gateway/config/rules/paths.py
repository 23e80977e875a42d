"""Rules for paths: what a route can match, and when two routes match the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.domain.path_template import PLACE, REST

if TYPE_CHECKING:
    from gateway.config.document_routes import RouteEntry
    from gateway.config.rules.context import Context

_PATH = re.compile(r"/[!-~]*")
_ENCODED = re.compile(r"%(.{0,2})")


def of_route(context: Context, route: RouteEntry) -> None:
    """Judge the path of one route."""
    path = route.match.path
    if problem := path_problem(path):
        context.report.at_value((*context.path(route), "match", "path"), f'path "{path}" {problem[0]}', problem[1])


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
    return next(((what, remedy) for is_wrong, what, remedy in wrong if is_wrong), None) or _template_problem(plain)


def _template_problem(path: str) -> tuple[str, str] | None:
    names: list[str] = []
    for segment in path.split("/"):
        if not {"{", "}"} & set(segment):
            continue
        found = PLACE.fullmatch(segment)
        if found is None:
            return (
                f'has "{segment}", and braces take one whole segment and hold a name',
                'write such as "/orders/{id}"; names are letters, digits and underscore',
            )
        names.append(found[1])
    if REST in names:
        return "names a segment {rest}, which is what /* takes", "choose another name"
    twice = next((name for name in names if names.count(name) > 1), "")
    return (f"names two segments {{{twice}}}", "give each its own name") if twice else None


def same_shape(path: str) -> str:
    """The path without the names of its segments: two routes of one shape match the same paths."""
    return "/".join("{}" if PLACE.fullmatch(segment) else segment for segment in path.split("/"))


def could_match(path: str, fixed: str) -> bool:
    """Whether a route with this path takes the path ``fixed``, or one below it, or ``fixed`` lies below its own."""
    ours = path.removesuffix("/*").split("/")[1:] if path != "/*" else []
    theirs = fixed.split("/")[1:]
    if fixed == "/":
        return path in {"/", "/*"}
    if len(ours) < len(theirs) and not path.endswith("/*"):
        return False
    return all(
        segment == other or (PLACE.fullmatch(segment) and other) for segment, other in zip(ours, theirs, strict=False)
    )


def _needless(digits: str) -> bool:
    """Whether requests with this encoding are refused as ambiguous: bad digits, a control, a slash, or unreserved."""
    if not re.fullmatch(r"[0-9A-Fa-f]{2}", digits):
        return True
    char = chr(int(digits, 16))
    return char < " " or char in "/\\\x7f" or (char.isascii() and (char.isalnum() or char in "-._~"))
