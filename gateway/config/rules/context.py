"""What every rule is handed: the reading to judge, the environment, and where relative paths begin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path as FilePath

    import msgspec

    from gateway.config.document import Document
    from gateway.config.findings import Report
    from gateway.config.positions import Path
    from gateway.config.reading import Reading
    from gateway.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")  # a metrics label, a Redis key part, a piece of a URL
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Context:
    """One text under judgement."""

    reading: Reading
    settings: Settings
    folder: FilePath  # the working folder
    now: float  # seconds since the epoch: certificates end

    @property
    def document(self) -> Document:
        """The document as far as it could be read."""
        return self.reading.document

    @property
    def report(self) -> Report:
        """Where findings go."""
        return self.reading.report

    def path(self, entry: msgspec.Struct) -> Path:
        """Where this entry was written."""
        return self.reading.path(entry)

    def name(self, path: Path, name: str, what: str) -> bool:
        """Whether that is a usable name; reports it if not."""
        if NAME.fullmatch(name):
            return True
        self.report.at_value(
            path,
            f'"{name}" cannot name {what}',
            "use letters, digits, dot, dash and underscore, beginning with a letter or digit, at most 63",
        )
        return False

    def unique(self, entries: Iterable[tuple[Path, str]], what: str) -> None:
        """Report every name that stands twice."""
        seen: set[str] = set()
        for path, name in entries:
            if name in seen:
                self.report.at_value(path, f'a second {what} is named "{name}"', "names are unique; choose another")
            seen.add(name)

    def secret(self, path: Path, variable: str, what: str) -> str | None:
        """The value of the variable that ``path`` names; reports it where it is not set. Never shows the value."""
        if not _VARIABLE.fullmatch(variable):
            # Whoever pastes the secret itself here must not read it again in a log.
            self.report.at_value(
                path, "this is not the name of an environment variable", "secrets never stand in the file"
            )
            return None
        value = self.settings.secret(variable)
        if value is None:
            self.report.at_value(
                path, f"{what} is missing: the environment variable {variable} is not set", f"export {variable}=…"
            )
        return value
