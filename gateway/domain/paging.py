"""One page of a list, and how to ask for the next."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """``items`` in order; ``next`` is an opaque cursor, or None on the last page."""

    items: tuple[T, ...]
    next: str | None = None


class RequestFilter(msgspec.Struct, frozen=True):
    """Which request records; an empty field matches all. Newest first."""

    route: str = ""
    status: int = 0  # exact, or 1..5 for a class
    tenant: str = ""
    upstream: str = ""
    target: str = ""
    since: float = 0.0  # seconds since the epoch
    until: float = 0.0
    text: str = ""  # substring of path, request id or trace id
    limit: int = 50  # at most 500
    cursor: str = ""
