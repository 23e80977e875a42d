"""Paths with ``{names}``: what a route's path takes out of a request's, and what is written with that. Pure.

Everything here works on the bytes of the wire. What a name captures is inserted exactly as it came: the request's path
was refused already where two programs could read it differently, so a segment of it means the same in another place.
What could still go wrong is at the seams, and is seen to in :meth:`Template.fill`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.errors import SentinelError

if TYPE_CHECKING:
    from collections.abc import Mapping

REST = "rest"  # the name of what "/*" took

PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Every visible ASCII character stands for itself in a configured path; only the rest is encoded.
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# Empty and dot segments (a path parameter does not make one harmless), and encoded slashes and backslashes.
_AMBIGUOUS = re.compile(rb"//|/\.{1,2}(?=[/;]|$)|%2[fF]|%5[cC]|\\|[?#]")


class AmbiguousPathError(SentinelError):
    """Writing the captures into a template gave a path that two programs may read differently."""

    status = 400


def encoded(path: str) -> bytes:
    """A configured path as it arrives on the wire: what is not visible ASCII is percent-encoded."""
    return quote(path, safe=VISIBLE).encode("ascii")


class PathPattern:
    """A route's path, taken apart: ``/orders/{id}/*``.

    ``segments`` are the literal bytes of each segment, None where any one non-empty segment fits; ``is_open`` says that
    it ended in ``/*``.
    """

    __slots__ = ("_named", "is_open", "segments")

    def __init__(self, path: str) -> None:
        self.is_open = path.endswith("/*")
        texts = (path[:-2] if self.is_open else path).split("/")[1:]
        found = [PLACE.fullmatch(text) for text in texts]
        self.segments = tuple(encoded(text) if name is None else None for text, name in zip(texts, found, strict=True))
        self._named = tuple((index + 1, name[1]) for index, name in enumerate(found) if name is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """What can be captured."""
        return tuple(name for _, name in self._named) + ((REST,) if self.is_open else ())

    @property
    def is_literal(self) -> bool:
        """Whether the path has no captures but, perhaps, the open end."""
        return not self._named

    def matches(self, path: bytes) -> bool:
        """Whether the path of a request fits."""
        parts = path.split(b"/", len(self.segments) + 1)[1:]
        if len(parts) < len(self.segments) or (len(parts) > len(self.segments) and not self.is_open):
            return False
        return all(
            bool(part) if segment is None else part == segment
            for segment, part in zip(self.segments, parts, strict=False)
        )

    def captures(self, path: bytes) -> dict[str, bytes]:
        """What each name took of a path that matches. REST is missing where nothing, not even a slash, was left."""
        parts = path.split(b"/", len(self.segments) + 1)
        taken = {name: parts[index] for index, name in self._named}
        if self.is_open and len(parts) > len(self.segments) + 1:
            taken[REST] = parts[-1]
        return taken


class Template:
    """A path, or the path of a URL, to be written with captures.

    ``{rest}`` brings no slash of its own and needs none: ``/v2/{rest}`` becomes ``/v2`` for a request whose path ended
    before the slash, ``/v2/`` for one that ended with it, and two slashes never meet.
    """

    __slots__ = ("_checked", "_parts", "names")

    def __init__(self, text: str) -> None:
        pieces = PLACE.split(text)  # literal, name, literal, name, … literal
        literals = [_STRAY_PERCENT.sub(b"%25", encoded(piece)) for piece in pieces[::2]]
        self.names = tuple(pieces[1::2])
        self._parts = (literals[0], tuple(zip(self.names, literals[1:], strict=True)))
        # Whole segments of an unambiguous path cannot make another ambiguous; parts of segments can ("/.{name}").
        joined = any(before[-1:] != b"/" for before in literals[:-1]) or any(
            after[:1] not in {b"/", b""} for after in literals[1:]
        )
        self._checked = joined or b"" in literals[1:-1] or _AMBIGUOUS.search(b"x".join(literals)) is not None

    def fill(self, captures: Mapping[str, bytes]) -> bytes:
        """The path with the captures in their places.

        Raises:
            AmbiguousPathError: the result has an empty or dot segment, or an encoded slash.
        """
        text, rest = self._parts
        for name, literal in rest:
            taken = captures.get(name)
            if taken is None:
                text = text.removesuffix(b"/")
            else:
                text += taken
            text += literal[1:] if text[-1:] == b"/" == literal[:1] else literal
        if text[:1] != b"/":  # nothing is left, or what stood behind a slash that went with an empty {rest}
            text = b"/" + text
        if self._checked and _AMBIGUOUS.search(text):
            raise AmbiguousPathError("the path that was to be written for this request would be ambiguous")
        return text
