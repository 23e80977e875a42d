"""What a language model is to this stage: one question in, one structured draft out.

A new vendor is one module like :mod:`gateway.diagnose.openai_model` and one line in ``gateway.app``.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from gateway.errors import ModelError

RETRIES = 1  # of a vendor's library: the deadline is short, a second retry would only use it up


class DraftClaim(msgspec.Struct, frozen=True):
    """A sentence and the evidence ids it is said to rest on."""

    text: str
    evidence: tuple[str, ...]


class Draft(msgspec.Struct, frozen=True):
    """What a model wrote, before anybody checked it."""

    title: str
    summary: str
    root_cause: str
    inconclusive: bool
    claims: tuple[DraftClaim, ...]
    steps: tuple[str, ...]
    suggested_actions: tuple[str, ...]


class ModelAnswer(msgspec.Struct, frozen=True):
    """A draft and what it cost in tokens. ``model`` is the name the vendor reports."""

    draft: Draft
    tokens_in: int
    tokens_out: int
    model: str


class LanguageModel(Protocol):
    """One vendor's model."""

    provider: str
    model: str

    async def answer(self, system: str, user: str, *, max_tokens: int) -> ModelAnswer:
        """Ask once.

        Raises:
            ModelError: away, refused, or the answer is unusable (UnusableAnswerError when tokens were spent on it).
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class UnusableAnswerError(ModelError):
    """An answer came and was paid for, but cannot be used."""

    retryable = False

    def __init__(self, message: str, *, tokens_in: int = 0, tokens_out: int = 0) -> None:
        super().__init__(message)
        self.tokens_in = tokens_in
        self.tokens_out = tokens_out


_TEXTS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}

# Strict structured output wants every property required and nothing else allowed, at every level.
ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["title", "summary", "root_cause", "inconclusive", "claims", "steps", "suggested_actions"],
    "properties": {
        "title": {"type": "string", "description": "One line: what is broken and where."},
        "summary": {"type": "string", "description": "Three or four sentences: what, since when, for whom, why."},
        "root_cause": {"type": "string", "description": "One sentence; empty when inconclusive."},
        "inconclusive": {"type": "boolean"},
        "claims": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["text", "evidence"],
                "properties": {"text": {"type": "string"}, "evidence": _TEXTS},
            },
        },
        "steps": _TEXTS,
        "suggested_actions": _TEXTS,
    },
}

_decode = msgspec.json.Decoder(Draft).decode
_MOST_BYTES = 200_000


def draft_of(text: str, *, tokens_in: int, tokens_out: int) -> Draft:
    """The draft in a model's answer.

    Raises:
        UnusableAnswerError: it is not the JSON that was asked for.
    """
    if len(text) > _MOST_BYTES:
        raise UnusableAnswerError("the answer is far too long", tokens_in=tokens_in, tokens_out=tokens_out)
    try:
        return _decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        # The error names the field that is wrong, never the text itself.
        message = f"the answer is not the JSON that was asked for: {error}"
        raise UnusableAnswerError(message, tokens_in=tokens_in, tokens_out=tokens_out) from error


def missing_extra(package: str) -> ModelError:
    """The error for a vendor's library that is not installed."""
    return ModelError(
        f"the library {package!r} is not installed, so no model can be asked",
        remedy="pip install 'sentinelstack[ai]'",
    )


def remedy_for(status: int) -> str:
    """What an operator can do about a vendor's HTTP status; empty when nothing."""
    if status in {401, 403}:
        return "check the key in the variable that [diagnose] api_key_env names"
    return "check the name in [diagnose] model" if status == 404 else ""  # noqa: PLR2004 - HTTP's own number
