"""What a language model is to this stage: a talk of a few turns, in which it may ask typed questions first.

A new vendor is one module like :mod:`gateway.diagnose.openai_model` and one line in ``gateway.control.analysis``.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import msgspec

from gateway.errors import ModelError

RETRIES = 1  # of a vendor's library: the deadline is short, a second retry would only use it up
T = TypeVar("T", bound=msgspec.Struct)


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


class Objection(msgspec.Struct, frozen=True):
    """What the second pass has against a draft. It counts only with evidence that exists."""

    verdict: str  # "stands", "weakened", "refuted"
    reason: str
    evidence: tuple[str, ...]
    refuted_claims: tuple[str, ...]  # "c1", "c2", …


class Tool(msgspec.Struct, frozen=True):
    """A question the model may ask. ``parameters`` is the JSON schema of an object without other properties."""

    name: str
    description: str
    parameters: dict[str, Any]


class ToolCall(msgspec.Struct, frozen=True):
    """A question asked. ``arguments`` is whatever the model sent: a dict if it kept to the schema."""

    id: str
    name: str
    arguments: Any


class ToolAnswer(msgspec.Struct, frozen=True):
    """Our answer to a question."""

    call_id: str
    text: str


class Turn(msgspec.Struct, frozen=True):
    """What the model said: text, or questions. ``native`` is the vendor's own form of it, to be sent back."""

    text: str
    calls: tuple[ToolCall, ...]
    tokens_in: int
    tokens_out: int
    model: str  # the name the vendor reports
    native: Any = None


class Exchange(msgspec.Struct, frozen=True):
    """A turn of the model and our answers to its questions."""

    turn: Turn
    answers: tuple[ToolAnswer, ...]


class Talk(msgspec.Struct, frozen=True):
    """Everything said so far, and what the answer must look like.

    ``may_ask`` False wants the answer now: the tools are still listed, because they were used before.
    """

    system: str
    user: str
    schema: dict[str, Any]
    schema_name: str = "report"
    tools: tuple[Tool, ...] = ()
    may_ask: bool = False
    exchanges: tuple[Exchange, ...] = ()

    @property
    def characters(self) -> int:
        """How much is sent, about."""
        said = sum(
            len(answer.text) + len(one.turn.text) for one in self.exchanges for answer in one.answers or (_NOTHING,)
        )
        return len(self.system) + len(self.user) + len(str(self.schema)) + len(str(self.tools)) + said


_NOTHING = ToolAnswer("", "")


class LanguageModel(Protocol):
    """One vendor's model."""

    provider: str
    model: str

    async def turn(self, talk: Talk, *, max_tokens: int) -> Turn:
        """Let it say the next thing.

        Raises:
            ModelError: away, refused, or unusable (UnusableAnswerError when tokens were spent on it).
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
OBJECTION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["verdict", "reason", "evidence", "refuted_claims"],
    "properties": {
        "verdict": {"type": "string", "enum": ["stands", "weakened", "refuted"]},
        "reason": {"type": "string", "description": "One sentence."},
        "evidence": _TEXTS,
        "refuted_claims": {**_TEXTS, "description": "Such as c2; those that the evidence contradicts."},
    },
}

_MOST_BYTES = 200_000


def decoded(turn: Turn, shape: type[T]) -> T:
    """The structured answer in a turn.

    Raises:
        UnusableAnswerError: it is not the JSON that was asked for. Its tokens are not named: the turn was paid for.
    """
    if len(turn.text) > _MOST_BYTES:
        raise UnusableAnswerError("the answer is far too long")
    try:
        return msgspec.json.decode(turn.text.encode(), type=shape)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        # The error names the field that is wrong, never the text itself.
        raise UnusableAnswerError(f"the answer is not the JSON that was asked for: {error}") from error


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
