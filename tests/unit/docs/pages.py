"""The Markdown of the repository, and the command line as the program has it."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from typer.main import get_command

from gateway.cli.main import app

if TYPE_CHECKING:
    import click

ROOT = Path(__file__).resolve().parents[3]
_FENCE = re.compile(r"^(```|~~~)(\w*)[^\n]*\n(.*?)^\1", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block."""

    language: str
    text: str


@cache
def pages() -> tuple[Path, ...]:
    """Every Markdown file that is, or is about to be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = listed.stdout.splitlines() if listed.returncode == 0 else []
    found = [ROOT / name for name in names] or [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return tuple(path for path in found if path.exists())


def name_of(path: Path) -> str:
    """The page's path in the repository."""
    return path.relative_to(ROOT).as_posix()


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    return [Block(found[2], found[3]) for found in _FENCE.finditer(text)]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


@cache
def commands() -> dict[str, frozenset[str]]:
    """Every command that does something, such as ``sentinel config diff``, and its options as typed."""
    found: dict[str, frozenset[str]] = {}

    def walk(command: click.Command, path: str) -> None:
        options = {
            name
            for parameter in command.params
            if parameter.param_type_name == "option"
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        inner = getattr(command, "commands", {})
        if not inner or path == "sentinel":
            found[path] = frozenset(options)
        for name, one in inner.items():
            walk(one, f"{path} {name}")

    walk(get_command(app), "sentinel")
    return found
