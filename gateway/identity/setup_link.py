"""The one-time link that creates the first user: made when there is none, kept hashed, expires, works once.

Two files in the run folder, both 0600: ``setup-link.json`` while the link is open, and the same renamed while somebody
redeems it. The rename is what makes it single use, whoever else races.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import ForbiddenError
from gateway.identity.tokens import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIFE_S = 24 * 3600.0
_RANDOM_BYTES = 32


class _Open(msgspec.Struct, frozen=True):
    digest: bytes
    expires_at: float


class SetupLink:
    """The link of one node; ``run_dir`` must exist and be private."""

    def __init__(self, run_dir: Path) -> None:
        self._open_file = run_dir / "setup-link.json"
        self._claimed_file = run_dir / "setup-link.claimed.json"

    def issue(self, *, now: float) -> str:
        """A new token; the one before it no longer works."""
        text = secrets.token_urlsafe(_RANDOM_BYTES)
        fresh = self._open_file.with_suffix(".new")
        for leftover in (fresh, self._claimed_file):  # of a process that was killed half way
            leftover.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(msgspec.json.encode(_Open(digest=digest_of(text), expires_at=now + LIFE_S)))
        fresh.replace(self._open_file)
        return text

    def matches(self, text: str, *, now: float) -> bool:
        """Whether the token would work now; spends nothing."""
        link = _read(self._open_file)
        return link is not None and now < link.expires_at and secrets.compare_digest(link.digest, digest_of(text))

    @contextmanager
    def redeem(self, text: str, *, now: float) -> Iterator[None]:
        """Hold the link while the first user is saved; spent when the block ends well, open again when it fails.

        Raises:
            ForbiddenError: wrong, expired, spent, or somebody else holds it right now.
        """
        refused = ForbiddenError(
            "this set-up link is not valid: wrong, expired or already used",
            remedy="Restart `sentinel serve` to print a new one; it does so while there is no user.",
        )
        if not self.matches(text, now=now):
            raise refused
        try:
            self._open_file.rename(self._claimed_file)
        except FileNotFoundError:
            raise refused from None
        try:
            yield
        except BaseException:
            self._claimed_file.rename(self._open_file)
            raise
        self._claimed_file.unlink(missing_ok=True)

    def withdraw(self) -> None:
        """No link works any more."""
        self._open_file.unlink(missing_ok=True)
        self._claimed_file.unlink(missing_ok=True)


def _read(file: Path) -> _Open | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Open)
    except (FileNotFoundError, msgspec.DecodeError):  # a torn file is no link; `issue` writes a whole one
        return None
