"""How commands talk: colour only on a terminal, ``--json`` for programs, errors with the remedy, known exit codes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OK = 0
FAILED = 1  # it was tried and did not work, or the configuration is bad
USAGE = 2  # the command line itself is wrong
NOT_RUNNING = 3  # there is no control process to talk to

out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
err = Console(stderr=True, highlight=False, soft_wrap=True)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
ConfigOption = Annotated[
    str, typer.Option("--config", "-c", envvar="SENTINEL_CONFIG", help="Path of sentinel.toml.", show_default=True)
]


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print_json_text(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_text(text: str) -> None:
    """Print JSON that is text already, with what does not print as escapes: the same values, and no terminal obeys."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
    print(text, flush=True)  # noqa: T201 - the result


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print rows under headings. Cells are plain text: nothing in them is read as markup, control codes are shown."""
    shown = Table(show_edge=False, pad_edge=False, box=None, header_style="bold")
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    out.print(shown)


def printable(value: object) -> str:
    """Text from anywhere, with control characters shown as escapes, so that a path cannot drive the terminal."""
    text = "" if value is None else str(value)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def good(text: str) -> None:
    """One line that says something worked."""
    out.print(f"[green]✓[/green] {Text(printable(text)).plain}", markup=True)


def bad(text: str, remedy: str = "") -> None:
    """One line that says something did not, and what mends it."""
    err.print(Text.assemble(("✗ ", "red"), printable_lines(text)))
    if remedy:
        err.print(Text.assemble(("  → ", "dim"), printable_lines(remedy)))


def printable_lines(text: str) -> str:
    """As :func:`printable`, line by line."""
    return "\n".join(printable(line) for line in text.splitlines())


def fail(text: str, remedy: str = "", *, code: int = FAILED) -> NoReturn:
    """Say what is wrong and end."""
    bad(text, remedy)
    raise typer.Exit(code)


def time_of(stamp: str | None) -> str:
    """An RFC 3339 time as people read it: date and seconds, UTC."""
    return stamp.replace("T", " ").split(".")[0].rstrip("Z") + "Z" if stamp else ""


def show_fields(fields: Mapping[str, object]) -> None:
    """Names and values, one pair a line."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        out.print(Text.assemble((f"{name:<{width}}  ", "dim"), printable(value)))
