"""The kinds of channel, and how the operator's entries become channels that deliver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from gateway.errors import ConfigError
from gateway.notify import pagerduty, slack_app
from gateway.notify.addresses import is_loopback
from gateway.notify.mail import Account, Mail
from gateway.notify.pagerduty import PagerDuty
from gateway.notify.slack import Slack
from gateway.notify.slack_app import SlackApp
from gateway.notify.teams import Teams
from gateway.notify.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.domain.policy import NotifyChannel
    from gateway.notify.http_post import Poster
    from gateway.notify.message import Message
    from gateway.notify.slack_app import Threads

# Whose URL is itself a secret, so that it may not cross a network in clear.
_SECRET_URLS = {"slack": "a Slack URL is itself a secret", "teams": "a Teams URL is itself a secret"}


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

    @property
    def draws_together(self) -> bool:
        """Whether many messages may become one: people read a summary, programs want each event."""
        ...

    async def deliver(self, message: Message, now: float) -> None:
        """Hand the message over. Raises DeliveryError, which says whether to try again."""
        ...


class _Make:
    """What channels are made with."""

    def __init__(self, secret: Callable[[str], str | None], poster: Poster, threads: Threads | None) -> None:
        self.secret = secret
        self.poster = poster
        self.threads = threads

    def variable(self, entry: NotifyChannel, variable: str, what: str) -> str:
        """The value of a variable. Raises ConfigError, which names the variable and never shows a value."""
        value = (self.secret(variable) or "").strip() if variable else ""
        if not value:
            raise ConfigError(f"[[notify]] {entry.name}: the variable {variable} is not set; it has to hold {what}")
        if not value.isprintable():
            raise ConfigError(f"[[notify]] {entry.name}: the variable {variable} holds characters that cannot be sent")
        return value


def build(
    configured: Iterable[NotifyChannel],
    secret: Callable[[str], str | None],
    poster: Poster,
    threads: Threads | None = None,
) -> dict[str, Channel]:
    """A channel for each entry, by name.

    Args:
        configured: the operator's entries.
        secret: the value of an environment variable, or None.
        poster: how bodies are sent.
        threads: what is remembered of incidents' threads; None for messages that belong to none.

    Raises:
        ConfigError: lists every entry whose variable is unset or whose URL cannot be used; never shows a URL.
    """
    make = _Make(secret, poster, threads)
    channels: dict[str, Channel] = {}
    problems: list[str] = []
    for entry in configured:
        try:
            channels[entry.name] = _channel(entry, make)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("; ".join(problems), problems=tuple(problems))
    return channels


def _channel(entry: NotifyChannel, make: _Make) -> Channel:
    made = _KINDS.get(entry.kind)
    if made is None:
        known = ", ".join(_KINDS)
        raise ConfigError(f"[[notify]] {entry.name}: kind {entry.kind!r} is unknown; use one of {known}")
    return made(entry, make)


def _slack(entry: NotifyChannel, make: _Make) -> Channel:
    return Slack(entry.name, _url(entry, make.secret), make.poster)


def _teams(entry: NotifyChannel, make: _Make) -> Channel:
    return Teams(entry.name, _url(entry, make.secret), make.poster)


def _webhook(entry: NotifyChannel, make: _Make) -> Channel:
    url = _url(entry, make.secret)
    key = make.variable(entry, entry.secret_env, "the key of the signature") if entry.secret_env else ""
    return Webhook(entry.name, url, make.poster, key.encode())


def _pagerduty(entry: NotifyChannel, make: _Make) -> Channel:
    key = make.variable(entry, entry.routing_key_env, "the routing key of PagerDuty")
    return PagerDuty(entry.name, key, make.poster, service=_service(entry, pagerduty.SERVICE))


def _slack_app(entry: NotifyChannel, make: _Make) -> Channel:
    token = make.variable(entry, entry.token_env, "the bot token of the Slack app")
    channel_id = entry.channel or make.variable(entry, entry.channel_env, "the id of the Slack channel")
    service = _service(entry, slack_app.SERVICE)
    return SlackApp(
        entry.name, token, channel_id, make.poster, make.threads, buttons=bool(entry.approvers), service=service
    )


def _mail(entry: NotifyChannel, make: _Make) -> Channel:
    user = password = ""
    if entry.user_env:
        user = make.variable(entry, entry.user_env, "the user of the mail server")
        password = make.variable(entry, entry.password_env, "the password of the mail server")
    account = Account(entry.host, entry.port, entry.security, user, password)
    return Mail(entry.name, account, entry.sender, entry.to)


_KINDS: dict[str, Callable[[NotifyChannel, _Make], Channel]] = {
    "slack": _slack,
    "slack_app": _slack_app,
    "pagerduty": _pagerduty,
    "email": _mail,
    "teams": _teams,
    "webhook": _webhook,
}


def _service(entry: NotifyChannel, usual: str) -> str:
    """Where the service is: its keys go there, so not in clear over a network."""
    if entry.url and urlsplit(entry.url).scheme != "https" and not is_loopback(urlsplit(entry.url).hostname or ""):
        raise ConfigError(f"[[notify]] {entry.name}: url must be https, because a key is sent there")
    return entry.url or usual


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
    if entry.kind in _SECRET_URLS and parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ConfigError(f"[[notify]] {entry.name}: {where} must be https, because {_SECRET_URLS[entry.kind]}")
    return url
