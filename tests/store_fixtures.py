"""One body of tests over both databases: the fixture ``store`` comes once as SQLite, once as PostgreSQL, migrated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.store import migrate
from gateway.store.engine import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.store.engine import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sentinel.db"
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.fixture
async def store_url(empty_url: str, anyio_backend: str) -> str:
    """The URL of a migrated database."""
    await migrate.upgrade(empty_url)
    return empty_url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """A migrated database, open."""
    opened = open_store(store_url)
    yield opened
    await opened.close()
