"""Sends clients elsewhere: the Location of a redirect, from the route's template and what the path captured.

Where it leads is the operator's word alone. Captures come into path, query and fragment only, each encoded for its
place, so no request can choose the scheme or the host, begin a path with two slashes, or end the field's line.
``{host}`` may stand for the authority: it is the host the client itself has asked for (the way from http to https).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from gateway.domain.path_template import PLACE, AmbiguousPathError, PathPattern, Template, encoded
from gateway.domain.traffic import ErrorKind
from gateway.edge.exchange import Refusal, Reply
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.domain.routing import Redirect, Route
    from gateway.edge.exchange import Exchange, Outcome

_TARGET = re.compile(
    r"(?:(?P<scheme>https?)://(?P<host>\{host\}|[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?P<port>:[0-9]{1,5})?)?"
    r"(?P<path>(?:/[^?#]*)?)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
)
# RFC 3986 §3.3 and §3.4; "%" because encodings are kept as they came.
_IN_PATH = "!$&'()*+,;=:@/%"
_IN_QUERY = _IN_PATH + "?"
_IN_PARAMETER = "%"  # what a capture brings into a query stays one value


class Redirection:
    """One route's redirect, ready to use.

    Raises:
        ConfigError: ``to`` is neither a path nor an http or https URL whose host is fixed.
    """

    __slots__ = ("_fragment", "_origin", "_own_host", "_path", "_pattern", "_port", "_query", "_status")

    def __init__(self, path: str, redirect: Redirect) -> None:
        found = _TARGET.fullmatch(redirect.to)
        if found is None or not (found["scheme"] or found["path"]) or "//" in found["path"]:
            raise ConfigError(
                f"the redirect to {redirect.to!r} leads nowhere fixed",
                remedy='write a path ("/new/{rest}") or an http(s) URL without captures in its host',
            )
        self._status = redirect.status
        self._pattern = PathPattern(path)
        self._own_host = found["host"] == "{host}"
        self._origin = f"{found['scheme']}://".encode() if found["scheme"] else b""
        if not self._own_host:
            self._origin += f"{found['host'] or ''}{found['port'] or ''}".encode()
        self._port = (found["port"] or "").encode()
        self._path = Template(found["path"])
        self._query = found["query"] or ""
        self._fragment = found["fragment"] or ""

    def reply(self, exchange: Exchange) -> Outcome:
        """The answer with its Location; 400 where that would not be one clear path."""
        try:
            location = self.location(exchange)
        except AmbiguousPathError:
            return Refusal(400, ErrorKind.BAD_REQUEST, "The path cannot be redirected unambiguously.")
        return Reply(self._status, ((b"location", location),))

    def location(self, exchange: Exchange) -> bytes:
        """Where the request is sent, as a URI reference with the request's own query.

        Raises:
            AmbiguousPathError: written with the captures, the path has empty or dot segments.
        """
        captures = self._pattern.captures(exchange.path)
        path = self._path.fill(captures)
        if path[:2] == b"//":  # without an origin that would name a host (RFC 3986 §4.2)
            raise AmbiguousPathError("the path begins with two slashes")
        parts = [self._origin]
        if self._own_host:
            parts += [exchange.host.encode("ascii"), self._port]
        parts.append(quote_from_bytes(path, safe=_IN_PATH).encode("ascii"))
        query = [_filled(self._query, captures)] if self._query else []
        if exchange.query:
            query.append(quote_from_bytes(exchange.query, safe=_IN_QUERY).encode("ascii"))
        if query:
            parts += [b"?", b"&".join(query)]
        if self._fragment:
            parts += [b"#", _filled(self._fragment, captures)]
        return b"".join(parts)


def redirections(routes: Iterable[Route]) -> dict[str, Redirection]:
    """The redirect of each route that has one, by the route's name. Raises ConfigError like :class:`Redirection`."""
    return {route.name: Redirection(route.path, route.redirect) for route in routes if route.redirect is not None}


def reply(exchange: Exchange) -> Outcome:
    """The answer to an admitted request of a route with a redirect; None for any other."""
    found = exchange.runtime.redirects.get(exchange.route.name) if exchange.route is not None else None
    return found.reply(exchange) if found is not None else None


def _filled(text: str, captures: Mapping[str, bytes]) -> bytes:
    """A query or fragment, with captures in their places as single values."""
    pieces = PLACE.split(text)
    done = quote_from_bytes(encoded(pieces[0]), safe=_IN_QUERY)
    for name, literal in zip(pieces[1::2], pieces[2::2], strict=True):
        done += quote_from_bytes(captures.get(name, b""), safe=_IN_PARAMETER)
        done += quote_from_bytes(encoded(literal), safe=_IN_QUERY)
    return done.encode("ascii")
