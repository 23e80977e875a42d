from __future__ import annotations

import asyncio
import sys

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from gateway.errors import ConfigError, NotFoundError, StoreUnavailableError
from gateway.store import migrate, roles
from gateway.store.engine import open_store, store_url
from gateway.store.records import Records
from gateway.store.tables import metadata

pytestmark = pytest.mark.anyio


async def on(url, work):
    store = open_store(url)
    try:
        async with store.read() as connection:
            return await connection.run_sync(work)
    finally:
        await store.close()


def differences(connection):
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    # The full-text index is each database's own kind of table, on SQLite with five more behind it.
    return [one for one in compare_metadata(context, metadata) if "runbooks_search" not in str(one)]


def table_names(connection):
    found = inspect(connection).get_table_names()
    return {name for name in found if not name.startswith("runbooks_search")} - {"alembic_version"}


async def test_the_way_up_leads_to_the_tables_of_the_code_and_down_to_nothing_and_up_again(empty_url):
    for _ in range(2):
        assert (await migrate.upgrade(empty_url)).is_current
        assert await on(empty_url, differences) == []
        assert await on(empty_url, table_names) == set(metadata.tables)
        assert (await migrate.downgrade(empty_url, "base")).current == ""
        assert await on(empty_url, table_names) == set()


async def test_status_tells_an_empty_database_from_a_current_one(empty_url):
    assert not (await migrate.status(empty_url)).is_current
    await migrate.upgrade(empty_url)
    status = await migrate.status(empty_url)
    assert status.is_current
    assert status.statements == ()


async def test_any_number_may_migrate_at_once(empty_url):
    done = await asyncio.gather(*(migrate.upgrade(empty_url) for _ in range(5)))
    assert all(status.is_current for status in done)


async def test_an_unknown_revision_is_named_with_the_known_ones(empty_url):
    with pytest.raises(NotFoundError) as caught:
        await migrate.upgrade(empty_url, "4711")
    assert "0001" in caught.value.remedy


async def test_every_table_of_a_tenant_carries_its_tenant():
    without = {name for name, table in metadata.tables.items() if "tenant_id" not in table.c}
    own = {"notification_threads", "spool_positions", "config_revisions", "leases", "revocations"}
    assert without == own | {
        "silences",
        "runbooks",
        "external_alerts",
        "dead_letters",
        "deploys",
        "switches",
        "detector_states",
    }


async def test_the_roles_exist_with_their_rights_and_lose_them_on_the_way_down(postgres_database):
    await migrate.upgrade(postgres_database)

    async def may(role, right, table):
        connection = await asyncpg.connect(postgres_database)
        try:
            return await connection.fetchval("SELECT has_table_privilege($1, $2, $3)", role, table, right)
        finally:
            await connection.close()

    assert await may("sentinel_pipeline", "INSERT", "requests")
    assert await may("sentinel_request", "SELECT", "requests")
    assert not await may("sentinel_request", "INSERT", "requests")
    assert await may("sentinel_request", "UPDATE", "actions")
    connection = await asyncpg.connect(postgres_database)
    attributes = dict(
        await connection.fetch("SELECT rolname, rolbypassrls FROM pg_roles WHERE rolname LIKE 'sentinel\\_%'")
    )
    assert {name: attributes[name] for name in roles.ROLES} == {
        "sentinel_owner": False,
        "sentinel_pipeline": True,
        "sentinel_request": False,
    }
    await connection.close()
    await migrate.downgrade(postgres_database, "base")
    connection = await asyncpg.connect(postgres_database)
    assert not await connection.fetchval("SELECT has_schema_privilege('sentinel_owner', 'public', 'CREATE')")
    await connection.close()


async def test_two_databases_of_one_cluster_may_be_migrated_at_once(postgres_url, postgres_database):
    name = postgres_database.rsplit("/", 1)[1] + "_b"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f'CREATE DATABASE "{name}"')
    try:
        other = postgres_database.rsplit("/", 1)[0] + f"/{name}"
        code = "import asyncio, sys; from gateway.store import migrate; asyncio.run(migrate.upgrade(sys.argv[1]))"
        both = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", code, url) for url in (postgres_database, other)
        ]
        assert [await process.wait() for process in both] == [0, 0]
        assert (await migrate.status(other)).is_current
    finally:
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await admin.close()


async def test_without_the_right_to_make_roles_the_schema_still_comes_and_the_statements_are_told(
    postgres_url, postgres_database, monkeypatch
):
    # Names of this test alone: the cluster's real roles may be in use by tests beside it.
    name = postgres_database.rsplit("/", 1)[1]
    monkeypatch.setattr(roles, "ROLES", {f"{name}_pipeline": "NOLOGIN BYPASSRLS"})
    admin = await asyncpg.connect(postgres_database)
    login = f"{name}_login"
    await admin.execute(f"CREATE ROLE {login} LOGIN; GRANT CREATE ON SCHEMA public TO {login}")
    try:
        status = await migrate.upgrade(postgres_database.replace("sentinel@", f"{login}@"))
        assert status.is_current
        assert status.statements == (f"CREATE ROLE {name}_pipeline NOLOGIN BYPASSRLS",)
    finally:
        await admin.execute(f"DROP OWNED BY {login}; DROP ROLE {login}")
        await admin.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite://", "sqlite:///:memory:"])
async def test_a_url_that_is_no_store_is_refused_with_the_two_that_are(url):
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert "postgresql://" in caught.value.remedy


async def test_the_word_of_libpq_for_encryption_is_understood():
    assert store_url("postgresql://h/d?sslmode=require").query == {"ssl": "require"}


async def test_a_database_without_tables_says_to_migrate(empty_url):
    store = open_store(empty_url)
    with pytest.raises(StoreUnavailableError) as caught:
        await Records(store).positions("n")
    await store.close()
    assert "migrate" in caught.value.remedy


async def test_a_database_that_is_not_there_is_unavailable_not_a_foreign_error():
    store = open_store("postgresql://sentinel@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailableError):
        await store.ping()
    await store.close()


async def test_the_embedded_database_is_for_its_owner_alone(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/deep/er/sentinel.db")
    async with store.write() as connection:
        await connection.execute(text("CREATE TABLE t (n INTEGER)"))
    await store.close()
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "deep/er").iterdir()} == {0}
