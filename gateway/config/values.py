"""The kinds of values a key of sentinel.toml may hold."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from gateway.config import choice_notation, limit_notation, notation
from gateway.config.choice_notation import BalanceRule
from gateway.config.limit_notation import Rule
from gateway.config.notation import Address
from gateway.config.schema import Notation, OneOrMany


class Url(str):
    """A URL whose ``repr`` hides the password, so that no log line or trace shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        scheme, separator, rest = self.partition("://")
        shown = rest.rpartition("@")[2]
        return f"'{scheme}{separator}{'[hidden]@' if '@' in rest else ''}{shown}'"


Duration = Annotated[float, Notation(notation.duration, 'a duration such as "30s"')]
Pause = Annotated[float, Notation(notation.pause, 'a duration such as "30s"')]  # zero is meant
Size = Annotated[int, Notation(notation.size, 'a size such as "100MiB"')]
LimitText = Annotated[Rule, Notation(limit_notation.limit, 'a limit such as "100/s burst 200 per subject"')]
TargetUrl = Annotated[Address, Notation(notation.target, 'an address such as "http://10.0.0.5:9000"')]
BalanceText = Annotated[BalanceRule, Notation(choice_notation.balance, 'a way to balance such as "least_requests"')]
CallerSource = Annotated[str, Notation(choice_notation.caller_source, 'what tells callers apart, such as "subject"')]
RetryCause = Annotated[str, Notation(choice_notation.retry_cause, 'what is tried again, such as "connect"')]
WebUrl = Annotated[str, Notation(notation.web_url, "an http or https URL")]
Network = Annotated[str, Notation(notation.network, 'a network such as "10.0.0.0/8"')]
Secretive = Annotated[Url, Notation(Url, "a URL")]
Texts = Annotated[tuple[str, ...], OneOrMany()]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


def key(name: str, default: Any = msgspec.NODEFAULT) -> Any:
    """A field whose key in the file has another name than the attribute, which carries the unit."""
    return msgspec.field(default=default, name=name)
