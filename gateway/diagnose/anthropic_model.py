"""Anthropic's models through the official library; the only module that imports it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.diagnose.language_model import (
    RETRIES,
    Talk,
    ToolCall,
    Turn,
    UnusableAnswerError,
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

    async def turn(self, talk: Talk, *, max_tokens: int) -> Turn:
        """One turn; see :class:`gateway.diagnose.language_model.LanguageModel`."""
        if self._client is None:
            # The import takes a second or two: off the event loop.
            self._client = await asyncio.to_thread(self._connect)
        import anthropic

        options: dict[str, Any] = {}
        if talk.tools:
            options["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
                for tool in talk.tools
            ]
            options["tool_choice"] = {"type": "auto" if talk.may_ask else "none"}
        try:
            message = await self._client.messages.create(
                model=self.model,
                max_tokens=max_tokens,
                system=talk.system,
                messages=_messages(talk),
                output_config={"format": {"type": "json_schema", "schema": talk.schema}},
                **options,
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
        return _turn(message)

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


def _messages(talk: Talk) -> Any:
    said: list[dict[str, Any]] = [{"role": "user", "content": talk.user}]
    for exchange in talk.exchanges:
        said.append({"role": "assistant", "content": exchange.turn.native})
        results = [
            {"type": "tool_result", "tool_use_id": answer.call_id, "content": answer.text}
            for answer in exchange.answers
        ]
        said.append({"role": "user", "content": results})
    return said


def _turn(message: Message) -> Turn:
    tokens_in, tokens_out = message.usage.input_tokens, message.usage.output_tokens
    if message.stop_reason == "refusal":
        raise UnusableAnswerError("the model declined to answer", tokens_in=tokens_in, tokens_out=tokens_out)
    if message.stop_reason == "max_tokens":
        raise UnusableAnswerError("the answer was cut at its token limit", tokens_in=tokens_in, tokens_out=tokens_out)
    return Turn(
        text="".join(block.text for block in message.content if block.type == "text"),
        calls=tuple(
            ToolCall(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"
        ),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        model=message.model,
        # Sent back as it came: a model that thinks before it asks wants its own thoughts back, signature and all.
        native=[block.model_dump(mode="json", exclude_none=True, warnings=False) for block in message.content],
    )
