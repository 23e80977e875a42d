"""Reads untrusted JSON value by value: what is missing or unknown is passed over, what is wrong is named by its path.

Every text is cut where it is read, so that nothing that comes in is larger than what is kept.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

LONGEST_TEXT = 2000
LONGEST_NAME = 256
MOST_LABELS = 64
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # Alertmanager writes year 1 for "not yet"
_MILLISECONDS = 100_000_000_000  # seconds since the epoch reach this in the year 5138


class ShapeError(ValueError):
    """A value that does not fit; ``path`` such as ``alerts[2].startsAt``."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path


class Item:
    """One JSON object and where it stands."""

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise ShapeError(path, f"expected an object, found {kind_of(value)}")
        self._value: dict[str, Any] = value
        self._path = path

    def at(self, name: str) -> str:
        """The path of one of its keys."""
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        """Whether the key is there and not null."""
        return self._value.get(name) is not None

    def text(self, name: str, *, longest: int = LONGEST_TEXT) -> str:
        """A text, cut; a number or truth value as it is written; empty where there is none."""
        value = self._value.get(name)
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str | int | float):
            raise ShapeError(self.at(name), f"expected a text, found {kind_of(value)}")
        return str(value)[:longest].replace("\x00", "")  # no database keeps NUL

    def wanted(self, name: str) -> str:
        """A text that must be there."""
        found = self.text(name)
        if not found:
            raise ShapeError(self.at(name), "is missing or empty")
        return found

    def moment(self, name: str) -> float | None:
        """Seconds since the epoch out of RFC 3339, or out of seconds or milliseconds; None where it is not set."""
        value = self._value.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 13:  # noqa: PLR2004 - ms
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ShapeError(self.at(name), f"expected a time, found {kind_of(value)}")
        if not isinstance(value, str):
            return _plausible(value, self.at(name))
        return self._written(name, value)

    def _written(self, name: str, value: str) -> float | None:
        try:
            found = datetime.fromisoformat(value)
        except ValueError as error:
            raise ShapeError(self.at(name), "is no RFC 3339 time, such as 2026-11-21T09:30:00Z") from error
        if found.tzinfo is None:
            raise ShapeError(self.at(name), "names no time zone; end it with Z or an offset")
        return found.timestamp() if found.year > _EARLIEST.year else None

    def labels(self, name: str) -> dict[str, str]:
        """Names and texts, at most 64 of them; empty where there are none."""
        value = self._value.get(name)
        if value is None:
            return {}
        inner = Item(value, self.at(name))
        return {
            label[:LONGEST_NAME]: inner.text(label, longest=LONGEST_NAME) for label in list(inner._value)[:MOST_LABELS]
        }

    def texts(self, name: str) -> dict[str, str]:
        """As :meth:`labels`, for longer texts."""
        value = self._value.get(name)
        if value is None:
            return {}
        inner = Item(value, self.at(name))
        return {label[:LONGEST_NAME]: inner.text(label) for label in list(inner._value)[:MOST_LABELS]}

    def many(self, name: str) -> list[Any]:
        """A list that must be there."""
        value = self._value.get(name)
        if not isinstance(value, list):
            found = "is missing" if value is None else f"expected a list, found {kind_of(value)}"
            raise ShapeError(self.at(name), found)
        return value


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {type(None): "null", bool: "a truth value", int: "a number", float: "a number", str: "a text"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def _plausible(value: float, path: str) -> float | None:
    """Seconds out of seconds or milliseconds."""
    if not 0 <= value < _MILLISECONDS * 1000:
        raise ShapeError(path, "is no time")
    seconds = value / 1000 if value >= _MILLISECONDS else float(value)
    return seconds if seconds >= _EARLIEST.timestamp() else None
