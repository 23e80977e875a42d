"""Passwords of dashboard users: bcrypt over a keyed digest, so that no length is cut off silently.

bcrypt looks at 72 bytes and version 5 of the library refuses more. A passphrase may be longer, so bcrypt hashes the
base64 of HMAC-SHA-256(password). The key is public: it only keeps a table of plain SHA-256 digests leaked elsewhere
from being tried against ours ("password shucking"). Text is brought to NFKC first (NIST SP 800-63B, 3.1.1.2).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import unicodedata

import bcrypt

from gateway.errors import InvalidInputError

COST = 12  # 2^12 rounds: about a quarter of a second of one core in 2026; OWASP asks for 10 at the least
SHORTEST = 12  # characters
LONGEST = 256  # characters; keeps the normalisation of hostile input cheap
FEWEST_DISTINCT = 5  # "aaaaaaaaaaaa" and "121212121212" are long but no secret
_DOMAIN = b"sentinelstack password v1"


def check_rules(password: str, *, email: str = "") -> None:
    """Refuse what is too short, too long, too plain, or the account's own name.

    Raises:
        InvalidInputError: with field ``password``.
    """
    if len(password) < SHORTEST:
        raise InvalidInputError(
            f"the password has {len(password)} characters; at least {SHORTEST} are needed",
            field="password",
            remedy="Use a sentence of four or more words.",
        )
    if len(password) > LONGEST:
        raise InvalidInputError(f"the password is longer than {LONGEST} characters", field="password")
    if len(set(password)) < FEWEST_DISTINCT:
        raise InvalidInputError(
            f"the password has fewer than {FEWEST_DISTINCT} different characters",
            field="password",
            remedy="Use a sentence of four or more words.",
        )
    if email and password.strip().lower() == email.strip().lower():
        raise InvalidInputError("the password is the e-mail address", field="password")


class Passwords:
    """Hashes and verifies; ``cost`` is bcrypt's work factor (tests use 4).

    Both methods take a core for a quarter of a second and release the interpreter lock: call them in a thread.
    """

    def __init__(self, *, cost: int = COST) -> None:
        self._cost = cost
        # Verified against when there is no such user, so that a wrong name takes as long as a wrong password.
        self._nobody = bcrypt.hashpw(_digest("nobody has this password"), bcrypt.gensalt(cost))

    def hash(self, password: str) -> str:
        """The string bcrypt itself writes, 60 characters."""
        return bcrypt.hashpw(_digest(password), bcrypt.gensalt(self._cost)).decode("ascii")

    def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is right; None (no such user) takes the same time and is never right."""
        if password_hash is None:
            bcrypt.checkpw(_digest(password), self._nobody)
            return False
        try:
            return bcrypt.checkpw(_digest(password), password_hash.encode("ascii"))
        except ValueError:  # a stored string that is no bcrypt hash lets nobody in
            return False


def _digest(password: str) -> bytes:
    text = unicodedata.normalize("NFKC", password[: LONGEST + 1]).encode("utf-8", "surrogatepass")
    return base64.b64encode(hmac.digest(_DOMAIN, text, hashlib.sha256))
