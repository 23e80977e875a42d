"""What a route changes of a request on its way upstream: its path and its header fields, compiled once per route. Pure.

The upstream's path is derived from the path that was routed and authorised and from nothing else. Field values may hold
``{subject}``, ``{tenant}``, ``{client}``, ``{request_id}``, ``{scheme}``, ``{host}`` and ``{path}`` (as the client sent
them), and the captures of the route's path; where a name means both, the gateway's own meaning holds, so that nobody
chooses their ``{subject}`` by the path. A field whose value comes out empty is not sent, as in nginx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.domain.path_template import PLACE, PathPattern, Template, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.domain.forwarding import Outbound
    from gateway.domain.routing import HeaderRules, Route

MAX_REMEMBERED_ROUTES = 32_768  # of several snapshots together, before the table is started afresh

# RFC 9110 §7.6.1 and RFC 9112: they speak of one connection only.
HOP_BY_HOP = frozenset(
    {b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"proxy"}
)
_NEVER = HOP_BY_HOP | {b"connection", b"content-length", b"expect"}
_NEVER_BEGINNING = (b"x-sentinel-", b"proxy-", b"sec-websocket-")
_HOST = b"host"

# Visible ASCII stands for itself in identity fields, except "%", so that decoding is exact.
VISIBLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


class Rewriting:
    """One route's changes."""

    __slots__ = ("_pattern", "_prefix", "_template", "changes")

    def __init__(self, route: Route) -> None:
        self._prefix = encoded(route.strip_prefix.rstrip("/"))
        self._pattern = PathPattern(route.path)
        self._template = Template(route.rewrite) if route.rewrite else None
        rules = route.request_headers
        changes = FieldChanges(rules, self._pattern) if rules.remove or rules.set or rules.add else None
        self.changes = changes

    def path(self, path: bytes) -> bytes:
        """The path for the upstream.

        Raises:
            AmbiguousPathError: what the path captured cannot stand in the place the route gives it.
        """
        if self._template is not None:
            return self._template.fill(self._pattern.captures(path))
        prefix = self._prefix
        if not prefix:
            return path
        if path == prefix:
            return b"/"
        return path[len(prefix) :] if path.startswith(prefix + b"/") else path


class FieldChanges:
    """A route's header rules: remove, set, add. What frames a message or proves who calls is beyond them."""

    __slots__ = ("_added", "_host", "_pattern", "_removed")

    def __init__(self, rules: HeaderRules, pattern: PathPattern) -> None:
        self._pattern = pattern
        put = {_name(name): _Value(value) for name, value in rules.set}
        self._host = put.pop(_HOST, None)
        added = [*put.items(), *((_name(name), _Value(value)) for name, value in rules.add)]
        self._added = [(name, value) for name, value in added if _is_free(name)]
        # What a backend may read as the same name goes as well, else a client could send the alias.
        self._removed = frozenset(plain_name(name) for name in (*map(_name, rules.remove), *put) if _is_free(name))

    def host(self, outbound: Outbound) -> bytes:
        """The Host field for the upstream; the client's own where no rule sets it."""
        if self._host is None:
            return outbound.host
        return self._host.text(outbound, self._pattern.captures(outbound.path)) or outbound.host

    def applied(self, lines: list[bytes], outbound: Outbound) -> list[bytes]:
        """Header lines (``name: value``) with the rules applied."""
        removed = self._removed
        kept = [line for line in lines if plain_name(line.partition(b":")[0]) not in removed]
        captures = self._pattern.captures(outbound.path)
        for name, value in self._added:
            text = value.text(outbound, captures)
            if text:
                kept.append(b"%b: %b" % (name, text))
        return kept


class _Value:
    """A field's value with names to be filled in."""

    __slots__ = ("_first", "_rest")

    def __init__(self, text: str) -> None:
        pieces = PLACE.split(text)
        literals = [piece.encode("utf-8") for piece in pieces[::2]]
        self._first = literals[0]
        self._rest = tuple(zip(pieces[1::2], literals[1:], strict=True))

    def text(self, outbound: Outbound, captures: Mapping[str, bytes]) -> bytes:
        """The value for one request."""
        if not self._rest:
            return self._first
        parts = [self._first]
        for name, literal in self._rest:
            own = _own(name, outbound)
            parts += [captures.get(name, b"") if own is None else own, literal]
        return b"".join(parts).strip()


UNCHANGED = Rewriting.__new__(Rewriting)  # for routes that change nothing: told apart by identity, never asked
UNCHANGED.changes = None
_known: dict[Route, Rewriting] = {}


def rewriting(route: Route) -> Rewriting:
    """The route's changes, or UNCHANGED."""
    found = _known.get(route)
    if found is None:
        if len(_known) >= MAX_REMEMBERED_ROUTES:
            _known.clear()
        rules = route.request_headers
        changes = route.rewrite or route.strip_prefix or rules.remove or rules.set or rules.add
        found = _known[route] = Rewriting(route) if changes else UNCHANGED
    return found


def plain_name(name: bytes) -> bytes:
    """A field's name as backends read it that turn names into variables: X_Tenant.Id is X-Tenant-Id to many."""
    return name.lower().replace(b"_", b"-").replace(b".", b"-")


def _own(name: str, outbound: Outbound) -> bytes | None:  # noqa: PLR0911 - one line for each name
    match name:
        case "subject":
            return quote(outbound.principal.subject, safe=VISIBLE).encode("ascii")
        case "tenant":
            return quote(outbound.principal.tenant, safe=VISIBLE).encode("ascii")
        case "client":
            return outbound.client
        case "request_id":
            return outbound.request_id
        case "scheme":
            return outbound.scheme
        case "host":
            return outbound.host
        case "path":
            return outbound.path
        case _:
            return None


def _name(name: str) -> bytes:
    return name.lower().encode("latin-1", "replace")


def _is_free(name: bytes) -> bool:
    plain = plain_name(name)
    return plain != _HOST and plain not in _NEVER and not plain.startswith(_NEVER_BEGINNING)
