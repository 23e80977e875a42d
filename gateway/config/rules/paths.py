"""Rules for paths: what a route can match, what it rewrites them to, and when two routes match the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.config.notation import did_you_mean, host_name, listed

if TYPE_CHECKING:
    from gateway.config.document_routes import RouteEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

_PATH = re.compile(r"/[!-~]*")
_ENCODED = re.compile(r"%(.{0,2})")
_TEMPLATE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_BRACED = re.compile(r"\{([^{}]*)\}")
REST = "rest"  # what /* took
_STATUSES = (301, 302, 303, 307, 308)


def of_route(context: Context, route: RouteEntry) -> None:
    """Judge the path of one route and what is made of it."""
    where = context.path(route)
    path = route.match.path
    if problem := path_problem(path):
        context.report.at_value((*where, "match", "path"), f'path "{path}" {problem[0]}', problem[1])
    _strip_prefix(context, route)
    if route.rewrite:
        _rewrite(context, route)
    if route.redirect is not None:
        _redirect(context, route, route.redirect.to, route.redirect.status)


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
        found = _TEMPLATE.fullmatch(segment)
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


def captures(path: str) -> list[str]:
    """The names a rewrite of this path may use."""
    return [*_TEMPLATE.findall(path), *([REST] if path.endswith("/*") else [])]


def same_shape(path: str) -> str:
    """The path without the names of its segments: two routes of one shape match the same paths."""
    return "/".join("{}" if _TEMPLATE.fullmatch(segment) else segment for segment in path.split("/"))


def could_match(path: str, fixed: str) -> bool:
    """Whether a route with this path takes the path ``fixed``, or one below it, or ``fixed`` lies below its own."""
    ours = path.removesuffix("/*").split("/")[1:] if path != "/*" else []
    theirs = fixed.split("/")[1:]
    if fixed == "/":
        return path in {"/", "/*"}
    if len(ours) < len(theirs) and not path.endswith("/*"):
        return False
    return all(
        segment == other or (_TEMPLATE.fullmatch(segment) and other)
        for segment, other in zip(ours, theirs, strict=False)
    )


def _needless(digits: str) -> bool:
    """Whether requests with this encoding are refused as ambiguous: bad digits, a control, a slash, or unreserved."""
    if not re.fullmatch(r"[0-9A-Fa-f]{2}", digits):
        return True
    char = chr(int(digits, 16))
    return char < " " or char in "/\\\x7f" or (char.isascii() and (char.isalnum() or char in "-._~"))


def _strip_prefix(context: Context, route: RouteEntry) -> None:
    prefix = route.strip_prefix
    where = (*context.path(route), "strip_prefix")
    if not prefix or not context.report.sound((*context.path(route), "match", "path")):
        return
    if not prefix.startswith("/") or prefix.endswith("/"):
        wanted = "/" + prefix.strip("/*")
        context.report.at_value(where, f'strip_prefix "{prefix}" is not a prefix', f'write "{wanted}"')
        return
    if {"{", "}"} & set(prefix):
        context.report.at_value(
            where,
            f'strip_prefix "{prefix}" holds a {{name}}, and only fixed text is stripped',
            'write rewrite = "/{rest}" instead',
        )
        return
    path = route.match.path.removesuffix("/*")
    if path != prefix and not path.startswith(prefix + "/"):
        context.report.at_value(
            where,
            f'strip_prefix "{prefix}" is not how path "{route.match.path}" begins, so it would strip nothing',
            f'use the beginning of "{route.match.path}"',
        )


def _rewrite(context: Context, route: RouteEntry) -> None:
    where = (*context.path(route), "rewrite")
    report, text = context.report, route.rewrite
    if route.strip_prefix:
        report.at_value(
            where,
            "rewrite is the whole path, so strip_prefix beside it strips nothing",
            f'leave strip_prefix out, or write rewrite = "/{{{REST}}}"',
        )
        return
    if not text.startswith("/"):
        report.at_value(where, f'rewrite "{text}" does not begin with "/"', f'write "/{text}"')
    elif problem := _target_path_problem(text):
        report.at_value(where, f'rewrite "{text}" {problem}', "it is the path alone, as a request would have it")
    else:
        _known_captures(context, route, where, text)


def _redirect(context: Context, route: RouteEntry, to: str, status: int) -> None:
    report = context.report
    where = (*context.path(route), "redirect")
    written = _written(context, route)
    place = (*where, "to") if isinstance(written, dict) else where
    if status not in _STATUSES:
        report.at_value((*where, "status"), f"{status} sends nobody elsewhere", f"use {listed(map(str, _STATUSES))}")
    scheme, colon, rest = to.partition("://")
    if not colon and (not to.startswith("/") or to.startswith("//")):
        remedy = f'write "https://{to.lstrip("/")}", or a path such as "/{to.lstrip("/")}"'
        report.at_value(place, f'redirect "{to}" is neither a URL nor a path', remedy)
        return
    if colon and scheme not in {"http", "https"}:
        report.at_value(place, f'redirect leads to "{scheme}", expected http or https', 'write "https://…"')
        return
    authority, slash, below = rest.partition("/") if colon else ("", "/", to[1:])
    if colon and not _authority(authority):
        fixed = "a capture there would let a client choose where others are sent" if "{" in authority else ""
        report.at_value(
            place, f'redirect has the host "{authority}", which is none', fixed or "write host or host:port"
        )
        return
    target = slash + below
    if problem := _target_path_problem(target.partition("?")[0]):
        report.at_value(place, f'redirect "{to}" {problem}', "percent-encode what a URL cannot hold")
        return
    if _known_captures(context, route, place, to) and not colon and could_loop(route.match.path, target):
        report.at_value(
            place, f'redirect "{to}" leads back to route "{route.name}" itself', "name another path, or a whole URL"
        )


def could_loop(path: str, to: str) -> bool:
    """Whether a redirect of ``path`` to ``to`` on the same host surely meets the same route again."""
    to = to.partition("?")[0]
    if not path.endswith("/*"):
        return same_shape(path) == same_shape(to)
    plain = same_shape(path.removesuffix("/*"))
    return (same_shape(to) + "/").startswith(plain + "/")


def _written(context: Context, route: RouteEntry) -> object:
    value: object = context.reading.raw
    for part in (*context.path(route), "redirect"):
        value = value.get(part) if isinstance(value, dict) else value[int(part)] if isinstance(value, list) else None
    return value


def _authority(text: str) -> bool:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    host = host if colon else text
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    return host_name(host) and (not colon or bool(re.fullmatch(r"\d{1,5}", port, re.ASCII)))


def _target_path_problem(path: str) -> str:
    """What keeps this from being a path that is sent, captures aside; empty when nothing does."""
    plain = _BRACED.sub("x", path)
    if not re.fullmatch(r"[!-~]*", plain) or set('"<>\\^`{|}') & set(plain):
        return "holds characters that no path has"
    if "?" in plain or "#" in plain:
        return "holds ? or #"
    if "//" in plain or not {".", ".."}.isdisjoint(plain.split("/")):
        return "holds an empty, . or .. segment"
    return "holds a bad percent-encoding" if re.search(r"%(?![0-9A-Fa-f]{2})", plain) else ""


def _known_captures(context: Context, route: RouteEntry, where: Path, text: str) -> bool:
    """Whether every ``{name}`` is one that the path has; reports the first that is not."""
    known = captures(route.match.path)
    if not context.report.sound((*context.path(route), "match", "path")):
        return False
    for name in _BRACED.findall(text):
        if name not in known:
            otherwise = f"the path has {listed([f'{{{one}}}' for one in known], last='and')}" if known else ""
            if name == REST:
                otherwise = f'only a path that ends in /* has it: "{route.match.path}/*"'
            context.report.at_value(
                where,
                f'path "{route.match.path}" has no {{{name}}}',
                did_you_mean(name, known, otherwise=otherwise or "name a segment in the path, as in /orders/{id}"),
            )
            return False
    return True
