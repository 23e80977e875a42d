"""Where keys and values stand in a TOML text that is already known to be valid.

``tomllib`` gives values without positions, so this scanner walks the same text again and notes line and column of each
key and value under its path: ``("routes", 0, "match", "path")``. It decides nothing about validity.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import NamedTuple

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ATOM = re.compile(r"[^,\]}\n#]+")
_STRINGS = (  # longest opening first; """ and ''' may end in up to two quotes of their own
    re.compile(r'"""(?:\\.|[^\\])*?"{3,5}(?!")', re.DOTALL),
    re.compile(r"'''.*?'{3,5}(?!')", re.DOTALL),
    re.compile(r'"(?:\\.|[^"\\\n])*"'),
    re.compile(r"'[^'\n]*'"),
)


class Position(NamedTuple):
    """Line and column, both from 1; columns count characters."""

    line: int
    column: int


class Positions:
    """Positions of one text. ``key`` and ``value`` answer for the nearest ancestor where a path is not written out."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self._keys: dict[Path, int] = {}
        self._values: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # arrays of tables: how many headers came so far
        self._at = 0
        self._scan()

    def key(self, path: Path) -> Position:
        """Where the key (or table header) stands."""
        return self._nearest(path, self._keys)

    def value(self, path: Path, offset: int = 0) -> Position:
        """Where the value stands; ``offset`` counts into a one-line string without escapes, else it is ignored."""
        start = self._values.get(path)
        if start is None:
            return self._nearest(path, self._keys)
        inside = self._text[start : start + 1] in {'"', "'"} and self._text[start : start + 3] not in {'"""', "'''"}
        if offset and inside and "\\" not in self._text[start : start + 1 + offset]:
            start += 1 + offset
        return self._position(start)

    def _nearest(self, path: Path, known: dict[Path, int]) -> Position:
        while path:
            if path in known:
                return self._position(known[path])
            if path in self._values:
                return self._position(self._values[path])
            path = path[:-1]
        return Position(1, 1)

    def _position(self, offset: int) -> Position:
        line = bisect_right(self._lines, offset)
        return Position(line, offset - self._lines[line - 1] + 1)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:  # cannot happen on text that tomllib accepted
            raise ValueError(f"no TOML at offset {self._at}")
        self._at = found.end()
        return found.group()

    def _peek(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _scan(self) -> None:
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._peek("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Path:
        start = self._at
        array = self._peek("[[")
        self._at += 2 if array else 1
        parts = self._key_parts()
        self._at += 2 if array else 1
        path: Path = ()
        for part in parts[:-1]:
            path = self._inside((*path, part))
        path = (*path, parts[-1])
        self._keys.setdefault(path, start)
        if array:
            self._counts[path] = self._counts.get(path, 0) + 1
            path = self._inside(path)
            self._keys[path] = start
        return path

    def _inside(self, path: Path) -> Path:
        return (*path, self._counts[path] - 1) if path in self._counts else path

    def _key_parts(self) -> list[str]:
        parts = []
        while True:
            self._skip(_SPACE)
            if self._peek('"') or self._peek("'"):
                parts.append(next(iter(tomllib.loads(f"{self._string()} = 0"))))
            else:
                parts.append(self._skip(_BARE_KEY))
            self._skip(_SPACE)
            if not self._peek("."):
                return parts
            self._at += 1

    def _pair(self, table: Path) -> None:
        start = self._at
        parts = self._key_parts()
        self._at += 1  # the equals sign
        path = table
        for part in parts:
            path = (*path, part)
            self._keys.setdefault(path, start)
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        self._values[path] = self._at
        if self._peek("["):
            self._array(path)
        elif self._peek("{"):
            self._inline_table(path)
        elif self._peek('"') or self._peek("'"):
            self._string()
        else:
            self._skip(_ATOM)

    def _array(self, path: Path) -> None:
        self._at += 1
        self._skip(_BLANK)
        index = 0
        while not self._peek("]"):
            self._value((*path, index))
            index += 1
            self._separator()
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        self._skip(_BLANK)
        while not self._peek("}"):
            self._pair(path)
            self._separator()
        self._at += 1

    def _separator(self) -> None:
        self._skip(_BLANK)
        if self._peek(","):
            self._at += 1
            self._skip(_BLANK)

    def _string(self) -> str:
        for pattern in _STRINGS:
            if found := pattern.match(self._text, self._at):
                self._at = found.end()
                return found.group()
        raise ValueError(f"no string at offset {self._at}")  # cannot happen on text that tomllib accepted
