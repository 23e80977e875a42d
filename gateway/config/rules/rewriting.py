"""Rules for what is made of a path: the part cut off, the path for the upstream, the place a client is sent to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.config.notation import did_you_mean, host_name, listed
from gateway.config.rules.paths import same_shape
from gateway.domain.path_template import REST, PathPattern

if TYPE_CHECKING:
    from gateway.config.document_routes import RouteEntry
    from gateway.config.positions import Path
    from gateway.config.rules.context import Context

_BRACED = re.compile(r"\{([^{}]*)\}")
_STATUSES = (301, 302, 303, 307, 308)


def of_route(context: Context, route: RouteEntry) -> None:
    """Judge ``strip_prefix``, ``rewrite`` and ``redirect`` of one route."""
    _strip_prefix(context, route)
    if route.rewrite:
        _rewrite(context, route)
    if route.redirect is not None:
        _redirect(context, route, route.redirect.to, route.redirect.status)


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
    place = (*where, "to") if isinstance(_written(context, route), dict) else where
    if status not in _STATUSES:
        report.at_value((*where, "status"), f"{status} sends nobody elsewhere", f"use {listed(map(str, _STATUSES))}")
    absolute = re.match(r"([^/?#]*)://([^/?#]*)", to)
    scheme, authority = absolute.groups() if absolute else ("", "")
    target = to[absolute.end() :] if absolute else to
    problem = _place_problem(to, scheme, authority) if absolute else _local_problem(to)
    if problem := problem or _location_problem(to, target):
        report.at_value(place, *problem)
    elif (
        _known_captures(context, route, place, target)
        and _returns(context, route, scheme, authority)
        and _meets_itself(context, route, target)
    ):
        report.at_value(
            place, f'redirect "{to}" leads back to route "{route.name}" itself', "name another path, or another host"
        )


def _local_problem(to: str) -> tuple[str, str] | None:
    if to.startswith("/") and not to.startswith("//"):
        return None
    bare = to.lstrip("/")
    return f'redirect "{to}" is neither a URL nor a path', f'write "https://{bare}", or a path such as "/{bare}"'


def _place_problem(to: str, scheme: str, authority: str) -> tuple[str, str] | None:
    if scheme not in {"http", "https"}:
        return f'redirect "{to}" leads to "{scheme}", expected http or https', 'write "https://…"'
    if _authority(authority):
        return None
    remedy = "write host or host:port; {host} is the one the client asked for"
    if _BRACED.search(authority):
        remedy = "a capture there would let a client choose where others are sent; only {host} may stand there"
    return f'redirect has the host "{authority}", which is none', remedy


def _location_problem(to: str, target: str) -> tuple[str, str] | None:
    problem = _target_path_problem(re.split(r"[?#]", target, maxsplit=1)[0])
    if not problem and not re.fullmatch(r"[!-~]*", target):
        problem = "holds characters that no URL has"
    return (f'redirect "{to}" {problem}', "percent-encode what a URL cannot hold") if problem else None


def _returns(context: Context, route: RouteEntry, scheme: str, authority: str) -> bool:
    """Whether the redirect stays on the listener it came from. Conditions may hold only the first time."""
    if route.match.headers or route.match.query:
        return False
    own = "http" if context.document.server.tls is None else "https"
    return not scheme or (scheme == own and authority == "{host}")


def _meets_itself(context: Context, route: RouteEntry, target: str) -> bool:
    """Whether what is sent to ``target`` on the same host surely meets the same route again."""
    to = same_shape(re.split(r"[?#]", target, maxsplit=1)[0] or "/")
    if not _covers(route.match.path, to):
        return False
    own = len(route.match.path.removesuffix("/*").split("/"))
    # One that is at least as close to the target may take it; nothing is said then.
    return not any(
        other is not route
        and _covers(other.match.path, to)
        and len(other.match.path.removesuffix("/*").split("/")) >= own
        for other in context.document.routes
    )


def _covers(path: str, shape: str) -> bool:
    plain = same_shape(path.removesuffix("/*"))
    return (shape + "/").startswith(plain + "/") if path.endswith("/*") else shape == plain


def _written(context: Context, route: RouteEntry) -> object:
    value: object = context.reading.raw
    for part in (*context.path(route), "redirect"):
        value = value.get(part) if isinstance(value, dict) else value[int(part)] if isinstance(value, list) else None
    return value


def _authority(text: str) -> bool:
    found = re.fullmatch(r"(\{host\}|[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?", text)
    return found is not None and (found[1] == "{host}" or host_name(found[1].strip("[]")))


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
    if not context.report.sound((*context.path(route), "match", "path")):
        return False
    known = PathPattern(route.match.path).names
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
