"""Dashboard users and their sessions."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select

from gateway.domain.identity import Role, Session, User
from gateway.errors import NotFoundError
from gateway.store import cursors
from gateway.store.tables import sessions, users

if TYPE_CHECKING:
    from sqlalchemy import Row

    from gateway.domain.paging import Page
    from gateway.store.engine import Store


class Users:
    """Users of all tenants. Addresses are kept in lower case: people do not mean two accounts by two spellings."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def count(self) -> int:
        """How many users there are."""
        async with self._store.read() as connection:
            return int(await connection.scalar(select(func.count()).select_from(users)) or 0)

    async def page(self, *, limit: int = 50, cursor: str = "") -> Page[User]:
        """Newest first."""
        limit = cursors.clamp(limit)
        query = select(users)
        place = cursors.decode(cursor)
        if place is not None:
            query = query.where(cursors.older(users.c.created_at, users.c.id, place))
        query = query.order_by(users.c.created_at.desc(), users.c.id.desc()).limit(limit + 1)
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        return cursors.page(rows, limit, _user, lambda row: (row.created_at, row.id))

    async def get(self, user_id: str) -> User:
        """Raises NotFoundError."""
        async with self._store.read() as connection:
            row = (await connection.execute(select(users).where(users.c.id == user_id))).first()
        if row is None:
            raise NotFoundError(f"there is no user {user_id!r}")
        return _user(row)

    async def by_email(self, email: str) -> User | None:
        """The user with that address, in any spelling of case."""
        async with self._store.read() as connection:
            row = (await connection.execute(select(users).where(users.c.email == email.lower()))).first()
        return _user(row) if row is not None else None

    async def save(self, user: User) -> None:
        """Add or change a user. Raises ConflictError when somebody else has the address."""
        statement = self._store.upsert(users).values(
            id=user.id,
            tenant_id=user.tenant,
            email=user.email.lower(),
            role=str(user.role),
            password_hash=user.password_hash,
            created_at=user.created_at,
            disabled=user.disabled,
        )
        changed = ("tenant_id", "email", "role", "password_hash", "disabled")
        async with self._store.write() as connection:
            await connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["id"], set_={name: statement.excluded[name] for name in changed}
                )
            )

    async def delete(self, user_id: str) -> None:
        """Remove a user and sign them out everywhere. Raises NotFoundError."""
        async with self._store.write() as connection:
            await connection.execute(delete(sessions).where(sessions.c.user_id == user_id))
            done = await connection.execute(delete(users).where(users.c.id == user_id))
        if done.rowcount == 0:
            raise NotFoundError(f"there is no user {user_id!r}")

    async def open_session(self, session: Session) -> None:
        """Keep a session; expired ones of anybody go on the way, so the table stays as small as its use."""
        async with self._store.write() as connection:
            await connection.execute(delete(sessions).where(sessions.c.expires_at < time()))
            tenant = await connection.scalar(select(users.c.tenant_id).where(users.c.id == session.user_id))
            await connection.execute(
                sessions.insert().values(
                    digest=session.digest,
                    tenant_id=tenant or "",
                    user_id=session.user_id,
                    created_at=session.created_at,
                    expires_at=session.expires_at,
                )
            )

    async def session(self, digest: bytes) -> tuple[Session, User] | None:
        """The session with that digest and whose it is; whether it is still good is for the caller to judge."""
        query = (
            select(sessions.c.digest, sessions.c.user_id, sessions.c.created_at, sessions.c.expires_at)
            .where(sessions.c.digest == digest)
            .limit(1)
        )
        async with self._store.read() as connection:
            row = (await connection.execute(query)).first()
            if row is None:
                return None
            owner = (await connection.execute(select(users).where(users.c.id == row.user_id))).first()
        return (Session(*row), _user(owner)) if owner is not None else None

    async def close_session(self, digest: bytes) -> None:
        """Sign out; closing twice is closing once."""
        async with self._store.write() as connection:
            await connection.execute(delete(sessions).where(sessions.c.digest == digest))


def _user(row: Row[Any]) -> User:
    return User(
        id=row.id,
        email=row.email,
        role=Role(row.role),
        password_hash=row.password_hash,
        created_at=row.created_at,
        tenant=row.tenant_id,
        disabled=row.disabled,
    )
