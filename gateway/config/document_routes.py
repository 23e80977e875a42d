"""The schema of [[routes]]: what a request is matched to, and everything a route says of it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.config.schema import OneOrMany, Shorthand
from gateway.config.values import CallerSource, Duration, LimitText, Network, RetryCause, Share, Size, key
from gateway.domain.access import AuthMode
from gateway.domain.limits import LimitMode, WhenUnavailable

Weight = Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class LimitEntry(msgspec.Struct, frozen=True):
    """One limit, and whether it refuses."""

    limit: LimitText
    mode: LimitMode = LimitMode.ENFORCE


Limits = Annotated[tuple[Annotated[LimitEntry, Shorthand("limit")], ...], OneOrMany()]


class Match(msgspec.Struct, frozen=True):
    """Which requests a route takes."""

    path: str
    methods: tuple[str, ...] = ()
    host: str = ""
    headers: dict[str, str] = {}
    query: dict[str, str] = {}


class CanaryEntry(msgspec.Struct, frozen=True):
    """Requests that go to one upstream whatever the weights say."""

    upstream: str
    header: str = ""
    cookie: str = ""
    value: str = "*"


class MirrorEntry(msgspec.Struct, frozen=True):
    """Where a copy of the requests goes."""

    upstream: str
    share: Share = 1.0


class RedirectEntry(msgspec.Struct, frozen=True):
    """Where the client is sent."""

    to: str
    status: Annotated[int, msgspec.Meta(ge=301, le=308)] = 308


class RetryEntry(msgspec.Struct, frozen=True):
    """What is tried again."""

    attempts: Annotated[int, msgspec.Meta(ge=0, le=10)] = 1
    on: tuple[RetryCause, ...] = ("connect",)
    budget: Share = 0.2


class CorsEntry(msgspec.Struct, frozen=True):
    """Which pages of other origins may call."""

    origins: tuple[str, ...]
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    headers: tuple[str, ...] = ("authorization", "content-type")
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age_s: Duration = key("max_age", 600.0)


class HeaderEntry(msgspec.Struct, frozen=True):
    """Changes to header fields."""

    remove: tuple[str, ...] = ()
    set: dict[str, str] = {}
    add: dict[str, str] = {}


class RouteEntry(msgspec.Struct, frozen=True):
    """What a request is matched to. Exactly one of ``upstream``, ``split`` and ``redirect`` says where it goes."""

    name: str
    match: Match
    upstream: str = ""
    split: dict[str, Weight] = {}
    sticky: CallerSource = ""
    canary: tuple[CanaryEntry, ...] = ()
    redirect: Annotated[RedirectEntry, Shorthand("to")] | None = None
    strip_prefix: str = ""
    rewrite: str = ""
    mirror: Annotated[MirrorEntry, Shorthand("upstream")] | None = None
    retry: RetryEntry | None = None
    auth: AuthMode = AuthMode.NONE
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    limit: Limits = ()
    limit_unavailable: WhenUnavailable = WhenUnavailable.LOCAL
    cors: CorsEntry | None = None
    request_headers: HeaderEntry = HeaderEntry()
    response_headers: HeaderEntry = HeaderEntry()
    max_body_bytes: Size | None = key("max_body", None)
    compress: bool = False
