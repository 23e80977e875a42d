"""Tenants and the plan each bought."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from gateway.domain.identity import Tenant
from gateway.errors import NotFoundError
from gateway.store import cursors
from gateway.store.tables import tenants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Row

    from gateway.domain.paging import Page
    from gateway.store.engine import Store


class Tenants:
    """All tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def save(self, tenant: Tenant) -> None:
        """Add or change a tenant."""
        statement = self._store.upsert(tenants).values(
            tenant_id=tenant.id, name=tenant.name, plan=tenant.plan, created_at=tenant.created_at
        )
        async with self._store.write() as connection:
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["tenant_id"], set_={name: statement.excluded[name] for name in ("name", "plan")}
                )
            )

    async def get(self, tenant_id: str) -> Tenant:
        """Raises NotFoundError."""
        async with self._store.read() as connection:
            row = (await connection.execute(select(tenants).where(tenants.c.tenant_id == tenant_id))).first()
        if row is None:
            raise NotFoundError(f"there is no tenant {tenant_id!r}")
        return _tenant(row)

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[Tenant]:
        """Newest first."""
        columns = tenants.c
        limit = cursors.clamp(limit)
        query = select(tenants)
        place = cursors.decode(cursor)
        if place is not None:
            query = query.where(cursors.older(columns.created_at, columns.tenant_id, place))
        query = query.order_by(columns.created_at.desc(), columns.tenant_id.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, _tenant, lambda row: (row.created_at, row.tenant_id))

    async def delete(self, tenant_id: str) -> None:
        """Remove a tenant; what it did stays until its retention is over. Raises NotFoundError."""
        async with self._store.write() as connection:
            done = await connection.execute(delete(tenants).where(tenants.c.tenant_id == tenant_id))
        if done.rowcount == 0:
            raise NotFoundError(f"there is no tenant {tenant_id!r}")

    async def plans(self) -> Mapping[str, str]:
        """Tenant → plan, for the snapshot."""
        async with self._store.read() as connection:
            found = await connection.execute(select(tenants.c.tenant_id, tenants.c.plan).where(tenants.c.plan != ""))
            return {row.tenant_id: row.plan for row in found}


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(id=row.tenant_id, name=row.name, plan=row.plan, created_at=row.created_at)
