"""OpenAI's models, and servers that speak its Responses interface, through the official library."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

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
    from openai import AsyncOpenAI
    from openai.types.responses import Response

DEFAULT_MODEL = "gpt-6.1-sol"


class OpenAIModel:
    """Asks for strict structured output, so the answer is JSON of our schema.

    Args:
        model: such as ``gpt-6.1-sol``; empty for the default.
        api_key: the key itself, from the environment.
        base_url: with ``/v1``; empty for OpenAI's own.
        timeout_s: per read; the caller holds the deadline over everything.
    """

    provider = "openai"

    def __init__(self, *, model: str = "", api_key: str, base_url: str = "", timeout_s: float = 20.0) -> None:
        self.model = model or DEFAULT_MODEL
        self._api_key = api_key
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._client: AsyncOpenAI | None = None

    async def turn(self, talk: Talk, *, max_tokens: int) -> Turn:
        """One turn; see :class:`gateway.diagnose.language_model.LanguageModel`."""
        if self._client is None:
            # The import takes a second or two: off the event loop.
            self._client = await asyncio.to_thread(self._connect)
        import openai
        from openai.types.responses import Response

        wanted = {"type": "json_schema", "name": talk.schema_name, "schema": talk.schema, "strict": True}
        options: dict[str, Any] = {"text": {"format": wanted}}
        if talk.tools:
            options["tools"] = [
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                    "strict": True,
                }
                for tool in talk.tools
            ]
            options["tool_choice"] = "auto" if talk.may_ask else "none"
        try:
            response = await self._client.responses.create(
                model=self.model,
                instructions=talk.system,
                input=_input(talk),
                max_output_tokens=max_tokens,
                store=False,
                **options,
            )
        except openai.APIStatusError as error:
            raise ModelError(f"openai answered {error.status_code}", remedy=remedy_for(error.status_code)) from error
        except openai.OpenAIError as error:
            raise ModelError(f"openai is not to be reached: {type(error).__name__}") from error
        except ValueError as error:
            raise ModelError("openai answered something that is not JSON") from error
        if not isinstance(response, Response):
            raise ModelError("openai answered something that is not a response")
        return _turn(response)

    async def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _connect(self) -> AsyncOpenAI:
        try:
            import openai
        except ImportError as error:
            raise missing_extra("openai") from error
        options: dict[str, Any] = {"base_url": self._base_url} if self._base_url else {}
        return openai.AsyncOpenAI(api_key=self._api_key, timeout=self._timeout_s, max_retries=RETRIES, **options)


def _input(talk: Talk) -> Any:
    said: list[dict[str, Any]] = [{"role": "user", "content": talk.user}]
    for exchange in talk.exchanges:
        said += exchange.turn.native
        said += [
            {"type": "function_call_output", "call_id": answer.call_id, "output": answer.text}
            for answer in exchange.answers
        ]
    return said


def _turn(response: Response) -> Turn:
    usage = response.usage
    tokens_in, tokens_out = (usage.input_tokens, usage.output_tokens) if usage is not None else (0, 0)
    if response.status == "incomplete":
        raise UnusableAnswerError("the answer was cut at its token limit", tokens_in=tokens_in, tokens_out=tokens_out)
    texts, calls, native = [], [], []
    for item in response.output or ():
        if item.type == "function_call":
            calls.append(ToolCall(item.call_id, item.name, _arguments(item.arguments)))
            # Without its id it needs none of the vendor's stored thoughts beside it: nothing is stored there.
            native.append(
                {
                    "type": "function_call",
                    "call_id": item.call_id,
                    "name": item.name,
                    "arguments": item.arguments,
                }
            )
        if item.type != "message":
            continue
        for part in item.content:
            if part.type == "refusal":
                raise UnusableAnswerError("the model declined to answer", tokens_in=tokens_in, tokens_out=tokens_out)
            if part.type == "output_text":
                texts.append(part.text)
    text = "".join(texts)
    return Turn(text, tuple(calls), tokens_in, tokens_out, str(response.model), native)


def _arguments(text: str) -> Any:
    try:
        return msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        return None
