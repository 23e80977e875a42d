"""The kinds of channel, and how the operator's entries become channels that deliver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from gateway.errors import ConfigError
from gateway.notify.addresses import is_loopback
from gateway.notify.slack import Slack
from gateway.notify.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.domain.policy import NotifyChannel
    from gateway.notify.http_post import Poster
    from gateway.notify.message import Message


class Channel(Protocol):
    """One place that is told."""

    @property
    def name(self) -> str:
        """As configured."""
        ...

    @property
    def kind(self) -> str:
        """Such as ``slack``; the label of the metric."""
        ...

    async def deliver(self, message: Message, now: float) -> None:
        """Hand the message over. Raises DeliveryError, which says whether to try again."""
        ...


def build(
    configured: Iterable[NotifyChannel], secret: Callable[[str], str | None], poster: Poster
) -> dict[str, Channel]:
    """A channel for each entry, by name.

    Args:
        configured: the operator's entries.
        secret: the value of an environment variable, or None.
        poster: how bodies are sent.

    Raises:
        ConfigError: lists every entry whose variable is unset or whose URL cannot be used; never shows a URL.
    """
    channels: dict[str, Channel] = {}
    problems: list[str] = []
    for entry in configured:
        try:
            channels[entry.name] = _channel(entry, secret, poster)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("; ".join(problems), problems=tuple(problems))
    return channels


def _channel(entry: NotifyChannel, secret: Callable[[str], str | None], poster: Poster) -> Channel:
    url = _url(entry, secret)
    if entry.kind == "slack":
        return Slack(entry.name, url, poster)
    if entry.kind == "webhook":
        return Webhook(entry.name, url, poster, _key(entry, secret))
    raise ConfigError(f"[[notify]] {entry.name}: kind {entry.kind!r} is unknown; use slack or webhook")


def _url(entry: NotifyChannel, secret: Callable[[str], str | None]) -> str:
    url = (secret(entry.url_env) or "") if entry.url_env else entry.url
    where = f"the variable {entry.url_env}" if entry.url_env else "url"
    if not url:
        raise ConfigError(f"[[notify]] {entry.name}: {where} is not set; it has to hold the URL to post to")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"[[notify]] {entry.name}: {where} does not hold an http:// or https:// URL")
    if parts.username or parts.password:
        raise ConfigError(f"[[notify]] {entry.name}: {where} holds a user name or password; use a signature instead")
    if entry.kind == "slack" and parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ConfigError(f"[[notify]] {entry.name}: {where} must be https, because a Slack URL is itself a secret")
    return url


def _key(entry: NotifyChannel, secret: Callable[[str], str | None]) -> bytes:
    if not entry.secret_env:
        return b""
    if value := secret(entry.secret_env):
        return value.encode()
    raise ConfigError(
        f"[[notify]] {entry.name}: the variable {entry.secret_env} is not set; it has to hold the key of the signature"
    )
