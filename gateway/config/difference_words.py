"""Changes of one table of sentinel.toml in plain words: one sentence each, equal meanings are no change. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gateway.config.reading import dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.config.positions import Path

ABSENT = object()
Tables = dict[str, Any]
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DESTINATIONS = ("upstream", "split", "redirect")
# Tables whose absence switches the thing off; without any other table its defaults hold.
_SWITCHED = frozenset({"breaker", "cors", "health", "jwt", "outlier", "tls"})


def shown(value: Any) -> str:
    """A value as the file would hold it."""
    if value is ABSENT:
        return "(default)"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {shown(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(shown(inner) for inner in value)}]"
    return json.dumps(value, ensure_ascii=False, default=str)


def changes(before: Tables, after: Tables, path: Path = ()) -> Iterator[str]:
    """What changed from one table to the other, key by key."""
    told: set[str] = set()
    for keys, words in () if path else _WORDS:
        if any(before.get(key, ABSENT) != after.get(key, ABSENT) for key in keys):
            yield from words(before, after)
        told.update(keys)
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key, ABSENT), after.get(key, ABSENT)
        if old != new and key not in told:
            yield from change(old, new, (*path, key))


def change(old: Any, new: Any, path: Path) -> Iterator[str]:
    """What changed at one key."""
    name = dotted(path)
    switched = str(path[-1]) in _SWITCHED
    if isinstance(old, dict) and isinstance(new, dict):
        yield from changes(old, new, path)
    elif switched and old is ABSENT:
        yield f"{name} switched on: {shown(new)}"
    elif switched and new is ABSENT:
        yield f"{name} switched off (was {shown(old)})"
    elif _plain_list(old) and _plain_list(new):
        yield from _list(name, old, new)
    else:
        yield f"{name} {shown(old)} → {shown(new)}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _plain_list(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)


def _list(name: str, old: list[Any], new: list[Any]) -> Iterator[str]:
    gained = [shown(item) for item in new if item not in old]
    lost = [shown(item) for item in old if item not in new]
    words = ([f"gains {', '.join(gained)}"] if gained else []) + ([f"loses {', '.join(lost)}"] if lost else [])
    yield f"{name} {' and '.join(words)}" if words else f"{name} {shown(old)} → {shown(new)}"


def _listed(value: Any) -> list[Any]:
    if value is ABSENT:
        return []
    return value if isinstance(value, list) else [value]


def _targets(before: Tables, after: Tables) -> Iterator[str]:
    old, new = _weights(before), _weights(after)
    for url in dict.fromkeys((*old, *new)):
        if url not in new:
            yield f"target {url} removed"
        elif url not in old:
            yield f"target {url} added" + (f" with weight {new[url]}" if new[url] != 1 else "")
        elif old[url] != new[url]:
            yield f"target {url} weight {old[url]} → {new[url]}"


def _weights(entry: Tables) -> dict[str, Any]:
    targets = [one if isinstance(one, dict) else {"url": one} for one in _listed(entry.get("targets", ABSENT))]
    return {str(one.get("url", "")): one.get("weight", 1) for one in targets}


def _limits(before: Tables, after: Tables) -> Iterator[str]:
    old, new = ([_limit(one) for one in _listed(entry.get("limit", ABSENT))] for entry in (before, after))
    lost, gained = [one for one in old if one not in new], [one for one in new if one not in old]
    if len(lost) == len(gained) == 1:
        yield f"limit {lost[0]} → {gained[0]}"
        return
    yield from (f"limit {one} removed" for one in lost)
    yield from (f"limit {one} added" for one in gained)


def _limit(value: Any) -> str:
    entry = value if isinstance(value, dict) else {"limit": value}
    return shown(entry.get("limit", "")) + (" in shadow" if entry.get("mode") == "shadow" else "")


def _destination(before: Tables, after: Tables) -> Iterator[str]:
    old, new = _goes(before), _goes(after)
    if old != new:
        yield f"goes to {old} → {new}"


def _goes(entry: Tables) -> str:
    redirect = entry.get("redirect")
    if redirect is not None:
        to = redirect if isinstance(redirect, dict) else {"to": redirect}
        return f"a redirect ({to.get('status', 308)}) to {to.get('to', '')}"
    split = entry.get("split")
    if isinstance(split, dict):
        total = sum(weight for weight in split.values() if isinstance(weight, int)) or 1
        return ", ".join(f"{100 * weight / total:.3g} % {name}" for name, weight in split.items())
    return str(entry.get("upstream", "nothing"))


def _mirror(before: Tables, after: Tables) -> Iterator[str]:
    old, new = _copies(before), _copies(after)
    if old != new:
        yield f"mirrors {old} → {new}"


def _copies(entry: Tables) -> str:
    mirror = entry.get("mirror", ABSENT)
    if mirror is ABSENT:
        return "nothing"
    to = mirror if isinstance(mirror, dict) else {"upstream": mirror}
    return f"{100 * to.get('share', 1):.3g} % to {to.get('upstream', '')}"


_WORDS: tuple[tuple[tuple[str, ...], Callable[[Tables, Tables], Iterator[str]]], ...] = (
    (_DESTINATIONS, _destination),
    (("targets",), _targets),
    (("mirror",), _mirror),
    (("limit",), _limits),
)
