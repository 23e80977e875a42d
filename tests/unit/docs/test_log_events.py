"""docs/reference/log-events.md lists every event the code writes, with its level and stage, and nothing else."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reference" / "log-events.md"
LEVELS = ("debug", "info", "warning", "error", "exception")


class Event(NamedTuple):
    """One event as the code writes it; ``exception`` is an error with its trace."""

    name: str
    level: str
    stage: str


def is_logger(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in {"log", "_log"} or made_logger(node) is not None


def made_logger(node: ast.expr) -> str | None:
    """The stage, when the expression is ``logs.get("stage")``."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "logs.get" and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    return None


def constants(node: ast.expr) -> list[str]:
    """The texts an expression may be: a constant, or either side of a condition."""
    if isinstance(node, ast.IfExp):
        return constants(node.body) + constants(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def named(tree: ast.Module, node: ast.Call) -> list[str]:
    """The event names a call may write: constants, a local variable's, or those the function is called with."""
    first = node.args[0]
    if not isinstance(first, ast.Name):
        return constants(first)
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    (function,) = [one for one in functions if any(inner is node for inner in ast.walk(one))]
    parameters = [argument.arg for argument in function.args.args if argument.arg != "self"]
    if first.id in parameters:
        calls = [one for one in ast.walk(tree) if isinstance(one, ast.Call)]
        handed_in = [one.args for one in calls if ast.unparse(one.func).endswith(f".{function.name}")]
        return [text for given in handed_in for text in constants(given[parameters.index(first.id)])]
    return [text for value in assigned(function, first.id) for text in constants(value)]


def assigned(function: ast.AST, name: str) -> list[ast.expr]:
    return [
        one.value
        for one in ast.walk(function)
        if isinstance(one, ast.Assign) and any(ast.unparse(target) == name for target in one.targets)
    ]


def levels(tree: ast.Module, node: ast.Call) -> list[str]:
    """The level a call writes at; two where the method itself was chosen by a condition; none if it is no logger's."""
    found = [node.func]
    if isinstance(node.func, ast.Name):
        chosen = [value for value in assigned(tree, node.func.id) if isinstance(value, ast.IfExp)]
        found = [side for value in chosen for side in (value.body, value.orelse)]
    return [
        "error" if one.attr == "exception" else one.attr
        for one in found
        if isinstance(one, ast.Attribute) and one.attr in LEVELS and is_logger(one.value)
    ]


def events_of(path: Path) -> Iterator[Event]:
    tree = ast.parse(path.read_text())
    stages = [stage for node in ast.walk(tree) if isinstance(node, ast.Call) and (stage := made_logger(node))]
    if not stages and "logging.getLogger" in path.read_text():
        return  # speaks with the web server's own voice
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args or not (at := levels(tree, node)):
            continue
        names = named(tree, node)
        assert names, f"{path.name}:{node.lineno}: no event name can be read"
        stage = (made_logger(node.func.value) if isinstance(node.func, ast.Attribute) else None) or stages[0]
        paired = zip(names, at, strict=True) if len(at) > 1 else ((name, at[0]) for name in names)
        yield from (Event(name, level, stage) for name, level in paired)


@cache
def written() -> set[Event]:
    return {event for path in (ROOT / "gateway").rglob("*.py") for event in events_of(path)}


def documented() -> set[Event]:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (\w+) \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    return {Event(*row) for row in rows}


def test_every_event_in_the_code_is_documented() -> None:
    assert sorted(written() - documented()) == []


def test_every_documented_event_is_in_the_code() -> None:
    assert sorted(documented() - written()) == []


def test_an_event_is_a_thing_and_what_befell_it() -> None:
    assert [event for event in written() if not re.fullmatch(r"[a-z_]+\.[a-z_]+", event.name)] == []
