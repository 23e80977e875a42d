"""Where the files that are not Python lie: beside the package in a checkout, inside it once installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder ``lua``, ``migrations``, ``dashboards`` or ``loadtests`` (of which a wheel has the scenarios).

    A wheel carries them under ``gateway/_bundled``; a checkout has them at its top level.

    Raises:
        FileNotFoundError: neither place has it, so the installation is incomplete.
    """
    for candidate in (_PACKAGE / "_bundled" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    message = f"the folder {name!r} is missing from this installation; reinstall sentinelstack"
    raise FileNotFoundError(message)
