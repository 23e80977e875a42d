"""A loopback server that speaks the wire formats of both model vendors, for tests with the real libraries.

Anthropic: ``POST /v1/messages``; OpenAI: ``POST /v1/responses``. Behaviour is set per test; requests are kept.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD: dict[str, Any] = {
    "title": "Target 127.0.0.1:9201 of payments is down",
    "summary": "One of two payments targets refuses connections.",
    "root_cause": "Target 127.0.0.1:9201 of payments accepts no connections.",
    "inconclusive": False,
    "claims": [{"text": "All requests to 127.0.0.1:9201 fail.", "evidence": ["e1"]}],
    "steps": ["Eject the target.", "Restart it."],
    "suggested_actions": ["act-1"],
}


STANDS: dict[str, Any] = {"verdict": "stands", "reason": "", "evidence": [], "refuted_claims": []}


class ModelServer:
    """Answers every question with ``body`` until told otherwise.

    Attributes:
        answer: the structured answer, or a text that is sent as it is.
        status: HTTP status; anything but 200 sends an error object.
        drip_s: seconds between single bytes of the body; 0 sends it whole.
        refuse: the vendor's own form of declining.
        raw: sent instead of the vendor's envelope.
        respond: computes ``answer`` from the question's text.
        ask: rounds of questions (name, arguments) asked one after the other before the answer comes.
        objection: the answer to whoever asks for an objection.
    """

    def __init__(self) -> None:
        self.answer: dict[str, Any] | str = GOOD
        self.status = 200
        self.drip_s = 0.0
        self.refuse = False
        self.raw: bytes | None = None
        self.ask: list[list[tuple[str, Any]]] = []
        self.objection: dict[str, Any] = STANDS
        self.respond: Callable[[str], dict[str, Any]] | None = None
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def anthropic_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            path = first.split(" ")[1]
            headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
            question = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.requests.append((path, headers, question))
            body = self._body(path, question)
            kind = "text/html" if self.raw is not None and not self.raw.startswith(b"{") else "application/json"
            writer.write(
                f"HTTP/1.1 {self.status} X\r\ncontent-type: {kind}\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
            )
            if self.drip_s:
                for byte in body:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(self.drip_s)
            else:
                writer.write(body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up, as some tests want it to
        finally:
            writer.close()

    def _body(self, path: str, question: dict[str, Any]) -> bytes:
        if self.raw is not None:
            return self.raw
        if self.status != 200:
            return json.dumps({"type": "error", "error": {"type": "x", "message": "SECRET DETAIL"}}).encode()
        answer: Any
        may_ask = question.get("tool_choice") in ({"type": "auto"}, "auto")
        if self.ask and may_ask:
            asked = [(f"call-{number}", *one) for number, one in enumerate(self.ask.pop(0))]
            asking = self._anthropic("", question, asked) if path == "/v1/messages" else None
            return json.dumps(asking or self._openai("", question, asked)).encode()
        if "refuted_claims" in json.dumps(question.get("output_config") or question.get("text")):
            answer = self.objection
        else:
            answer = self.respond(json.dumps(question)) if self.respond else self.answer
        text = answer if isinstance(answer, str) else json.dumps(answer)
        envelope = self._anthropic(text, question) if path == "/v1/messages" else self._openai(text, question)
        return json.dumps(envelope).encode()

    def _anthropic(self, text: str, question: dict[str, Any], asked: Any = ()) -> dict[str, Any]:
        content = [{"type": "text", "text": text}] if text else []
        content += [{"type": "tool_use", "id": call, "name": name, "input": given} for call, name, given in asked]
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": question["model"],
            "content": [] if self.refuse else content,
            "stop_reason": "refusal" if self.refuse else "tool_use" if asked else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1000, "output_tokens": 200},
        }

    def _openai(self, text: str, question: dict[str, Any], asked: Any = ()) -> dict[str, Any]:
        calls = [
            {
                "type": "function_call",
                "id": f"fc-{call}",
                "call_id": call,
                "name": name,
                "arguments": given if isinstance(given, str) else json.dumps(given),
                "status": "completed",
            }
            for call, name, given in asked
        ]
        part = {"type": "refusal", "refusal": "no"} if self.refuse else None
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1.0,
            "model": question["model"],
            "status": "completed",
            "output": calls
            or [
                {
                    "type": "message",
                    "id": "m",
                    "role": "assistant",
                    "status": "completed",
                    "content": [part or {"type": "output_text", "text": text, "annotations": []}],
                }
            ],
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": 1000,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": 200,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 1200,
            },
        }
