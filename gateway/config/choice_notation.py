"""How choices by request are written: balancing, stickiness, what is tried again. Pure; errors point into the text."""

from __future__ import annotations

import re

import msgspec

from gateway.config.notation import NotationError, did_you_mean, listed
from gateway.domain.upstreams import Balance

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110 section 5.6.2; the length is ours
_PLAIN_SOURCES = ("subject", "client")
_NAMED_SOURCES = ("header", "cookie")
SOURCES = ("header:NAME", "cookie:NAME", *_PLAIN_SOURCES)
_CAUSES = ("connect", "reset", "timeout")
_FIRST_ERROR, _LAST_ERROR = 500, 599


class BalanceRule(msgspec.Struct, frozen=True):
    """How targets are chosen; ``hash_by`` goes with ``hash``."""

    balance: Balance = Balance.ROUND_ROBIN
    hash_by: str = ""


def balance(text: str) -> BalanceRule:
    """A way to choose targets, such as ``least_requests`` or ``hash:cookie:session``."""
    kind, colon, source = text.partition(":")
    plain = [choice.value for choice in Balance if choice is not Balance.HASH]
    forms = [*plain, *(f"hash:{form}" for form in SOURCES)]
    if kind == Balance.HASH:
        if not colon or not source:
            remedy = f"write {listed(f'hash:{form}' for form in SOURCES)}"
            raise NotationError(f'"{text}" does not say what is hashed', offset=len(text), remedy=remedy)
        return BalanceRule(Balance.HASH, caller_source(source, offset=len("hash:")))
    if text not in plain:
        raise NotationError(
            f'"{text}" is no way to balance', remedy=did_you_mean(text, plain) or f"use {listed(forms)}"
        )
    return BalanceRule(Balance(text))


def caller_source(text: str, *, offset: int = 0) -> str:
    """What tells callers apart: ``subject``, ``client``, ``header:NAME`` (made lower case) or ``cookie:NAME``."""
    if text in _PLAIN_SOURCES:
        return text
    kind, colon, name = text.partition(":")
    if kind not in _NAMED_SOURCES or not colon:
        remedy = f'write "{kind}:NAME"' if kind in _NAMED_SOURCES else ""
        if not remedy and TOKEN.fullmatch(text) and "-" in text:
            remedy = f'did you mean "header:{text}"?'
        remedy = remedy or did_you_mean(kind, (*_PLAIN_SOURCES, *_NAMED_SOURCES), otherwise=f"use {listed(SOURCES)}")
        raise NotationError(f'"{text}" does not tell callers apart', offset=offset, remedy=remedy)
    if not TOKEN.fullmatch(name):
        what = "header field" if kind == "header" else "cookie"
        raise NotationError(
            f'"{name}" cannot be the name of a {what}',
            offset=offset + len(kind) + 1,
            remedy="names are letters, digits and dashes",
        )
    return f"{kind}:{name.lower() if kind == 'header' else name}"


def retry_cause(text: str) -> str:
    """``connect``, ``reset``, ``timeout``, or a status from 500 to 599."""
    if text in _CAUSES:
        return text
    if re.fullmatch(r"\d{3}", text, re.ASCII):
        if _FIRST_ERROR <= int(text) <= _LAST_ERROR:
            return text
        raise NotationError(
            f"an answer {text} is not tried again",
            remedy="only statuses from 500 to 599 are",
        )
    if re.fullmatch(r"5xx", text, re.IGNORECASE):
        raise NotationError('"5xx" is not one status', remedy='name each: "502", "503", "504"')
    raise NotationError(
        f'"{text}" is nothing that is tried again',
        remedy=did_you_mean(text, _CAUSES, otherwise=('use "connect", "reset", "timeout" or a status such as "503"')),
    )
