"""What a check found: every error and warning with its place, what is wrong and how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.positions import Path, Positions


class Finding(msgspec.Struct, frozen=True):
    """One error or warning. ``source`` is the file, or the variable that set the value (then line is 0)."""

    source: str
    line: int
    column: int
    message: str
    remedy: str = ""
    warning: bool = False

    def __str__(self) -> str:
        """``sentinel.toml:12:5: what; how to mend it``."""
        place = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        text = f"{place}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")
        # A value may hold control characters; none of them reaches a terminal or forges a second line.
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class Report:
    """Collects findings while one text is read; knows where each path was written, in the file or the environment."""

    def __init__(self, source: str, positions: Positions, variables: Mapping[Path, str]) -> None:
        self._source = source
        self._positions = positions
        self._variables = variables
        self._wrong: set[Path] = set()
        self._above: set[Path] = set()  # every wrong path and the tables around it
        self.findings: list[Finding] = []

    def variable(self, path: Path) -> str:
        """The variable that set this path, or an empty string where the file did."""
        return self._variables.get(path, "")

    def at_key(self, path: Path, message: str, remedy: str = "") -> None:
        """An error about the key itself: unknown, or missing in the table ``path``."""
        line, column = self._positions.key(path)
        self._add(Finding(self._source, line, column, message, remedy), path)

    def at_value(self, path: Path, message: str, remedy: str = "", *, offset: int = 0, warning: bool = False) -> None:
        """An error (or warning) about the value at ``path``, ``offset`` characters into it."""
        if variable := self._variables.get(path):
            self._add(Finding(variable, 0, 0, message, remedy, warning), path)
            return
        line, column = self._positions.value(path, offset)
        self._add(Finding(self._source, line, column, message, remedy, warning), path)

    def sound(self, *paths: Path) -> bool:
        """Whether nothing at, below or above these paths was found wrong: consequences are not reported twice."""
        return not any(path in self._above or not self._wrong.isdisjoint(_prefixes(path)) for path in paths)

    def mark(self, path: Path) -> None:
        """Note that ``path`` is wrong although the finding stands elsewhere (a misspelt key)."""
        self._wrong.add(path)
        self._above.update(_prefixes(path))

    def _add(self, finding: Finding, path: Path) -> None:
        if not self.sound(path):
            return
        self.findings.append(finding)
        if not finding.warning:
            self.mark(path)


def _prefixes(path: Path) -> list[Path]:
    """The path and every table around it, without the document itself."""
    return [path[:length] for length in range(1, len(path) + 1)]
