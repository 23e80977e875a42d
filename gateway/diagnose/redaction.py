"""Text from outside, made harmless: quoted for people, replaced by typed tokens for the model.

A tenant's name comes out of a token claim, a path and a user agent out of a request, a change's title out of a commit
message: whoever sends them chooses them. People see them quoted and cut; a model sees ``[tenant-1]`` and nothing else,
and the names are put back into its answer. The table that joins the two never leaves this process.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.diagnosis import Evidence
    from gateway.domain.incident import Place

_MOST_CHARACTERS = 40
_MOST_OF_LINE = 160  # of a log: its beginning says what it is about
_MOST_TOKENS = 999  # per kind; what comes after shares the last one
_TOKEN = re.compile(r"\[(?:[a-z]{3,10})-\d{1,3}\]")
# Keys of Evidence.values under which text from outside stands, with the kind of its token.
_HOSTILE_KEYS = {
    "tenant": "tenant",
    "change": "change",
    "client": "client",
    "subject": "subject",
    "agent": "agent",
    "path": "path",
    "runbook": "runbook",
    "alert": "alert",
    "log": "log",
}
# A name of the configuration is a name; anything that looks like more than one is replaced even so.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/\-\[\]]{0,63}")
# What must not leave whatever it stands in: the second line of defence behind the tokens.
_SECRETS = (
    ("secret", re.compile(r"-----BEGIN[A-Z ]+-----[\s\S]*?(?:-----END[A-Z ]+-----|$)")),
    ("secret", re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*")),  # a JSON Web Token
    ("secret", re.compile(r"\b(?:sk|pk|rk|ghp|gho|xox[abprs])[_-][\w-]{10,}")),
    ("secret", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    ("secret", re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}")),
    ("secret", re.compile(r"(?i)\b(?:password|passwd|secret|token|api_?key)\s*[=:]\s*[^\s,;\"]+")),
    ("person", re.compile(r"\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+\b")),
    ("person", re.compile(r"\b(?:\d[ -]?){13,19}\b")),  # numbers of cards and accounts
)


def quoted(text: str, most: int = _MOST_CHARACTERS) -> str:
    """The text in quotes: printable characters only, cut. Empty stays visible as ``""``."""
    clean = "".join(character if character.isprintable() and character not in '"[]' else "·" for character in text)
    cut = clean if len(clean) <= most else clean[: most - 1] + "…"
    return f'"{cut}"'


def quoted_line(text: str) -> str:
    """As :func:`quoted`, for a line of a log."""
    return quoted(text, _MOST_OF_LINE)


def masked(text: str) -> str:
    """The text without what must not leave where it stands: keys, tokens, passwords, addresses of people."""
    for kind, pattern in _SECRETS:
        text = pattern.sub(f"({kind})", text)
    return text


class Redactor:
    """The typed tokens of one incident. ``hide`` before a model sees text, ``show`` before people do.

    Args:
        evidence: its values name what came from outside.
        names: of the configuration (routes, upstreams, targets); only these may stand in a question as they are.
    """

    def __init__(self, evidence: Iterable[Evidence] = (), names: Iterable[str] = ()) -> None:
        self._names = frozenset(name for name in names if _NAME.fullmatch(name))
        self._tokens: dict[tuple[str, str], str] = {}
        self._shown: dict[str, str] = {}  # token → the text as people see it
        self._literal: dict[str, str] = {}  # text to be replaced wherever it stands → token
        self._counts: dict[str, int] = {}
        self.learn(evidence)

    def learn(self, evidence: Iterable[Evidence]) -> None:
        """Give tokens to what came from outside and stands in these facts."""
        for one in evidence:
            for key, value in one.values.items():
                kind = _HOSTILE_KEYS.get(key.partition("_")[0])
                if kind is not None and isinstance(value, str):
                    token = self.token(kind, value)
                    self._literal[quoted(value)] = self._literal[quoted_line(value)] = token

    def token(self, kind: str, text: str) -> str:
        """The typed token for a text, such as ``[path-2]``; the same text of the same kind keeps its own."""
        found = self._tokens.get((kind, text))
        if found is None:
            number = self._counts[kind] = min(self._counts.get(kind, 0) + 1, _MOST_TOKENS)
            found = self._tokens[(kind, text)] = f"[{kind}-{number}]"
            self._shown.setdefault(found, quoted(text))
        return found

    def name(self, kind: str, text: str) -> str:
        """A name as it is if the configuration knows it, else its token; empty stays empty."""
        return text if not text or text in self._names else self.token(kind, text)

    def foreign(self, kind: str, text: str) -> None:
        """Replace this text wherever it stands, unless the configuration knows it as a name."""
        if text and text not in self._names:
            self._literal[text] = self.token(kind, text)

    def place(self, place: Place) -> str:
        """A place in words, with tokens for what the configuration does not know. A tenant is left out."""
        named = (("route", place.route), ("upstream", place.upstream), ("target", place.target))
        words = [f"{kind} {self.name(kind, value)}" for kind, value in named if value]
        if place.status:
            words.append(f"status {place.status}")
        return ", ".join(words) or "all traffic"

    def hide(self, text: str) -> str:
        """``text`` with every known name replaced; whatever is still in quotes was declared by nobody and goes too."""
        for literal in sorted(self._literal, key=len, reverse=True):
            text = text.replace(literal, self._literal[literal])
        text = re.sub(r'"[^"]*"?', "[text]", text)
        for kind, pattern in _SECRETS:
            for found in {match.group() for match in pattern.finditer(text)}:
                text = text.replace(found, self._kept(kind, found))
        return text

    def _kept(self, kind: str, text: str) -> str:
        token = self.token(kind, text)
        # A secret is not shown to people either: they look it up where it stands.
        self._shown[token] = token
        return token

    def show(self, text: str) -> str:
        """``text`` with the names put back; a token that was never given out stays as it is."""
        return _TOKEN.sub(lambda match: self._shown.get(match.group(), match.group()), text)
