"""Anthropic's models through the official library; the only module that imports it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.diagnose.language_model import (
    ANSWER_SCHEMA,
    RETRIES,
    ModelAnswer,
    UnusableAnswerError,
    draft_of,
    missing_extra,
    remedy_for,
)
from gateway.errors import ModelError

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.types import Message

DEFAULT_MODEL = "claude-sonnet-5-5"


class AnthropicModel:
    """Asks for structured output (``output_config``), so the answer is JSON of our schema.

    Args:
        model: such as ``claude-sonnet-5-5``; empty for the default.
        api_key: the key itself, from the environment.
        base_url: without ``/v1``; empty for Anthropic's own.
        timeout_s: per read; the caller holds the deadline over everything.
    """

    provider = "anthropic"

    def __init__(self, *, model: str = "", api_key: str, base_url: str = "", timeout_s: float = 20.0) -> None:
        self.model = model or DEFAULT_MODEL
        self._api_key = api_key
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._client: AsyncAnthropic | None = None

    async def answer(self, system: str, user: str, *, max_tokens: int) -> ModelAnswer:
        """Ask once; see :class:`gateway.diagnose.language_model.LanguageModel`."""
        if self._client is None:
            # The import takes a second or two: off the event loop.
            self._client = await asyncio.to_thread(self._connect)
        import anthropic

        try:
            message = await self._client.messages.create(
                model=self.model,
                max_tokens=max_tokens,
                system=system,
                messages=[{"role": "user", "content": user}],
                output_config={"format": {"type": "json_schema", "schema": ANSWER_SCHEMA}},
            )
        except anthropic.APIStatusError as error:
            raise ModelError(f"anthropic answered {error.status_code}", remedy=remedy_for(error.status_code)) from error
        except anthropic.AnthropicError as error:
            raise ModelError(f"anthropic is not to be reached: {type(error).__name__}") from error
        except ValueError as error:
            raise ModelError("anthropic answered something that is not JSON") from error
        # The library does not validate what it is sent: any JSON object becomes a Message, with None for what lacks.
        if any(getattr(message, name, None) is None for name in ("usage", "content")):
            raise ModelError("anthropic answered something that is not a message")
        return _answer(message)

    async def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _connect(self) -> AsyncAnthropic:
        try:
            import anthropic
        except ImportError as error:
            raise missing_extra("anthropic") from error
        options: dict[str, Any] = {"base_url": self._base_url} if self._base_url else {}
        return anthropic.AsyncAnthropic(api_key=self._api_key, timeout=self._timeout_s, max_retries=RETRIES, **options)


def _answer(message: Message) -> ModelAnswer:
    tokens_in, tokens_out = message.usage.input_tokens, message.usage.output_tokens
    if message.stop_reason == "refusal":
        raise UnusableAnswerError("the model declined to answer", tokens_in=tokens_in, tokens_out=tokens_out)
    if message.stop_reason == "max_tokens":
        raise UnusableAnswerError("the answer was cut at its token limit", tokens_in=tokens_in, tokens_out=tokens_out)
    text = "".join(block.text for block in message.content if block.type == "text")
    draft = draft_of(text, tokens_in=tokens_in, tokens_out=tokens_out)
    return ModelAnswer(draft=draft, tokens_in=tokens_in, tokens_out=tokens_out, model=message.model)
