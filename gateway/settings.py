"""What the environment says, read once: the path of sentinel.toml, overrides of its keys, and secrets by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "SENTINEL_"
SEPARATOR = "__"  # between section and key; a single underscore belongs to the key's own name
DEFAULT_CONFIG = "sentinel.toml"
_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment as of start. Neither ``repr`` nor the event log ever shows a value of it.

    Attributes:
        config_path: ``SENTINEL_CONFIG``, by default ``sentinel.toml`` in the working folder.
        overrides: every ``SENTINEL_<SECTION>__<KEY>`` variable and its text.
        debug: ``SENTINEL_DEBUG``: whether stack traces reach the user.
    """

    config_path: Path = Path(DEFAULT_CONFIG)
    overrides: Mapping[str, str] = field(default_factory=dict, repr=False)
    debug: bool = False
    _environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Settings out of ``os.environ`` or a mapping like it; a copy is kept, later changes are not seen."""
        copy = dict(environ)
        overrides = {
            name: value for name, value in copy.items() if name.startswith(PREFIX) and SEPARATOR in name[len(PREFIX) :]
        }
        return cls(
            config_path=Path(copy.get("SENTINEL_CONFIG") or DEFAULT_CONFIG),
            overrides=MappingProxyType(overrides),
            debug=copy.get("SENTINEL_DEBUG", "").strip().lower() in _TRUE,
            _environ=MappingProxyType(copy),
        )

    def secret(self, name: str) -> str | None:
        """The value of that environment variable, or None where it is not set or empty."""
        return self._environ.get(name) or None
