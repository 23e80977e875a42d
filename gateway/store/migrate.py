"""The schema up and down, from the command line and from control; several may start at once, one migrates.

A migration runs in one transaction on both databases: it happens whole or not at all.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import text

from gateway import logs, resources
from gateway.errors import NotFoundError
from gateway.store import roles
from gateway.store.engine import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.store.engine import Store

HEAD = "head"
BASE = "base"
# Any number will do as long as all of ours ask for the same; it ends with the transaction, so it works behind a pooler.
_LOCK = 0x5E_47_1E_11
# Alembic's `op` is one per process: two databases are migrated one after the other.
_one_at_a_time: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

_log = logs.get("store")


class SchemaStatus(msgspec.Struct, frozen=True):
    """Where a database stands. ``current`` is empty for a database without our tables.

    ``statements`` is what an operator with more rights should run (roles on PostgreSQL), in order.
    """

    current: str
    head: str
    statements: tuple[str, ...] = ()

    @property
    def is_current(self) -> bool:
        """Whether nothing is left to do."""
        return self.current == self.head


async def upgrade(url: str, revision: str = HEAD) -> SchemaStatus:
    """Bring the schema up. Doing it twice is doing it once. Raises StoreUnavailableError or NotFoundError."""
    async with _exclusive(url) as (store, connection):
        before = await _current(connection)
        await connection.run_sync(_run, command.upgrade, revision)
        after = await _current(connection)
        # Rights name every table of the newest schema; who stops on the way there gets them when they go on.
        statements = [] if store.is_sqlite or after != head() else await roles.grant(connection)
        if after != before:
            _log.info("migrate.upgraded", before=before, after=after)
    return SchemaStatus(after, head(), tuple(statements))


async def downgrade(url: str, revision: str) -> SchemaStatus:
    """Take the schema back to ``revision``, or to "base" for nothing at all: the data of what goes is lost."""
    async with _exclusive(url) as (store, connection):
        before = await _current(connection)
        if revision == BASE and before and not store.is_sqlite:
            await roles.revoke(connection)
        await connection.run_sync(_run, command.downgrade, revision)
        after = await _current(connection)
        _log.info("migrate.downgraded", before=before, after=after)
    return SchemaStatus(after, head())


async def status(url: str) -> SchemaStatus:
    """Where the database stands. Raises StoreUnavailableError."""
    store = open_store(url)
    try:
        async with store.read() as connection:
            statements = [] if store.is_sqlite else await roles.missing(connection)
            return SchemaStatus(
                await _current(connection),
                head(),
                tuple(f"CREATE ROLE {role} {roles.ROLES[role]}" for role in statements),
            )
    finally:
        await store.close()


def head() -> str:
    """The newest revision this program knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


@asynccontextmanager
async def _exclusive(url: str) -> AsyncIterator[tuple[Store, AsyncConnection]]:
    """One writing transaction that no other migration of the same database shares."""
    store = open_store(url, statement_s=None)
    try:
        turn = _one_at_a_time.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with turn, store.write() as connection:  # on SQLite this is the write lock already
            if not store.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield store, connection
    finally:
        await store.close()


async def _current(connection: AsyncConnection) -> str:
    def revision(sync: Connection) -> str:
        return MigrationContext.configure(sync).get_current_revision() or ""

    return await connection.run_sync(revision)


def _run(connection: Connection, step: object, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    try:
        step(config, revision)  # type: ignore[operator] # alembic.command.upgrade or downgrade
    except CommandError as error:
        known = ", ".join(script.revision for script in ScriptDirectory.from_config(config).walk_revisions())
        raise NotFoundError(
            f"there is no migration {re.sub(r'[^0-9A-Za-z_+-]', '?', revision)!r} ({error})",
            remedy=f"known revisions: {known}",
        ) from error


def _config() -> Config:
    config = Config()
    # Percent signs in a path would be taken for interpolation.
    config.set_main_option("script_location", str(resources.folder("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
