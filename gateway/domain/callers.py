"""Who asks for what, lately: requests counted by client address and by proven subject, for actions about callers. Pure.

Memory is bounded: a cell that grows too large keeps its busiest callers, and those are the ones an action is about.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.domain.traffic import RequestRecord

CELL_S = 5
SPAN_S = 900
_MOST = 4_000  # entries of a cell before it is cut …
_KEPT = 2_000  # … to its busiest ones
# A subject comes out of a token. One that is not as plain as this is known by its address only: its name would be shown
# to people, and to a model.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,95}")


# A caller, such as "client 192.0.2.7" or "subject acme/ana", and the route it asked for.
Seen = tuple[str, str]


class Callers:
    """Counts of the last quarter of an hour, in cells of five seconds."""

    def __init__(self) -> None:
        self._cells: dict[int, dict[Seen, int]] = {}
        self.since: float | None = None  # of what came before nothing is known, seconds since the epoch
        self.cut = 0  # entries let go of because a cell was full

    def note(self, records: Iterable[RequestRecord]) -> None:
        """Count finished requests, refused ones too: what is asked for, not what is given."""
        newest = 0
        for record in records:
            if not record.route:
                continue
            at = int(record.completed_at) // CELL_S * CELL_S
            newest = max(newest, at)
            self.since = at if self.since is None else min(self.since, at)
            cell = self._cells.setdefault(at, {})
            route = record.route
            for caller in _names(record.client, record.tenant, record.subject):
                seen = (caller, route)
                cell[seen] = cell.get(seen, 0) + 1
            if len(cell) > _MOST:
                self._cells[at] = self._cut(cell)
        for old in [at for at in self._cells if at < newest - SPAN_S]:
            del self._cells[old]

    def asked(self, start: float, end: float, routes: frozenset[str]) -> dict[str, int]:
        """Requests of each caller on these routes, in the cells that begin in [start, end)."""
        out: dict[str, int] = {}
        for at, cell in self._cells.items():
            if start <= at < end:
                for (caller, route), count in cell.items():
                    if route in routes:
                        out[caller] = out.get(caller, 0) + count
        return out

    def _cut(self, cell: dict[Seen, int]) -> dict[Seen, int]:
        kept = dict(sorted(cell.items(), key=lambda entry: -entry[1])[:_KEPT])
        self.cut += len(cell) - len(kept)
        return kept


@lru_cache(maxsize=8192)
def _names(client: str, tenant: str, subject: str) -> tuple[str, ...]:
    """What a request's caller is called in orders about callers; the address first."""
    address = (f"client {client}",) if client else ()
    if subject and _PLAIN.fullmatch(subject) and (not tenant or _PLAIN.fullmatch(tenant)):
        return (*address, f"subject {tenant}/{subject}")
    return address
