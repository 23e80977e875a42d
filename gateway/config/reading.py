"""From text to Document: syntax, keys, types and notations. All errors are collected, each with its position.

Whether the parts fit together (a route's upstream exists, secrets are set) is judged in :mod:`gateway.config.rules`.
"""

from __future__ import annotations

import pathlib
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.config import overrides
from gateway.config.document import Document, Server
from gateway.config.findings import Finding, Report
from gateway.config.notation import NotationError, did_you_mean, listed, nearest
from gateway.config.positions import Path, Positions
from gateway.config.schema import Key, Many, Named, Scalar, Shape, Table, table
from gateway.config.values import Url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.settings import Settings

LARGEST_TEXT = 4 * 1024 * 1024  # 10,000 routes take about 2 MiB
_KINDS = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}
_SYNTAX_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_SYNTAX_REMEDIES = {
    "Invalid value": 'a string stands in quotes: name = "orders"',
    "Expected '=' after a key in a key/value pair": 'a line is written key = "value", a table [name]',
    "Cannot overwrite a value": "each key may stand once in its table",
    "Unclosed array": "close the list with ]",
}


# What a file that fails at its very first character begins with.
_FIRST_REMEDIES = {
    "\ufeff": "it begins with a byte order mark; save it as UTF-8 without one",
    "{": "this is JSON; a table is written [server], a value port = 8000",
    "-": "this is YAML; a table is written [server], a value port = 8000",
    "<": "this is XML or HTML; a table is written [server], a value port = 8000",
}
_MOST_ELSEWHERE = 2  # sections that may have a key for it to be told where it belongs


class _Wrong:
    """Stands for a value that was refused, and reported."""


_WRONG = _Wrong()


@dataclass(frozen=True, slots=True)
class Reading:
    """What came out of a text. ``document`` is partial where ``report`` holds errors."""

    document: Document
    report: Report
    raw: dict[str, Any]
    is_toml: bool
    paths: dict[int, Path]  # id of an upstream, route or notify entry of ``document`` → its path in the file

    def path(self, entry: msgspec.Struct) -> Path:
        """Where this entry of ``upstreams``, ``routes`` or ``notify`` was written."""
        return self.paths[id(entry)]


def read(text: str, source: str, variables: Mapping[str, str]) -> Reading:
    """Read one text with the overriding variables laid over it."""
    raw, syntax = _parsed(text, source)
    positions = Positions("")
    if not syntax:
        try:
            positions = Positions(text)
        except RecursionError:
            raw, syntax = {}, [_too_deep(source)]
    shape = table(Document)
    merged, origins, unplaced = overrides.apply(raw, shape, variables)
    report = Report(source, positions, origins)
    report.findings += [*syntax, *unplaced]
    reader = _Reader(report)
    document = reader.table(shape, merged, ()) if not syntax else Document()
    if not isinstance(document, Document):  # the whole has no required key, so it is always built
        raise TypeError(f"expected a Document, got {document!r}")
    if "url" not in _table(merged.get("store")) and document.server.run_dir:
        document = _embedded_store(document)
    return Reading(document=document, report=report, raw=merged, is_toml=not syntax, paths=reader.paths)


def _table(raw: Any) -> dict[str, Any]:
    return raw if isinstance(raw, dict) else {}


def _embedded_store(document: Document) -> Document:
    """The database nobody named lies in the run folder, wherever that is."""
    url = Url(f"sqlite:///{document.server.run_dir}/sentinel.db")
    return msgspec.structs.replace(document, store=msgspec.structs.replace(document.store, url=url))


def run_dir(config: str, settings: Settings) -> pathlib.Path:
    """The run folder that a file names, judging nothing else, so that commands reach a gateway meanwhile."""
    try:
        text = pathlib.Path(config).read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    return pathlib.Path(read(text, config, settings.overrides).document.server.run_dir or Server().run_dir)


def _parsed(text: str, source: str) -> tuple[dict[str, Any], list[Finding]]:
    if len(text) > LARGEST_TEXT:
        return {}, [Finding(source, 1, 1, f"the text is longer than {LARGEST_TEXT} characters")]
    try:
        return tomllib.loads(text), []
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _SYNTAX_PLACE.search(message)
        what = message[: place.start()] if place else message
        if place and place[1]:
            line, column = int(place[1]), int(place[2])
        else:
            line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
        remedy = _FIRST_REMEDIES.get(text[:1]) if (line, column) == (1, 1) else _SYNTAX_REMEDIES.get(what)
        return {}, [Finding(source, line, column, f"not TOML: {what}", remedy or "")]
    except RecursionError:
        return {}, [_too_deep(source)]


