"""The three group roles of PostgreSQL: who migrates, who ships, who answers requests.

Group roles cannot log in: the role in the store's URL is made a member of them. PostgreSQL refuses COPY into a table
with row-level security for a role bound by it, so what ships is exempt and what answers requests is bound. Roles belong
to the whole cluster: several databases share them, and a downgrade takes back grants, never roles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway import logs

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

ROLES: dict[str, str] = {
    "sentinel_owner": "NOLOGIN",
    "sentinel_pipeline": "NOLOGIN BYPASSRLS",
    "sentinel_request": "NOLOGIN",
}

# What the admin plane itself writes; everything else it only reads.
_WRITTEN_BY_REQUESTS = (
    "actions, api_keys, audit, config_revisions, dead_letters, deploys, events, external_alerts, incidents, "
    "revocations, runbooks, runbooks_search, sessions, silences, tenants, users"
)

_GRANTS = (
    "GRANT USAGE, CREATE ON SCHEMA {schema} TO sentinel_owner",
    "GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO sentinel_owner",
    "GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO sentinel_owner",
    "GRANT USAGE ON SCHEMA {schema} TO sentinel_pipeline, sentinel_request",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO sentinel_pipeline",
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO sentinel_pipeline, sentinel_request",
    "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO sentinel_request",
    f"GRANT INSERT, UPDATE, DELETE ON {_WRITTEN_BY_REQUESTS} TO sentinel_request",
)
_REVOKES = (
    "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {roles}",
    "REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {roles}",
    "REVOKE ALL ON SCHEMA {schema} FROM {roles}",
)
_CREATE = "CREATE ROLE {role} {options}"
# Two databases of one cluster may be migrated at the same moment; whoever comes second finds the role there.
_CREATE_ONCE = (
    "DO $$ BEGIN CREATE ROLE {role} {options}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
)

_log = logs.get("store")


async def missing(connection: AsyncConnection) -> list[str]:
    """The roles the cluster does not have."""
    found = await connection.scalars(
        text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)"), {"names": list(ROLES)}
    )
    present = set(found.all())
    return [role for role in ROLES if role not in present]


async def grant(connection: AsyncConnection) -> list[str]:
    """Make the roles if we may, and give them their rights; the statements an operator has to run, if we may not."""
    wanted = [_CREATE.format(role=role, options=ROLES[role]) for role in await missing(connection)]
    for role in await missing(connection):
        if not await _allowed(connection, _CREATE_ONCE.format(role=role, options=ROLES[role])):
            _log.warning("migrate.roles_missing", run_as_superuser=wanted)
            return wanted
    for statement in _GRANTS:
        await connection.execute(text(statement.format(schema=await _schema(connection))))
    return []


async def revoke(connection: AsyncConnection) -> None:
    """Take the rights back, before the tables go."""
    absent = await missing(connection)
    roles = ", ".join(role for role in ROLES if role not in absent)
    if roles:
        for statement in _REVOKES:
            await connection.execute(text(statement.format(schema=await _schema(connection), roles=roles)))


async def _allowed(connection: AsyncConnection, statement: str) -> bool:
    try:
        async with connection.begin_nested():
            await connection.execute(text(statement))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") == asyncpg.InsufficientPrivilegeError.sqlstate:
            return False
        raise
    return True


async def _schema(connection: AsyncConnection) -> str:
    return str(await connection.scalar(text("SELECT quote_ident(current_schema())")))
