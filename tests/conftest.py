"""Fixtures every kind of test shares: real servers, started once per test process."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import asyncpg
import hypothesis
import pytest

from tests import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

# A busy machine is no failure; what an example may take is bounded by the whole run.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits more than it works, so that it does not run alone at the end."""
    items.sort(key=lambda item: 0 if "scenarios" in item.path.parts else 1 if "faults" in item.path.parts else 2)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio; the product does not use trio."""
    return "asyncio"


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis shared by this process's tests; use key prefixes of your own."""
    with servers.redis_url() as url:
        yield url


@pytest.fixture
def redis_server() -> Iterator[servers.RedisServer]:
    """A Redis of the test's own, to be killed and frozen."""
    with servers.redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server shared by this process's tests; see ``postgres_database`` for a fresh database."""
    with servers.postgres_url() as url:
        yield url


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database, dropped afterwards."""
    name = f"sentinel_{uuid.uuid4().hex[:12]}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(postgres_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run(f'CREATE DATABASE "{name}"'))
    yield postgres_url.rsplit("/", 1)[0] + f"/{name}"
    asyncio.run(run(f'DROP DATABASE "{name}" WITH (FORCE)'))