def _too_deep(source: str) -> Finding:
    return Finding(source, 1, 1, "lists or tables are nested too deeply")


def dotted(path: Path) -> str:
    """``("routes", 0, "match", "path")`` → ``routes.match.path``: the position says which route."""
    return ".".join(part for part in path if isinstance(part, str))


def _header(path: Path) -> str:
    """How the operator writes the table at ``path``."""
    listed = isinstance(path[-1], int) and all(isinstance(part, str) for part in path[:-1])
    return f"[[{dotted(path)}]]" if listed else f"[{dotted(path)}]"


def _known(shape: Table) -> str:
    return f"known are {listed(shape.keys, last='and')}"


def _elsewhere(name: str) -> str:
    """Where a key belongs that stands in the wrong table; empty when no section has it, or too many to guess."""
    found = []
    for section, key in table(Document).keys.items():
        shape = key.shape
        if isinstance(shape, Table) and name in shape.keys:
            found.append(f"[{section}]")
        elif isinstance(shape, Many) and isinstance(shape.item, Table) and name in shape.item.keys:
            found.append(f"[[{section}]]")
    return f"it is a key of {listed(found)}" if 0 < len(found) <= _MOST_ELSEWHERE else ""


class _Reader:
    """Walks shape and tables side by side."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.paths: dict[int, Path] = {}

    def value(self, shape: Shape, raw: Any, path: Path) -> Any:
        match shape:
            case Table():
                return self.table(shape, raw, path)
            case Named():
                return self._named(shape, raw, path)
            case Many():
                return self._many(shape, raw, path)
            case Scalar():
                return self._scalar(shape, raw, path)

    def table(self, shape: Table, raw: Any, path: Path) -> Any:
        if shape.shorthand and not isinstance(raw, dict):
            inner = self.value(shape.keys[shape.shorthand].shape, raw, path)
            return (
                _WRONG if inner is _WRONG else self._made(shape, {shape.keys[shape.shorthand].attribute: inner}, path)
            )
        if not isinstance(raw, dict):
            self._mistyped(raw, path, f"a table; write {_header(path)}")
            return _WRONG
        self._unknown_keys(shape, raw, path)
        attributes: dict[str, Any] = {}
        for key in shape.keys.values():
            inner = self._key(key, raw, path)
            if inner is not _WRONG:
                attributes[key.attribute] = inner
            elif key.required:
                attributes[key.attribute] = _blank(key.shape)
        return _WRONG if _WRONG in attributes.values() else self._made(shape, attributes, path)

    def _made(self, shape: Table, attributes: dict[str, Any], path: Path) -> msgspec.Struct:
        made = shape.make(**attributes)
        self.paths[id(made)] = path
        return made

    def _key(self, key: Key, raw: dict[str, Any], path: Path) -> Any:
        """The value of one key; wrong where it is absent or refused, so that the default stands."""
        if key.name in raw:
            if raw[key.name] == "" and key.default == "":
                return key.default
            return self.value(key.shape, raw[key.name], (*path, key.name))
        if key.required and any(nearest(name, [key.name]) for name in raw):
            self._report.mark((*path, key.name))
        elif key.required:
            self._report.at_key(
                (*path, key.name), f"{_header(path)} lacks {key.name}", f"add {key.name} = {_example(key.shape)}"
            )
        return _WRONG

    def _unknown_keys(self, shape: Table, raw: dict[str, Any], path: Path) -> None:
        for name in raw:
            if name not in shape.keys:
                remaining = [known for known in shape.keys if known not in raw]
                self._report.at_key(
                    (*path, name),
                    f'unknown key "{name}" {"in " + _header(path) if path else "at the top level"}',
                    did_you_mean(name, remaining, otherwise=_elsewhere(name) or _known(shape)),
                )

    def _named(self, shape: Named, raw: Any, path: Path) -> Any:
        if shape.switch and isinstance(raw, bool):
            return raw
        if not isinstance(raw, dict):
            expected = f"tables with names; write [{dotted(path)}.NAME]"
            if isinstance(shape.item, Scalar):
                either = "true, false or " if shape.switch else ""
                expected = f"{either}a table; write {path[-1]} = {{ NAME = {_example(shape.item)} }}"
            self._mistyped(raw, path, expected)
            return _WRONG
        read = {name: self.value(shape.item, inner, (*path, name)) for name, inner in raw.items()}
        return {name: value for name, value in read.items() if value is not _WRONG}

    def _many(self, shape: Many, raw: Any, path: Path) -> Any:
        if shape.single and isinstance(raw, str | dict if isinstance(shape.item, Table) else str):
            one = self.value(shape.item, raw, path)
            return _WRONG if one is _WRONG else (one,)
        if not isinstance(raw, list):
            expected = f"a list; write [{_found(raw)}]"
            if isinstance(shape.item, Table) and len(path) == 1:
                expected = f"a list of tables; write [[{dotted(path)}]]"
            self._mistyped(raw, path, expected)
            return _WRONG
        values = [self.value(shape.item, inner, self._element(path, index)) for index, inner in enumerate(raw)]
        return tuple(value for value in values if value is not _WRONG)

    def _element(self, path: Path, index: int) -> Path:
        return path if self._report.variable(path) else (*path, index)

    def _scalar(self, shape: Scalar, raw: Any, path: Path) -> Any:
        if not _is(shape.kind, raw):
            self._mistyped(raw, path, _expected(shape, raw, quote=not self._report.variable(path)))
            return _WRONG
        if shape.choices and raw not in shape.choices:
            self._report.at_value(
                path,
                f'{dotted(path)} is "{raw}", expected {listed(shape.choices)}',
                did_you_mean(raw, shape.choices),
            )
            return _WRONG
        low, high = shape.minimum, shape.maximum
        if low is not None and high is not None and not low <= raw <= high:
            self._report.at_value(path, f"{dotted(path)} is {raw}, expected {low:g} to {high:g}")
            return _WRONG
        if shape.notation is not None:
            return self._notation(shape, raw, path)
        return shape.enum(raw) if shape.enum else shape.kind(raw)

    def _notation(self, shape: Scalar, raw: str, path: Path) -> Any:
        if shape.notation is None:
            return raw
        try:
            return shape.notation.parse(raw)
        except NotationError as error:
            self._report.at_value(path, f"{dotted(path)}: {error}", error.remedy, offset=error.offset)
            return _WRONG

    def _mistyped(self, raw: Any, path: Path, expected: str) -> None:
        what, _, remedy = expected.partition("; ")
        self._report.at_value(path, f"{dotted(path)} is {_found(raw)}, expected {what}", remedy)


def _blank(shape: Shape) -> Any:
    """Stands in for a required value that was refused, so that the rest of its table is judged in the same run."""
    match shape:
        case Many():
            return ()
        case Table(keys=keys):
            inner = {key.attribute: _blank(key.shape) for key in keys.values() if key.required}
            return _WRONG if _WRONG in inner.values() else shape.make(**inner)
        case Scalar(notation=None, kind=kind) if kind is str:
            return shape.enum(shape.choices[0]) if shape.enum else "".join(shape.choices[:1])
        case _:
            return _WRONG


def _is(kind: type, raw: Any) -> bool:
    if kind is float:
        return isinstance(raw, int | float) and not isinstance(raw, bool) and raw == raw  # noqa: PLR0124 - nan is no number
    return isinstance(raw, kind) and not (kind is int and isinstance(raw, bool))


def _found(raw: Any) -> str:
    match raw:
        case bool():
            return str(raw).lower()
        case str():
            return f'"{raw}"'
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return str(raw)


def _expected(shape: Scalar, raw: Any, *, quote: bool) -> str:
    """What was expected, and after "; " how to mend it."""
    if shape.notation is not None:
        return shape.notation.expects
    if shape.choices:
        return listed(f'"{choice}"' for choice in shape.choices)
    kind = _KINDS[shape.kind]
    if shape.kind is str and isinstance(raw, int | float) and not isinstance(raw, bool):
        return f'{kind}; write "{raw}"'
    if isinstance(raw, str) and quote and _bare(shape.kind, raw):
        return f"{kind}; write {raw} without quotes"
    return kind


def _bare(kind: type, text: str) -> bool:
    return bool(re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII)) if kind in {int, float} else text in {"true", "false"}


def _example(shape: Shape) -> str:
    match shape:
        case Scalar(notation=notation) if notation is not None:
            return notation.expects.partition("such as ")[2] or '"…"'
        case Scalar(choices=choices, kind=kind) if choices or kind is not str:
            return f'"{choices[0]}"' if choices else "1"
        case Many(item=item, single=single):
            return _example(item) if single else f"[{_example(item)}]"
        case Table(keys=keys, shorthand=shorthand) if shorthand:
            return _example(keys[shorthand].shape)
        case Table(keys=keys):
            return f"{{ {', '.join(f'{k.name} = {_example(k.shape)}' for k in keys.values() if k.required)} }}"
        case _:
            return '"…"'
