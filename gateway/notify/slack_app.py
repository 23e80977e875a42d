"""Slack by an app: one thread per incident, its first message kept up to date, decisions taken by button.

Two calls of the Web API (docs.slack.dev): chat.postMessage and chat.update, with the bot's token, whose scope is
chat:write. What the thread of an incident is called is kept in the store, so that every node writes into the same one;
while the store is away, in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway import logs
from gateway.errors import DeliveryError, StoreUnavailableError
from gateway.notify import slack, slack_blocks
from gateway.notify.message import What

if TYPE_CHECKING:
    from gateway.notify.http_post import Poster
    from gateway.notify.message import Message
    from gateway.notify.slack import Json

SERVICE = "https://slack.com/api"
_MOST_ANSWER = 262_144  # the answer repeats the message
_MOST_REMEMBERED = 1_000
_LOUD = frozenset({What.RAISED, What.ESCALATED, What.UNACKNOWLEDGED})  # shown in the channel as well, not only below
_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"})
_LATER = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
        "accesslimited",
    }
)
_REMEDIES = {
    "not_in_channel": "Invite the app into the channel: /invite @SentinelStack.",
    "channel_not_found": "Look at the channel's id, and invite the app where the channel is private.",
    "is_archived": "The channel is archived; name another one.",
    "invalid_auth": "Look at the variable with the bot token (xoxb-…).",
    "not_authed": "Look at the variable with the bot token (xoxb-…).",
    "token_revoked": "Install the app again and take the new bot token.",
    "account_inactive": "Install the app again and take the new bot token.",
    "missing_scope": "Give the app the scope chat:write and install it again.",
}
_log = logs.get("notify")


class Threads(Protocol):
    """What the first message of an incident is called in a channel; satisfied by the store."""

    async def reference(self, channel: str, incident_id: str) -> str:
        """Empty where there is none yet. Raises StoreUnavailableError."""
        ...

    async def keep(self, channel: str, incident_id: str, reference: str, now: float) -> None:
        """Remember it. Raises StoreUnavailableError."""
        ...


class _Said(msgspec.Struct, frozen=True):
    """What Slack answers."""

    ok: bool = False
    error: str = ""
    ts: str = ""
    needed: str = ""


class SlackError(DeliveryError):
    """Slack's own word for what went wrong."""

    def __init__(self, method: str, code: str, needed: str = "") -> None:
        scope = f" (it needs {slack.escaped(needed, 100)})" if needed else ""
        super().__init__(
            f"Slack refused {method}: {slack.escaped(code, 100)}{scope}",
            retryable=code in _LATER,
            remedy=_REMEDIES.get(code, ""),
        )
        self.code = code


class SlackApp:
    """One channel of one workspace.

    Args:
        name: as configured.
        token: the bot token.
        channel_id: where messages go.
        poster: how bodies are sent.
        threads: what is remembered of incidents; None: nothing is (for a test message).
        buttons: whether anybody may decide here.
        service: where the Web API is.
    """

    kind = "slack_app"
    draws_together = True

    def __init__(
        self,
        name: str,
        token: str,
        channel_id: str,
        poster: Poster,
        threads: Threads | None,
        *,
        buttons: bool = False,
        service: str = SERVICE,
    ) -> None:
        self.name = name
        self.channel_id = channel_id
        self._token = token
        self._poster = poster
        self._threads = threads
        self._buttons = buttons
        self._service = service.rstrip("/")
        self._known: dict[str, str] = {}  # incident id → ts, oldest first

    async def deliver(self, message: Message, now: float) -> None:
        """Bring the incident's first message up to date, and add the news to its thread. Raises DeliveryError."""
        if not message.incident_id:
            await self._call("chat.postMessage", slack.payload(message), now)
            return
        thread = await self._thread(message.incident_id)
        root = slack_blocks.root(message, buttons=self._buttons)
        if thread:
            try:
                await self._call("chat.update", {**root, "ts": thread}, now)
            except SlackError as error:
                if error.code not in _GONE:
                    raise
                thread = ""  # somebody deleted it: the incident goes on in a new one
        elif message.what is not What.OPENED:
            _log.info("slack.thread_begun_late", channel=self.name, incident=message.incident_id)
        is_new = not thread
        if is_new:
            thread = await self._call("chat.postMessage", root, now)
            await self._keep(message.incident_id, thread, now)
        if message.what is not What.OPENED:
            body = {**slack_blocks.news(message), "thread_ts": thread}
            if message.what in _LOUD and not is_new:
                body["reply_broadcast"] = True
            await self._call("chat.postMessage", body, now)

    async def whisper(self, user: str, text: str, now: float) -> None:
        """A line only that user sees. Raises DeliveryError."""
        await self._call("chat.postEphemeral", {"user": user, "text": slack.escaped(text, 1000)}, now)

    async def _call(self, method: str, body: Json, now: float) -> str:
        """Call the Web API; the ``ts`` of the message."""
        whole = {"unfurl_links": False, "unfurl_media": False, **body, "channel": self.channel_id}
        if method != "chat.postMessage":
            whole = {name: value for name, value in whole.items() if not name.startswith("unfurl")}
        headers = {"Content-Type": "application/json; charset=utf-8", "Authorization": f"Bearer {self._token}"}
        answer = await self._poster.post(
            f"{self._service}/{method}", msgspec.json.encode(whole), headers, now, most_bytes=_MOST_ANSWER
        )
        try:
            said = msgspec.json.decode(answer.body, type=_Said)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise DeliveryError(f"Slack answered {method} with something that is not its own") from error
        if not said.ok:
            raise SlackError(method, said.error or "no reason given", said.needed)
        return said.ts

    async def _thread(self, incident_id: str) -> str:
        if self._threads is None:
            return ""
        if incident_id in self._known:
            return self._known[incident_id]
        try:
            return await self._threads.reference(self.name, incident_id)
        except StoreUnavailableError:
            return ""

    async def _keep(self, incident_id: str, reference: str, now: float) -> None:
        self._known[incident_id] = reference
        while len(self._known) > _MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        if self._threads is None:
            return
        try:
            await self._threads.keep(self.name, incident_id, reference, now)
        except StoreUnavailableError as error:  # this node goes on in the same thread; another would begin its own
            _log.warning("slack.thread_not_kept", channel=self.name, incident=incident_id, why=str(error))
