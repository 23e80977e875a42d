"""``sentinel key import``: keys that callers have already, from Kong or any other gateway, taken over by their digest.

The text of a key is hashed here, before anything else is done with it: it is neither printed, nor sent, nor kept.
"""

from __future__ import annotations

import getpass
import re
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from gateway.cli import terminal
from gateway.cli.control_client import connect
from gateway.cli.terminal import ConfigOption, JsonOption
from gateway.identity.api_keys import LONGEST_TEXT, SHORTEST_TEXT, digest_of

_MOST_AT_ONCE = 1000  # as many as one call takes
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


class _KongKey(msgspec.Struct):
    key: str = ""
    ttl: int | None = None  # seconds since its creation, of which the file does not tell


class _KongGroup(msgspec.Struct):
    group: str


class _KongConsumer(msgspec.Struct):
    username: str = ""
    custom_id: str = ""
    keyauth_credentials: tuple[_KongKey, ...] = ()
    acls: tuple[_KongGroup, ...] = ()


class _KongDump(msgspec.Struct):
    consumers: tuple[_KongConsumer, ...] = ()


class Found(NamedTuple):
    """One key to take over."""

    digest: str
    subject: str
    scopes: tuple[str, ...]


def import_keys(
    *,
    tenant: Annotated[str, typer.Option(help="Whom the keys belong to.")],
    subject: Annotated[str, typer.Option(help="Name in records and limits; the key's id when left out.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="A scope it carries; may be given several times.")] = None,
    days: Annotated[int, typer.Option(min=0, help="Expires after so many days; 0: never.")] = 0,
    digest: Annotated[str, typer.Option(help="SHA-256 of the key in hexadecimal, instead of its text.")] = "",
    kong: Annotated[Path | None, typer.Option(help="All keys of this `deck gateway dump --format json`.")] = None,
    config: ConfigOption = "sentinel.toml",
    as_json: JsonOption = False,
) -> None:
    """Take over a key that a caller has already: its text is asked for, or the first line of standard input."""
    scopes = tuple(scope or ())
    if kong is not None and (digest or subject):
        terminal.fail(
            "--kong brings subjects and keys of its own", "leave out --digest and --subject", code=terminal.USAGE
        )
    found = of_kong(kong, scopes) if kong is not None else [Found(_one_digest(digest), subject, scopes)]
    control = connect(config)
    imported, known = [], 0
    for start in range(0, len(found), _MOST_AT_ONCE):
        keys = [one._asdict() | {"tenant": tenant} for one in found[start : start + _MOST_AT_ONCE]]
        body = {"keys": keys, **({"expires_in_s": days * 86400} if days else {})}
        answer = control.call("POST", "/api/v1/keys/import", body=body)
        imported += answer["imported"]
        known += answer["known"]
    if as_json:
        terminal.print_json({"imported": imported, "known": known})
        return
    terminal.table(("id", "tenant", "subject"), [(key["id"], key["tenant"], key["subject"]) for key in imported])
    terminal.good(f"{len(imported)} imported, {known} known before; callers send them as X-Api-Key")


def _one_digest(digest: str) -> str:
    if digest:
        if not _DIGEST.fullmatch(digest):
            terminal.fail("--digest is not a SHA-256 in hexadecimal", "write its 64 digits", code=terminal.USAGE)
        return digest.lower()
    text = getpass.getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if problem := unfit(text):
        terminal.fail(f"the key {problem}", "issue a new one: sentinel key create")
    return digest_of(text).hex()


def unfit(text: str) -> str:
    """Why a key cannot be taken over, or nothing; never says what it is."""
    if not text.isascii() or not text.isprintable() or text != text.strip():
        return "has characters or blanks at its ends that no header field carries"
    if len(text) < SHORTEST_TEXT:
        return f"has fewer than {SHORTEST_TEXT} characters and could be guessed"
    return f"has more than {LONGEST_TEXT} characters" if len(text) > LONGEST_TEXT else ""


def of_kong(file: Path, scopes: tuple[str, ...]) -> list[Found]:
    """The keys of all consumers, with their groups as scopes; ends the command where one cannot be taken over."""
    try:
        dump = msgspec.json.decode(file.read_bytes(), type=_KongDump)
    except OSError as error:
        terminal.fail(f"{file} cannot be read: {error.strerror}", "give the path of the dump")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The decoder's words name a place in the file, never a value of it.
        terminal.fail(f"{file} is no dump in JSON: {error}", "deck gateway dump --format json -o kong.json")
    found, problems = [], []
    for consumer in dump.consumers:
        name = consumer.username or consumer.custom_id
        groups = tuple(dict.fromkeys((*(acl.group for acl in consumer.acls), *scopes)))
        for number, credential in enumerate(consumer.keyauth_credentials, 1):
            problem = unfit(credential.key) or ("ends by itself (ttl)" if credential.ttl else "")
            if problem:
                problems.append(f"consumer {name}: key {number} {problem}")
            found.append(Found(digest_of(credential.key).hex(), name, groups))
    if problems:
        terminal.fail("\n  ".join(problems), "take these out of the file, and issue new ones: sentinel key create")
    if not found:
        terminal.fail(f"{file} has no consumer with a key", "dump all workspaces that have some")
    return found
