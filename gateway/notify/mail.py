"""Electronic mail by SMTP: text and HTML side by side, one thread per incident, nothing of the traffic in a header raw.

Sent by the standard library in a thread: a mail is rare, and a second implementation of SMTP is not worth a dependency.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING

import msgspec

from gateway import logs
from gateway.errors import DeliveryError
from gateway.notify.message import What
from gateway.notify.wording import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.notify.message import Message

TIMEOUT_S = 8.0  # for each step; the outbox's lease is a minute
_MOST_SUBJECT = 150
_PERMANENT = 500  # RFC 5321, 4.2.1: 5yz is no, 4yz is not now
_log = logs.get("notify")


class Account(msgspec.Struct, frozen=True):
    """The mail server, and who one is there."""

    host: str
    port: int
    security: str  # starttls, tls, none
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Account({self.host}:{self.port})"


class Mail:
    """One sender and its recipients.

    Args:
        name: as configured.
        account: the server.
        sender: the address in From, and on the envelope.
        to: the recipients.
        trust: makes the context that judges the server's certificate; by default the system's authorities.
    """

    kind = "email"
    draws_together = True

    def __init__(
        self,
        name: str,
        account: Account,
        sender: str,
        to: tuple[str, ...],
        *,
        trust: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self.name = name
        self._account = account
        self._sender = sender
        self._to = to
        self._trust = trust

    async def deliver(self, message: Message, now: float) -> None:
        """Hand the mail to the server. Raises DeliveryError."""
        mail = compose(message, self._sender, self._to, now)
        refused = await asyncio.to_thread(self._send, mail)
        if refused:  # the others have it: sending again would tell them twice
            _log.warning("notification.partly_refused", channel=self.name, key=message.key, refused=len(refused))

    def _send(self, mail: EmailMessage) -> dict[str, tuple[int, bytes]]:
        account = self._account
        try:
            with self._connection() as server:
                if account.user:
                    server.login(account.user, account.password)
                return server.send_message(mail, self._sender, list(self._to))
        except smtplib.SMTPAuthenticationError as error:
            raise DeliveryError(
                f"{account.host} refused user and password ({error.smtp_code})",
                retryable=error.smtp_code < _PERMANENT,
                remedy="Look at the variables named in user_env and password_env.",
            ) from error
        except smtplib.SMTPRecipientsRefused as error:
            code = max((answer[0] for answer in error.recipients.values()), default=_PERMANENT)
            raise DeliveryError(
                f"{account.host} refused every recipient ({code})", retryable=code < _PERMANENT
            ) from error
        except smtplib.SMTPResponseException as error:
            said = plain(_text(error.smtp_error), 200)
            raise DeliveryError(
                f"{account.host} answered {error.smtp_code}: {said}", retryable=error.smtp_code < _PERMANENT
            ) from error
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryError(
                f"{account.host}: {plain(str(error), 200)}",
                retryable=False,
                remedy='Most servers offer STARTTLS on port 587 and TLS on 465 (security = "tls").',
            ) from error
        except ssl.SSLError as error:
            raise DeliveryError(
                f"the certificate of {account.host} is not trusted, or it speaks no TLS here"
            ) from error
        except (OSError, smtplib.SMTPException) as error:
            raise DeliveryError(f"{account.host}:{account.port} cannot be reached: {type(error).__name__}") from error

    def _connection(self) -> smtplib.SMTP:
        account = self._account
        if account.security == "tls":
            return smtplib.SMTP_SSL(account.host, account.port, timeout=TIMEOUT_S, context=self._trust())
        server = smtplib.SMTP(account.host, account.port, timeout=TIMEOUT_S)
        try:
            if account.security == "starttls":  # demanded: a server that offers none, or hides it, gets no mail
                server.starttls(context=self._trust())
        except BaseException:
            server.close()
            raise
        return server


def compose(message: Message, sender: str, to: tuple[str, ...], now: float) -> EmailMessage:
    """The mail: all news of one incident answers the same first mail, so readers show one thread."""
    mail = EmailMessage()
    user, _, domain = sender.rpartition("@")
    mail["From"] = Address("SentinelStack", username=user, domain=domain)
    mail["To"] = ", ".join(to)
    mail["Subject"] = _subject(message)
    mail["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    thread = f"<{_digest(message.incident_id)}.incident@{domain}>" if message.incident_id else ""
    own = f"<{_digest(message.key)}.news@{domain}>"
    mail["Message-ID"] = thread if thread and message.what is What.OPENED else own
    if thread and message.what is not What.OPENED:
        mail["In-Reply-To"] = thread
        mail["References"] = thread
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answers by machines
    mail.set_content("\n".join(_plain_lines(message)) + "\n")
    mail.add_alternative(_html(message), subtype="html")
    return mail


def _subject(message: Message) -> str:
    # One subject per incident keeps it one thread even in readers that look at nothing else.
    about = message.about or message.title
    lead = "" if message.what is What.OPENED or not message.incident_id else "Re: "
    return plain(f"{lead}[{message.severity}] {about}", _MOST_SUBJECT)


def _plain_lines(message: Message) -> list[str]:
    lines = [f"{message.severity} {message.title}", "", *message.lines, ""]
    lines += [f"{name}: {value}" for name, value in message.fields]
    return [*lines, "", *(f"{link.text}: {link.url}" for link in message.links)]


def _html(message: Message) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in message.fields)
    links = "".join(
        f'<p><a href="{escape(link.url)}">{escape(link.text)}</a></p>'
        for link in message.links
        if link.url.startswith(("https://", "http://"))
    )
    lines = "".join(f"<p>{escape(line)}</p>" for line in message.lines)
    head = escape(f"{message.severity} {message.title}")
    return (
        f'<!doctype html><html lang="en"><body style="font-family:sans-serif"><h2>{head}</h2>{lines}'
        f"<table>{rows}</table>{links}</body></html>\n"
    )


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said
