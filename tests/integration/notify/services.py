"""Local stand-ins for Slack's Web API, PagerDuty, Teams and a mail server: as strict as the real ones are.

What the real service would refuse is refused here in the same words: fields too long, blocks too many, unknown keys.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "xoxb-local"
CHANNEL = "C024BE91L"
KEY = "0123456789abcdef0123456789abcdef"


class Service:
    """An HTTP server that hands each JSON body to ``answer``, and gives ``failures`` first."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[tuple[int, dict[str, str], str]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        raise NotImplementedError

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:])}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        path = head[0].split(" ")[1]
        more: dict[str, str] = {}
        if self.failures:
            status, more, text = self.failures.pop(0)
            body = text.encode()
        else:
            self.calls.append((path, json.loads(raw)))
            status, said = self.answer(path, headers, json.loads(raw))
            body = json.dumps(said).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *(f"{n}: {v}" for n, v in more.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        writer.close()


class SlackService(Service):
    """chat.postMessage, chat.update and chat.postEphemeral."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, dict[str, Any]] = {}
        self.whispers: list[dict[str, Any]] = []

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        wrong = self._wrong(path, headers, body)
        if wrong:
            return 200, {"ok": False, "error": wrong}
        if path == "/chat.postEphemeral":
            self.whispers.append(body)
            return 200, {"ok": True}
        if path == "/chat.update":
            ts = body["ts"]
            if ts not in self.messages:
                return 200, {"ok": False, "error": "message_not_found"}
        else:
            ts = f"1767236400.{len(self.messages):06d}"
        self.messages[ts] = body
        return 200, {"ok": True, "ts": ts, "channel": CHANNEL, "message": body}

    def _wrong(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> str:
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return "invalid_auth"
        if path not in {"/chat.postMessage", "/chat.update", "/chat.postEphemeral"}:
            return "unknown_method"
        if body.get("channel") != CHANNEL:
            return "channel_not_found"
        if body.get("thread_ts") and body["thread_ts"] not in self.messages:
            return "thread_not_found"
        return block_errors(body.get("blocks", [])) or ("" if body.get("text") else "no_text")


def block_errors(blocks: list[dict[str, Any]]) -> str:  # noqa: PLR0911 - one return per refusal
    """``invalid_blocks`` where Slack would say so."""
    if len(blocks) > 50:
        return "invalid_blocks: too many"
    for block in blocks:
        texts = [block["text"]] if "text" in block else []
        if block["type"] == "section":
            fields = block.get("fields", [])
            if len(fields) > 10 or any(not 0 < len(field["text"]) <= 2000 for field in fields):
                return "invalid_blocks: fields"
            if any(not 0 < len(text["text"]) <= 3000 for text in texts) or not (texts or fields):
                return "invalid_blocks: text"
        elif block["type"] == "actions":
            if not 0 < len(block["elements"]) <= 25:
                return "invalid_blocks: elements"
            ids = [element["action_id"] for element in block["elements"]]
            if len(ids) != len(set(ids)):
                return "invalid_blocks: action_id"
            if any(why := button_error(element) for element in block["elements"]):
                return why
        else:
            return f"invalid_blocks: {block['type']}"
    return ""


def marked_up(value: Any) -> list[str]:
    """Every text that Slack reads as mrkdwn; plain_text shows what it is."""
    if isinstance(value, list):
        return [text for one in value for text in marked_up(one)]
    if not isinstance(value, dict):
        return []
    own = [value["text"]] if value.get("type") == "mrkdwn" else []
    return own + [text for one in value.values() for text in marked_up(one)]


def button_error(button: dict[str, Any]) -> str:
    """What Slack would not take of a button."""
    confirm = button.get("confirm", {})
    limits = (
        (button["text"], 75),
        (confirm.get("title"), 100),
        (confirm.get("text"), 300),
        (confirm.get("confirm"), 30),
        (confirm.get("deny"), 30),
    )
    if any(text is not None and not 0 < len(text["text"]) <= limit for text, limit in limits):
        return "invalid_blocks: button text"
    if len(button.get("value", "")) > 2000 or len(button.get("url", "")) > 3000 or len(button["action_id"]) > 255:
        return "invalid_blocks: button value"
    return "" if button.get("style", "primary") in {"primary", "danger"} else "invalid_blocks: style"


class PagerDutyService(Service):
    """Events API v2; ``alerts`` is dedup_key → state."""

    def __init__(self) -> None:
        super().__init__()
        self.alerts: dict[str, str] = {}
        self.pages: list[str] = []  # dedup keys that rang

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        del headers
        errors = self._errors(path, body)
        if errors:
            return 400, {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
        key, action = body["dedup_key"], body["event_action"]
        if action == "trigger" and self.alerts.get(key, "resolved") == "resolved":
            self.pages.append(key)
            self.alerts[key] = "triggered"
        elif action != "trigger" and self.alerts.get(key, "resolved") != "resolved":
            self.alerts[key] = "acknowledged" if action == "acknowledge" else "resolved"
        return 202, {"status": "success", "message": "Event processed", "dedup_key": key}

    @staticmethod
    def _errors(path: str, body: dict[str, Any]) -> list[str]:
        errors = [] if path == "/v2/enqueue" else ["path"]
        known = {"routing_key", "event_action", "dedup_key", "payload", "client", "client_url", "links", "images"}
        errors += [name for name in body if name not in known]
        if body.get("routing_key") != KEY:
            errors.append("routing_key")
        if body.get("event_action") not in {"trigger", "acknowledge", "resolve"}:
            errors.append("event_action")
        if not 0 < len(body.get("dedup_key", "")) <= 255:
            errors.append("dedup_key")
        if body.get("event_action") == "trigger":
            payload = body.get("payload", {})
            if not 0 < len(payload.get("summary", "")) <= 1024:
                errors.append("summary")
            if payload.get("severity") not in {"critical", "error", "warning", "info"} or not payload.get("source"):
                errors.append("severity")
        return errors


class TeamsService(Service):
    """A workflow that posts Adaptive Cards."""

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        del path
        attachment = body["attachments"][0]
        fits = (
            body["type"] == "message"
            and attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
            and attachment["content"]["type"] == "AdaptiveCard"
            and int(headers["content-length"]) <= 28 * 1024
        )
        return (202, {}) if fits else (400, {"error": "bad card"})


class MailService:
    """An SMTP server: EHLO, perhaps STARTTLS, MAIL, RCPT, DATA. ``refuse`` maps a verb to its answer."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.recipients: list[str] = []
        self.refuse: dict[str, str] = {}
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(text: str) -> None:
            writer.write(text.encode() + b"\r\n")
            await writer.drain()

        await say("220 local ESMTP")
        while line := (await reader.readline()).decode("latin-1").strip():
            verb = line.split(" ")[0].split(":")[0].upper()
            if verb in self.refuse:
                await say(self.refuse[verb])
            elif verb == "EHLO":
                await say("250-local\r\n250 8BITMIME")
            elif verb == "DATA":
                await say("354 go on")
                self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                await say("250 kept")
            elif verb == "QUIT":
                await say("221 bye")
                break
            else:
                if verb == "RCPT":
                    self.recipients.append(line)
                await say("250 fine")
        writer.close()


@asynccontextmanager
async def running(service: Any) -> AsyncIterator[Any]:
    """The service on a loopback port."""
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, limit=1024 * 1024)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()
        await asyncio.sleep(0)
