"""The way to the database: one URL, two kinds, and every foreign error translated here.

SQLite runs in write-ahead mode: readers never wait, writers take turns (here by a lock, between processes by
``busy_timeout``), and a write transaction asks for the write lock at its start, so it cannot fail half way for it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import event, make_url, text
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import ArgumentError as UrlError
from sqlalchemy.exc import DataError as ForeignDataError
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.errors import ConfigError, ConflictError, InvalidInputError, SentinelError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy import URL, Connection, Table
    from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
    from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

CONNECT_S = 5.0
STATEMENT_S = 10.0  # a database this slow is as good as away: shipping goes on from the spool
SILENT_S = 5.0  # after a time-out nobody else waits that long for nothing: refused at once, then tried again
BUSY_MS = 5_000
CACHE_KIB = 16_384  # keeps the inner pages of the request ids' index in memory, where rows land at random
CHECKPOINT_PAGES = 8_000  # 32 MiB of log between checkpoints: an index page is then written back once, not often
POOL = 5
_WRITES = "sentinel_writes"


class Store:
    """A database. Aggregates (:mod:`gateway.store.incidents` and its neighbours) are built over it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._writer = asyncio.Lock()
        self._silent_until = 0.0

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that only reads. Raises StoreUnavailableError."""
        with self._translated():
            async with self._engine.connect() as connection, connection.begin():
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end of the block and rolled back by any error.

        Raises:
            StoreUnavailableError: away, full, read-only or too slow; whether a commit arrived is then unknown.
            ConflictError: a unique key is taken.
            InvalidInputError: a value the database cannot hold.
        """
        with self._translated():
            if not self.is_sqlite:
                async with self._engine.begin() as connection:
                    yield connection
                return
            async with self._writer, self._engine.connect() as plain:
                connection = await plain.execution_options(**{_WRITES: True})
                async with connection.begin():
                    yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turns what the database libraries raise into our own tree of errors."""
        if monotonic() < self._silent_until:
            raise StoreUnavailableError("the database did not answer in time a moment ago")
        try:
            yield
        except _FOREIGN as error:
            if isinstance(error, TimeoutError) and not self.is_sqlite:
                self._silent_until = monotonic() + SILENT_S
            raise translate(error) from error

    def upsert(self, table: Table) -> PostgresInsert | SqliteInsert:
        """An INSERT that can say ON CONFLICT; both databases share the syntax, SQLAlchemy keeps two classes for it."""
        return sqlite_insert(table) if self.is_sqlite else postgres_insert(table)

    async def ping(self) -> None:
        """One round trip. Raises StoreUnavailableError."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Let go of every connection."""
        await self._engine.dispose()


def open_store(url: str, *, statement_s: float | None = STATEMENT_S) -> Store:
    """The store at ``sqlite:///path`` or ``postgresql://…``; connects on first use.

    Args:
        url: as in the configuration.
        statement_s: how long PostgreSQL may take for one statement; None for migrations.

    Raises:
        ConfigError: not such a URL, or the folder of the SQLite file cannot be made.
    """
    wanted = store_url(url)
    if wanted.get_backend_name() == "sqlite":
        _prepare_file(wanted)
        engine = create_async_engine(wanted, pool_size=POOL, connect_args={"timeout": BUSY_MS / 1000})
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    else:
        engine = create_async_engine(
            wanted,
            pool_size=POOL,
            max_overflow=POOL,
            pool_timeout=CONNECT_S,
            pool_pre_ping=True,  # a restarted server costs one ping, not one failed transaction per pooled connection
            connect_args={"timeout": CONNECT_S, "command_timeout": statement_s},
        )
    return Store(engine)


def storable(text_of_traffic: str) -> str:
    """Text that both databases hold: PostgreSQL refuses NUL, and one name must not block everything behind it."""
    return text_of_traffic.replace("\x00", "\ufffd")


def store_url(url: str) -> URL:
    """The URL with the driver we use. Raises ConfigError."""
    remedy = "use sqlite:///run/sentinel.db or postgresql://user:password@host:5432/database"
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (UrlError, NoSuchModuleError, ValueError) as error:
        raise ConfigError("[store] url is not a database URL", remedy=remedy) from error
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise ConfigError("[store] url names no file", remedy=remedy)
        return parsed.set(drivername="sqlite+aiosqlite")
    if backend not in {"postgresql", "postgres"}:
        raise ConfigError(f"[store] url: {backend} is not supported", remedy=remedy)
    query = dict(parsed.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")  # libpq's word; the driver calls it ssl
    return parsed.set(drivername="postgresql+asyncpg", query=query)


def _prepare_file(url: URL) -> None:
    path = Path(str(url.database))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise ConfigError(
            f"[store] url: {path} cannot be opened: {error.strerror}",
            remedy=f"make {path.parent} writable for this user, or name another file",
        ) from error


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by us, below
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")  # in WAL mode loses no commit to a crash of ours, only to a power cut
    cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


# OSError and TimeoutError come from sockets and pools; the drivers' own from shipping, which uses raw connections.
_FOREIGN = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error, OSError, TimeoutError)


def translate(error: Exception) -> SentinelError:
    """Our word for a database error; driver texts stay out of it where they could carry values."""
    reason = type(getattr(error, "orig", None) or error).__name__
    if isinstance(error, IntegrityError):
        return ConflictError("the database already holds such a row")
    if isinstance(error, (ForeignDataError, asyncpg.DataError)):
        return InvalidInputError(f"the database cannot hold this value ({reason})")
    if isinstance(error, ProgrammingError) or (isinstance(error, DBAPIError) and "no such table" in str(error.orig)):
        return StoreUnavailableError(
            f"the database does not have the expected tables ({reason})", remedy="run `sentinel migrate up`"
        )
    return StoreUnavailableError(f"the database is not available ({reason}: {_first_line(error)})")


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).partition("\n")[0][:200]
