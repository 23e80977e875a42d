"""The shape of a document, worked out once from its annotations: what the reader, overrides and the reference share."""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Notation:
    """A string with a grammar of its own. ``parse`` raises NotationError; ``expects`` names it with an example."""

    parse: Callable[[str], Any]
    expects: str


@dataclass(frozen=True, slots=True)
class OneOrMany:
    """A list that may be written as its only element."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A table of texts that may be written as true (a usual set) or false."""


@dataclass(frozen=True, slots=True)
class Shorthand:
    """A table that may be written as the bare value of its key ``key``."""

    key: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """A string, number or truth value, perhaps out of ``choices``, within bounds, or in a notation."""

    kind: type
    choices: tuple[str, ...] = ()
    enum: type[Enum] | None = None
    notation: Notation | None = None
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class Many:
    """A list; of tables when ``item`` is one (``[[name]]``)."""

    item: Scalar | Table
    single: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """Values under names of the operator's choice: tables (``[plans.free]``) or plain ones (``{ orders = 95 }``)."""

    item: Scalar | Table
    switch: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a table: ``default`` is msgspec.NODEFAULT where the key is required."""

    name: str
    attribute: str
    shape: Shape
    default: Any

    @property
    def required(self) -> bool:
        """Whether the file must have it."""
        return self.default is msgspec.NODEFAULT


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a fixed set of keys; ``make`` builds its value from attributes."""

    make: type[msgspec.Struct]
    shorthand: str = ""
    keys: dict[str, Key] = field(default_factory=dict, compare=False)


Shape = Scalar | Many | Named | Table


@cache
def table(struct: type[msgspec.Struct], shorthand: str = "") -> Table:
    """The shape of a schema Struct."""
    hints = get_type_hints(struct, include_extras=True)
    keys = {
        item.encode_name: Key(item.encode_name, item.name, _shape(hints[item.name], ()), _default(item))
        for item in msgspec.structs.fields(struct)
    }
    return Table(make=struct, shorthand=shorthand, keys=keys)


def _default(item: msgspec.structs.FieldInfo) -> Any:
    factory = item.default_factory
    return item.default if factory is msgspec.NODEFAULT else factory()


def _shape(hint: Any, notes: tuple[Any, ...]) -> Shape:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _shape(arguments[0], (*notes, *arguments[1:]))
    if origin in {Union, types.UnionType}:
        return _shape(next(one for one in arguments if one is not type(None)), notes)
    if origin is tuple:
        item = _shape(arguments[0], ())
        if not isinstance(item, Scalar | Table):
            raise TypeError(f"a list of {item} has no notation in the file")
        return Many(item, single=any(isinstance(note, OneOrMany) for note in notes))
    if origin is dict:
        item = _shape(arguments[1], ())
        if not isinstance(item, Scalar | Table):
            raise TypeError(f"named {item} has no notation in the file")
        return Named(item, switch=any(isinstance(note, Switch) for note in notes))
    return _leaf(hint, notes)


def _leaf(hint: Any, notes: tuple[Any, ...]) -> Scalar | Table:
    bounds = next((note for note in notes if isinstance(note, msgspec.Meta)), msgspec.Meta())
    notation = next((note for note in notes if isinstance(note, Notation)), None)
    shorthand = next((note.key for note in notes if isinstance(note, Shorthand)), "")
    if notation is not None:
        return Scalar(str, notation=notation)
    if get_origin(hint) is Literal:
        return Scalar(str, choices=get_args(hint))
    if issubclass(hint, Enum):
        return Scalar(str, choices=tuple(str(member.value) for member in hint), enum=hint)
    if issubclass(hint, msgspec.Struct):
        return table(hint, shorthand)
    return Scalar(hint, minimum=bounds.ge, maximum=bounds.le)


def leaves(shape: Table, prefix: str = "") -> Iterator[tuple[str, Key]]:
    """Every key that holds a value, as a path: ``server.port``, ``plans.NAME.limit``, ``routes[].match.path``."""
    for name, entry in shape.keys.items():
        path = f"{prefix}{name}"
        match entry.shape:
            case Table() as inner:
                yield from leaves(inner, f"{path}.")
            case Named(item=Table() as inner):
                yield from leaves(inner, f"{path}.NAME.")
            case Many(item=Table() as inner):
                yield from leaves(inner, f"{path}[].")
            case _:
                yield path, entry
