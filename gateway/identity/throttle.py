"""Slows down guessing: per account and per address, exponentially, in a table of bounded size.

An attempt is counted before its password is checked and forgiven when it succeeds, so that a burst of parallel
attempts cannot all slip past the same reading of the table.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

import msgspec

from gateway.errors import TooManyAttemptsError

ROWS = 20_000
FORGET_AFTER_S = 3600.0


class Rule(msgspec.Struct, frozen=True):
    """``free`` failures cost nothing; each further one doubles the wait from ``first_s`` up to ``longest_s``."""

    free: int
    first_s: float
    longest_s: float


# An account's wait stays short, because anybody can cause it; an address's may be long, but many people share one.
ACCOUNT = Rule(free=5, first_s=2.0, longest_s=60.0)
ADDRESS = Rule(free=20, first_s=2.0, longest_s=900.0)


class _Row(msgspec.Struct):
    failures: int = 0
    last_at: float = 0.0
    blocked_until: float = 0.0


class Throttle:
    """One table of recent failures. Not thread-safe: one event loop owns it."""

    def __init__(self, *, rows: int = ROWS, account: Rule = ACCOUNT, address: Rule = ADDRESS) -> None:
        self._rows: OrderedDict[tuple[str, str], _Row] = OrderedDict()
        self._limit = rows
        self._rules = {"account": account, "address": address}
        self.evicted = 0  # rows pushed out by newer ones since start

    def begin(self, account: str, address: str, *, now: float) -> None:
        """Count an attempt about to be made.

        Raises:
            TooManyAttemptsError: the account or the address has to wait first; nothing is counted then.
        """
        keys = _keys(account, address)
        wait_s = max((row.blocked_until - now for key in keys if (row := self._rows.get(key))), default=0.0)
        if wait_s > 0:
            raise TooManyAttemptsError(
                "too many failed attempts to sign in", retry_after_s=wait_s, remedy="Wait, then try again."
            )
        for key in keys:
            self._count(key, now)

    def succeeded(self, account: str, address: str) -> None:
        """Forget the account's failures and forgive the address this one attempt."""
        account_key, address_key = _keys(account, address)
        self._rows.pop(account_key, None)
        row = self._rows.get(address_key)
        if row is not None:
            row.failures = max(0, row.failures - 1)
            row.blocked_until = 0.0

    def _count(self, key: tuple[str, str], now: float) -> None:
        row = self._rows.get(key)
        if row is None or now - row.last_at > FORGET_AFTER_S:
            row = self._rows[key] = _Row()
        self._rows.move_to_end(key)
        row.failures += 1
        row.last_at = now
        rule = self._rules[key[0]]
        beyond = row.failures - rule.free
        if beyond > 0:
            row.blocked_until = now + min(rule.longest_s, rule.first_s * 2.0 ** min(beyond - 1, 30))
        while len(self._rows) > self._limit:
            self._rows.popitem(last=False)
            self.evicted += 1


def _keys(account: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("account", account.strip().lower()[:256]), ("address", _network(address))


def _network(address: str) -> str:
    """An IPv4 address itself; an IPv6 address's /64, which one customer line owns whole."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 6:  # noqa: PLR2004 - the version of the protocol
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
