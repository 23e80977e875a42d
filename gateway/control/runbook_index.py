"""Runbooks of an index elsewhere, taken into the search over our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.ingest import elasticsearch_queries as queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.domain.runbook import Runbook
    from gateway.ingest.elasticsearch import Elasticsearch

SOURCE = "elasticsearch"
MOST_RUNBOOKS = 300


class RunbookStore(Protocol):
    """Where runbooks are kept and searched."""

    async def of_source(self, source: str) -> Sequence[Runbook]:
        """All that came from there."""
        ...

    async def save(self, runbook: Runbook) -> None:
        """Keep it. Raises InvalidInputError when there are too many."""
        ...

    async def delete(self, runbook_id: str) -> None:
        """Raises NotFoundError."""
        ...


async def take_over(client: Elasticsearch, index: str, store: RunbookStore, now: float) -> None:
    """Bring the store up to the index; nothing is written while nothing changed there.

    Raises:
        SearchError, StoreUnavailableError, InvalidInputError.
    """
    hits = await client.documents(index, queries.all_runbooks(), most=MOST_RUNBOOKS)
    found = {one.id: one for hit in hits if (one := queries.read_runbook(hit, now)) is not None}
    known = {one.id: one for one in await store.of_source(SOURCE)}
    for key, one in found.items():
        before = known.pop(key, None)
        if before is None or msgspec.structs.replace(before, updated_at=now) != one:
            await store.save(one)
    for gone in known:
        await store.delete(gone)
