"""Deploys, as pipelines and people told them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from gateway.domain.deploy import MOST_DEPLOYS, Deploy
from gateway.errors import NotFoundError
from gateway.store import cursors
from gateway.store.engine import storable
from gateway.store.tables import deploys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from gateway.domain.paging import Page
    from gateway.store.engine import Store


class Deploys:
    """The newest 10,000."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def save(self, deploy: Deploy) -> bool:
        """Keep one; False where it was told before: pipelines try again."""
        statement = (
            self._store.upsert(deploys)
            .values(
                id=deploy.id,
                service=storable(deploy.service),
                version=storable(deploy.version),
                at=deploy.at,
                created_at=deploy.created_at,
                url=storable(deploy.url),
                actor=storable(deploy.actor),
            )
            .on_conflict_do_nothing(index_elements=["id"])
        )
        async with self._store.write() as connection:
            return (await connection.execute(statement)).rowcount > 0

    async def delete(self, deploy_id: str) -> Deploy:
        """Forget one that was told by mistake. Raises NotFoundError."""
        mine = deploys.c.id == deploy_id
        async with self._store.write() as connection:
            row = (await connection.execute(select(deploys).where(mine))).first()
            if row is None:
                raise NotFoundError(f"there is no deploy {deploy_id!r}")
            await connection.execute(delete(deploys).where(mine))
        return _deploy(row)

    async def page(self, *, service: str = "", limit: int = 50, cursor: str = "") -> Page[Deploy]:
        """Newest first; of one service, or of all."""
        columns = deploys.c
        limit = cursors.clamp(limit)
        query = select(deploys)
        if service:
            query = query.where(columns.service == service)
        if (place := cursors.decode(cursor)) is not None:
            query = query.where(cursors.older(columns.at, columns.id, place))
        query = query.order_by(columns.at.desc(), columns.id.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, _deploy, lambda row: (row.at, row.id))

    async def between(self, start: float, end: float, *, limit: int = 100) -> Sequence[Deploy]:
        """The latest of a stretch of time, newest first."""
        columns = deploys.c
        query = select(deploys).where((columns.at >= start) & (columns.at <= end))
        query = query.order_by(columns.at.desc(), columns.id.desc()).limit(limit)
        async with self._store.read() as connection:
            return [_deploy(row) for row in await connection.execute(query)]

    async def purge(self, before: float) -> None:
        """Forget what is older, and what is more than can be of use."""
        columns = deploys.c
        newest = select(columns.id).order_by(columns.at.desc(), columns.id.desc()).limit(MOST_DEPLOYS).scalar_subquery()
        async with self._store.write() as connection:
            await connection.execute(delete(deploys).where((columns.at < before) | columns.id.not_in(newest)))


def _deploy(row: Row[Any]) -> Deploy:
    return Deploy(
        id=row.id,
        service=row.service,
        version=row.version,
        at=row.at,
        created_at=row.created_at,
        url=row.url,
        actor=row.actor,
    )
