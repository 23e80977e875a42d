"""``SENTINEL_<SECTION>__<KEY>`` variables laid over the tables of the file, before anything is judged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeGuard

from gateway.config.findings import Finding
from gateway.config.notation import did_you_mean
from gateway.config.schema import Many, Named, Scalar, Shape, Table, leaves
from gateway.settings import PREFIX, SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.positions import Path

_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def variable_of(dotted: str) -> str:
    """``server.port`` → ``SENTINEL_SERVER__PORT``."""
    return PREFIX + SEPARATOR.join(_folded(part) for part in dotted.split("."))


def _folded(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def apply(
    raw: dict[str, Any], shape: Table, variables: Mapping[str, str]
) -> tuple[dict[str, Any], dict[Path, str], list[Finding]]:
    """The tables with every variable laid over, which variable set which path, and what could not be placed.

    Lists of plain values are written with commas. Tables in lists (upstreams, routes, notify) cannot be reached: they
    have no fixed name. Names under ``plans`` and ``tenants`` must be in the file, since a variable's name has no case.
    """
    merged = dict(raw)
    origins: dict[Path, str] = {}
    findings: list[Finding] = []
    for name, text in sorted(variables.items()):
        placed = _place(shape, name.removeprefix(PREFIX).split(SEPARATOR), merged)
        if placed is None:
            known = [variable_of(path) for path, _ in leaves(shape) if "[]" not in path and "NAME" not in path]
            remedy = did_you_mean(name, known, otherwise="docs/reference/configuration.md lists the keys")
            findings.append(Finding(name, 0, 0, "this variable matches no key of the configuration", remedy))
            continue
        path, leaf = placed
        table = merged
        for part in path[:-1]:
            inner = table.get(part, {})
            if not isinstance(inner, dict):
                break  # the file has no table there: the reader says so with its position
            table[part] = dict(inner)  # a copy of the tables on the way alone: the file may be nested without end
            table = table[part]
        else:
            table[path[-1]] = _value(leaf, text)
            origins[tuple(path)] = name
    return merged, origins, findings


def _place(shape: Table, parts: list[str], raw: Any) -> tuple[list[str], Scalar | Many | Named] | None:
    path: list[str] = []
    here: Shape = shape
    for part in parts:
        names: dict[str, Shape]
        match here:
            case Table(keys=keys):
                names = {name: entry.shape for name, entry in keys.items()}
            case Named(item=item):
                names = dict.fromkeys(raw if isinstance(raw, dict) else {}, item)
            case _:
                return None
        found = next((name for name in names if _folded(name) == part), None)
        if found is None:
            return None
        here = names[found]
        path.append(found)
        raw = raw.get(found) if isinstance(raw, dict) else None
    return (path, here) if _in_one_text(here) else None


def _in_one_text(shape: Shape) -> TypeGuard[Scalar | Many | Named]:
    """Whether a value of this shape can be written as one text: what is plain, or a list of what is."""
    match shape:
        case Many(item=Table(shorthand=shorthand), single=single):
            return single and bool(shorthand)
        case Named(switch=switch):
            return switch
        case Table():
            return False
        case _:
            return True


def _value(shape: Scalar | Many | Named, text: str) -> Any:
    """The text as the file would hold it; what does not convert stays text, and the reader complains."""
    if isinstance(shape, Many):
        if shape.single:
            return [part.strip() for part in text.split(",")] if "," in text else text
        return [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(shape, Named) or shape.kind is bool:
        return _TRUTH.get(text.strip().lower(), text)
    if shape.kind is int and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text, re.ASCII):
        return int(text)
    if shape.kind is float and re.fullmatch(r"\s*[+-]?\d{1,18}(\.\d{1,18})?\s*", text, re.ASCII):
        return float(text)
    return text
