"""The rows of a migration guide, and each of them completed to a whole sentinel.toml by the rule the page states.

The first ``toml`` block is the file all rows begin with. In a table of three columns, every piece of code in the second
one is a line for the table that the heading names, or for the one written before it (``[server]``), where it replaces
the line with the same key; ``split`` and ``redirect`` replace ``upstream``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.unit.docs.pages import blocks

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "how-to"
_TABLE = re.compile(r"\[+[a-z.]+\]+")
_CODE = re.compile(r"`([^`]+)`")
_UPSTREAM = re.compile(r"upstream\s*=")


class Line(NamedTuple):
    """One ``key = value`` and the table it belongs to, such as ``[[routes]]``."""

    table: str
    text: str


class Row(NamedTuple):
    """What they write, and what we write for it."""

    theirs: str
    ours: tuple[Line, ...]


class Guide:
    """One page."""

    def __init__(self, name: str) -> None:
        self.text = (FOLDER / name).read_text()
        self.base = next(block.text for block in blocks(self.text) if block.language == "toml")
        rows = list(_rows(self.text))
        self.rows = {row.theirs: row for row in rows}
        assert len(self.rows) == len(rows), "two rows begin with the same code"

    def whole(self, theirs: str) -> str:
        """The row as a whole sentinel.toml."""
        return completed(self.base, self.rows[theirs].ours)


def tried(*modules: Path) -> set[str]:
    """The rows that tests name: plain arguments of ``at_work(…)`` and ``as_program(…)``."""
    found = set()
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"at_work", "as_program"}:
                found |= {piece.value for piece in node.args if isinstance(piece, ast.Constant)}
    return found


def completed(base: str, lines: Iterable[Line]) -> str:
    """``base`` with these lines in their places."""
    tables = _tables(base)
    for line in lines:
        place = next((table for table in tables if table[0] == line.table), None)
        if place is None:
            place = [line.table]
            tables.append(place)
        if re.match(r"(split|redirect)\s*=", line.text):
            place[:] = [old for old in place if not _UPSTREAM.match(old)]
        key = re.compile(re.escape(line.text.partition("=")[0].strip()) + r"\s*=")
        at = next((index for index, old in enumerate(place) if key.match(old)), len(place))
        place[at : at + 1] = [line.text]
    return "\n\n".join("\n".join(table) for table in tables) + "\n"


def _tables(text: str) -> list[list[str]]:
    """The lines of each table, its header first."""
    tables: list[list[str]] = []
    for line in filter(None, text.splitlines()):
        if _TABLE.fullmatch(line):
            tables.append([])
        tables[-1].append(line)
    return tables


def _rows(text: str) -> Iterable[Row]:
    section, headed = "", False
    for line in text.splitlines():
        if line.startswith("#"):
            named = _TABLE.search("".join(_CODE.findall(line)))
            section, headed = (named[0] if named else ""), False
        elif "| sentinel.toml |" in line:
            assert section, f"the heading above names no table: {line}"
            headed = True
        elif line.startswith("| ") and headed:
            cells = [cell.replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert len(cells) == 3, f"three columns: {line}"
            yield Row(_CODE.findall(cells[0])[0], tuple(_lines(cells[1], section)))


def _lines(cell: str, table: str) -> Iterable[Line]:
    for piece in _CODE.findall(cell):
        if _TABLE.fullmatch(piece):
            table = piece
        else:
            yield Line(table, piece)
