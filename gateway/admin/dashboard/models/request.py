"""One request: where its time went, and how to send it again without its secrets."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import msgspec

from gateway.admin.dashboard import wording
from gateway.domain.access import AuthMode

if TYPE_CHECKING:
    from gateway.domain.routing import Route
    from gateway.domain.traffic import RequestRecord

# (field, name, what it is) in the order the time passes.
PARTS: tuple[tuple[str, str, str], ...] = (
    ("wait", "Wait", "before the gateway's steps began"),
    ("auth", "Authentication", "verifying who calls"),
    ("limit", "Limits", "asking the token buckets"),
    ("connect", "Connect", "to the target"),
    ("upstream", "Upstream", "until the target's first byte"),
    ("stream", "Stream", "until the last byte went on"),
)
LEDGER_WIDTH = 1000
# Parameters whose value is a secret wherever they appear; matched as parts of the name, without case.
_SECRET_NAME = re.compile(
    r"token|secret|passw|api[-_]?key|apikey|signature|(?:^|[-_])(?:sig|key|auth|code|pwd)$", re.IGNORECASE
)
REDACTED = "REDACTED"


class Part(msgspec.Struct, frozen=True):
    """One stretch of the ledger; ``x`` and ``width`` are in thousandths of the bar."""

    field: str
    name: str
    meaning: str
    duration_us: int
    share: float
    x: float
    width: float


class Ledger(msgspec.Struct, frozen=True):
    """The bar, and the sentence that says who took the time."""

    parts: tuple[Part, ...]
    verdict: str


def ledger(record: RequestRecord) -> Ledger:
    """Split the whole duration into its parts, in the order they happened."""
    times = [(field, name, meaning, int(getattr(record, f"{field}_us"))) for field, name, meaning in PARTS]
    whole = max(1, sum(time for *_, time in times))
    parts, x = [], 0.0
    for field, name, meaning, time in times:
        width = time / whole * LEDGER_WIDTH
        parts.append(Part(field, name, meaning, time, time / whole, round(x, 2), round(width, 2)))
        x += width
    return Ledger(parts=tuple(parts), verdict=_verdict(record))


def _verdict(record: RequestRecord) -> str:
    """Acquits or convicts the gateway: its own steps against what the target took."""
    own = record.wait_us + record.auth_us + record.limit_us
    if not record.attempts:
        return f"The gateway answered by itself after {wording.latency(record.duration_us)}."
    behind = record.connect_us + record.upstream_us
    upstream = record.upstream or "the upstream"
    return f"The gateway's own steps took {wording.latency(own)}; {upstream} took {wording.latency(behind)}."


def redacted_query(query: str) -> str:
    """The query with the value of every parameter whose name sounds secret replaced."""
    pairs = []
    for pair in query.split("&"):
        key, equals, _ = pair.partition("=")
        pairs.append(f"{key}={REDACTED}" if equals and _SECRET_NAME.search(unquote(key)) else pair)
    return "&".join(pairs)


def curl(record: RequestRecord, route: Route | None) -> str:
    """A command that sends the request again: proofs of identity become variables, secrets are left out.

    The path stays as received except for bytes a terminal would act on, which are percent-encoded.
    """
    query = redacted_query(record.query)
    address = quote(record.path + (f"?{query}" if query else ""), safe="/?#[]@!$&'()*+,;=:%~-._{}|\\^`\"<>")
    words = ["curl", "-sS", "-i"]
    if record.method != "GET":
        words += ["-X", shlex.quote(record.method)]
    words.append('"${GATEWAY:-http://127.0.0.1:8000}"' + shlex.quote(address))
    auth = route.auth if route else AuthMode.NONE
    if auth in {AuthMode.JWT, AuthMode.ANY}:
        words += ["-H", '"Authorization: Bearer $TOKEN"']
    elif auth is AuthMode.KEY:
        words += ["-H", '"X-API-Key: $KEY"']
    if record.user_agent:
        words += ["-A", shlex.quote(wording.shown(record.user_agent))]
    if record.bytes_in:
        words += ["--data-binary", "@body"]
    return " ".join(words)
