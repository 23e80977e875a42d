"""The servers that other tests rely on are real and answer."""

from __future__ import annotations

import asyncio

import asyncpg
import redis


def test_redis_answers_with_its_own_clock(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        seconds, _ = client.time()
    assert seconds > 1_700_000_000


def test_postgres_gives_a_fresh_database(postgres_database: str) -> None:
    async def version() -> str:
        connection = await asyncpg.connect(postgres_database)
        try:
            return str(await connection.fetchval("select version()"))
        finally:
            await connection.close()

    assert asyncio.run(version()).startswith("PostgreSQL")
