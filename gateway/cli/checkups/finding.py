"""One line of what the doctor says."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """good: nothing to do; note: worth knowing, nothing is broken; bad: mend it."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


class Finding(NamedTuple):
    """What was looked at, how it is, and the command or sentence that mends it."""

    name: str
    state: State
    text: str
    remedy: str = ""

    @classmethod
    def good(cls, name: str, text: str) -> Finding:
        """Nothing to do."""
        return cls(name, State.GOOD, text)

    @classmethod
    def note(cls, name: str, text: str, remedy: str = "") -> Finding:
        """Worth knowing."""
        return cls(name, State.NOTE, text, remedy)

    @classmethod
    def bad(cls, name: str, text: str, remedy: str) -> Finding:
        """To be mended."""
        return cls(name, State.BAD, text, remedy)

    def shown(self) -> dict[str, str]:
        """As JSON shows it."""
        return {"name": self.name, "state": str(self.state), "text": self.text, "remedy": self.remedy}
