"""How much is admitted: rates, quotas and what may be under way at once, and whom each of them counts."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Scope(StrEnum):
    """Whom a limit counts."""

    SUBJECT = "subject"
    KEY = "key"
    TENANT = "tenant"
    CLIENT = "client"
    ROUTE = "route"


class WhenUnavailable(StrEnum):
    """What a route's limits do while Redis is away."""

    LOCAL = "local"  # a bucket in the worker at limit ÷ live workers
    OPEN = "open"
    CLOSED = "closed"


class LimitMode(StrEnum):
    """Whether a limit refuses, or only counts what it would have refused."""

    ENFORCE = "enforce"
    SHADOW = "shadow"


class Limit(msgspec.Struct, frozen=True):
    """A token bucket: ``rate`` tokens per second, at most ``burst`` saved up.

    ``name`` identifies the bucket family in Redis keys and in RateLimit fields; ``window_s`` is the period the operator
    wrote (1, 60, 3600, 86400), which RateLimit-Policy reports.
    """

    name: str
    rate: float
    burst: int
    scope: Scope
    window_s: int = 1
    mode: LimitMode = LimitMode.ENFORCE


class Quota(msgspec.Struct, frozen=True):
    """At most ``count`` requests in one calendar day or month (UTC). Names as for :class:`Limit`."""

    name: str
    count: int
    period: str  # "day", "month"
    scope: Scope
    mode: LimitMode = LimitMode.ENFORCE


class ConcurrencyLimit(msgspec.Struct, frozen=True):
    """At most ``at_once`` requests under way on this node; each of n workers takes its n-th part."""

    name: str
    at_once: int
    scope: Scope
    mode: LimitMode = LimitMode.ENFORCE


class TenantPlan(msgspec.Struct, frozen=True):
    """Limits a tenant bought; they apply on every authenticated route beside the route's own."""

    name: str
    limits: tuple[Limit, ...]
    quotas: tuple[Quota, ...] = ()
    concurrency: tuple[ConcurrencyLimit, ...] = ()
    priority: int = 0  # callers on plans of lower priority are turned away first when there is too much load
