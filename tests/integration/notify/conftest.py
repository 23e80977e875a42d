from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.notify.receiver import Receiver, receiving
from tests.store_fixtures import empty_url, store, store_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["empty_url", "store", "store_url"]


@pytest.fixture
async def receiver(anyio_backend: str) -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one
