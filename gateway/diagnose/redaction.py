"""Text from the traffic, made harmless: quoted for people, replaced by typed tokens for the model.

A tenant's name comes out of a token claim, a change's title out of a commit message: whoever sends them chooses them.
People see them quoted and cut; a model sees ``[tenant-1]`` and nothing else, and the names are put back into its
answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.diagnosis import Evidence

_MOST_CHARACTERS = 40
_TOKEN = re.compile(r"\[(?:tenant|change)-\d{1,3}\]")
# Keys of Evidence.values under which text from outside stands, with the kind of its token.
_HOSTILE_KEYS = {"tenant": "tenant", "change": "change"}


def quoted(text: str) -> str:
    """The text in quotes: printable characters only, cut at 40. Empty stays visible as ``""``."""
    clean = "".join(character if character.isprintable() and character not in '"[]' else "·" for character in text)
    cut = clean if len(clean) <= _MOST_CHARACTERS else clean[: _MOST_CHARACTERS - 1] + "…"
    return f'"{cut}"'


class Redactor:
    """The typed tokens of one incident. ``hide`` before a model sees text, ``show`` before people do."""

    def __init__(self, evidence: Iterable[Evidence]) -> None:
        self._tokens: dict[str, str] = {}
        counts: dict[str, int] = {}
        for one in evidence:
            for key, value in one.values.items():
                kind = _HOSTILE_KEYS.get(key.partition("_")[0])
                if kind is None or not isinstance(value, str) or quoted(value) in self._tokens:
                    continue
                counts[kind] = counts.get(kind, 0) + 1
                self._tokens[quoted(value)] = f"[{kind}-{counts[kind]}]"
        self._names = {token: name for name, token in self._tokens.items()}

    def hide(self, text: str) -> str:
        """``text`` with every known name replaced; whatever is still in quotes was declared by nobody and goes too."""
        for name in sorted(self._tokens, key=len, reverse=True):
            text = text.replace(name, self._tokens[name])
        return re.sub(r'"[^"]*"', "[text]", text)

    def show(self, text: str) -> str:
        """``text`` with the names put back; a token that was never given out stays as it is."""
        return _TOKEN.sub(lambda match: self._names.get(match.group(), match.group()), text)
