"""API keys of callers: digests only."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import or_, select, update

from gateway.domain.access import ApiKey
from gateway.errors import NotFoundError
from gateway.store import cursors
from gateway.store.tables import api_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from gateway.domain.paging import Page
    from gateway.store.engine import Store

_decode_scopes = msgspec.json.Decoder(frozenset[str]).decode


class ApiKeys:
    """Keys of all tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def save(self, key: ApiKey) -> None:
        """Add a key. Raises ConflictError when its id or digest is taken."""
        async with self._store.write() as connection:
            await connection.execute(
                api_keys.insert().values(
                    id=key.id,
                    tenant_id=key.tenant,
                    digest=key.digest,
                    subject=key.subject,
                    scopes=msgspec.json.encode(sorted(key.scopes)).decode(),
                    expires_at=key.expires_at,
                    created_at=time(),
                    revoked_at=0.0,
                )
            )

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[ApiKey]:
        """Keys that are not revoked, newest first."""
        columns = api_keys.c
        limit = cursors.clamp(limit)
        query = select(api_keys).where(columns.revoked_at == 0)
        place = cursors.decode(cursor)
        if place is not None:
            query = query.where(cursors.older(columns.created_at, columns.id, place))
        query = query.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, _key, lambda row: (row.created_at, row.id))

    async def revoke(self, key_id: str) -> None:
        """Good no more; the row stays for the trail. Raises NotFoundError, also for one revoked before."""
        statement = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at == 0)
        async with self._store.write() as connection:
            done = await connection.execute(statement.values(revoked_at=time()))
        if done.rowcount == 0:
            raise NotFoundError(f"there is no valid API key {key_id!r}")

    async def all_active(self) -> Sequence[ApiKey]:
        """Every key a worker must know: neither revoked nor expired."""
        columns = api_keys.c
        good = select(api_keys).where(
            columns.revoked_at == 0, or_(columns.expires_at.is_(None), columns.expires_at > time())
        )
        async with self._store.read() as connection:
            return [_key(row) for row in await connection.execute(good.order_by(columns.id))]


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        digest=row.digest,
        id=row.id,
        tenant=row.tenant_id,
        subject=row.subject,
        scopes=_decode_scopes(row.scopes),
        expires_at=row.expires_at,
    )
