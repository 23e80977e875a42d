"""Whose forwarded requests ended how, lately: by network, subject and program, for "who is hurt, who causes it". Pure.

Sums are kept per upstream and one dimension at a time; all of them together would be as many as there are callers.
Memory is bounded: what a full cell cannot tell apart any more is counted under "other", so totals stay exact.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from gateway.domain.traffic import NOT_THE_UPSTREAM, OTHER, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.traffic import RequestRecord

CELL_S = 15
SPAN_S = 900
DIMENSIONS = ("client", "subject", "agent")
_MOST = 1_500  # entries of a cell
_LONGEST = 96  # characters of a subject that are kept
_SERVER_ERROR, _SWITCHED = 500, 101
_PRODUCT = re.compile(r"([A-Za-z][\w.\-]{0,31})/(\d{1,4})")
_CUT_SHORT = str(ErrorKind.UPSTREAM_TRUNCATED)


# Upstream, dimension, value, whether it failed, bit length of the duration in microseconds.
_Entry = tuple[str, str, str, bool, int]


class Ended(NamedTuple):
    """How requests ended."""

    bad: int
    total: int


class Senders:
    """Counts of the last quarter of an hour, in cells of fifteen seconds."""

    def __init__(self) -> None:
        self._cells: dict[int, dict[_Entry, int]] = {}

    def note(self, records: Iterable[RequestRecord]) -> None:
        """Count finished requests that went to an upstream."""
        newest = 0
        for record in records:
            if not record.upstream or record.error in NOT_THE_UPSTREAM:
                continue
            at = int(record.completed_at) // CELL_S * CELL_S
            newest = max(newest, at)
            cell = self._cells.setdefault(at, {})
            failed = record.status >= _SERVER_ERROR or record.error == _CUT_SHORT
            # How long a WebSocket stayed open is not how long anybody waited.
            doublings = record.duration_us.bit_length() if record.status != _SWITCHED else 0
            upstream = record.upstream
            # Plain tuples, spelled out: every record comes by here.
            _count(cell, (upstream, "client", network(record.client), failed, doublings))
            _count(cell, (upstream, "subject", record.subject[:_LONGEST], failed, doublings))
            _count(cell, (upstream, "agent", program(record.user_agent), failed, doublings))
        for old in [at for at in self._cells if at < newest - SPAN_S]:
            del self._cells[old]

    def ended(
        self, start: float, end: float, upstream: str, *, slower_than_us: float | None = None
    ) -> dict[tuple[str, str], Ended]:
        """By (dimension, value), over the cells that begin in [start, end).

        Args:
            start: seconds since the epoch.
            end: seconds since the epoch.
            upstream: whose requests; empty: all.
            slower_than_us: bad are those that took longer, to the next doubling; None: bad are those that failed.
        """
        limit = int(slower_than_us).bit_length() if slower_than_us is not None else None
        out: dict[tuple[str, str], Ended] = {}
        for at, cell in self._cells.items():
            if not start <= at < end:
                continue
            for entry, count in cell.items():
                its_upstream, dimension, value, failed, doublings = entry
                if upstream and its_upstream != upstream:
                    continue
                bad = failed if limit is None else doublings > limit
                known = out.get((dimension, value), Ended(0, 0))
                out[dimension, value] = Ended(known.bad + count * bad, known.total + count)
        return out


def _count(cell: dict[_Entry, int], entry: _Entry) -> None:
    count = cell.get(entry, 0)
    if not count and len(cell) >= _MOST:
        upstream, dimension, _, failed, doublings = entry
        entry = (upstream, dimension, OTHER, failed, doublings)
        count = cell.get(entry, 0)
    cell[entry] = count + 1


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """The network a client's address lies in: /24 of IPv4, /48 of IPv6; empty for what is no address."""
    try:
        version = ip_address(address).version
        return str(ip_network(f"{address}/{24 if version == 4 else 48}", strict=False))  # noqa: PLR2004 - IPv4
    except ValueError:
        return ""


@lru_cache(maxsize=2048)
def program(user_agent: str) -> str:
    """The first product of a user agent with its major version, such as ``curl/8``; empty where it names none."""
    found = _PRODUCT.search(user_agent)
    return f"{found[1]}/{found[2]}" if found else ""
