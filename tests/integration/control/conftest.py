from __future__ import annotations

from tests.store_fixtures import empty_url, store, store_url

__all__ = ["empty_url", "store", "store_url"]
