"""Reads the golden files: a wrong sentinel.toml, the environment it is read in, and the exact lines it must give.

``#env NAME=value`` sets a variable and ``#! line`` is one expected finding; warnings begin with ``warning``.
"""

from __future__ import annotations

from pathlib import Path

from gateway.config.checking import CheckResult, check_text
from gateway.settings import Settings

FOLDER = Path(__file__).parent / "wrong"


def findings(name: str) -> tuple[list[str], list[str]]:
    """What is expected of that file, and what the check says."""
    text = (FOLDER / f"{name}.toml").read_text()
    lines = text.splitlines()
    environ = dict(line[5:].split("=", 1) for line in lines if line.startswith("#env "))
    expected = [line[3:] for line in lines if line.startswith("#! ")]
    # A folder of fixed length: one finding counts the bytes of a path.
    result = check_text(text, "sentinel.toml", Settings.from_environ(environ), folder=Path("/srv/sentinel"))
    return expected, said(result)


def said(result: CheckResult) -> list[str]:
    """The lines of a check."""
    return [str(finding) for finding in result.errors] + [f"warning {finding}" for finding in result.warnings]
