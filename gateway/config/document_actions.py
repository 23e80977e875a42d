"""[actions.NAME]: what may be done outside the gateway."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.config.values import Duration, Pause, WebUrl, key
from gateway.domain.plan import Risk


class ActionEntry(msgspec.Struct, frozen=True):
    """One thing that may be done for one upstream."""

    kind: Literal["webhook", "ssh", "kubernetes", "aws"]
    upstream: str
    do: str = ""
    risk: Risk = Risk.MODERATE
    dry_run: bool = True
    per_hour: Annotated[int, msgspec.Meta(ge=1, le=60)] = 1
    timeout_s: Duration = key("timeout", 30.0)
    settle_s: Pause = key("settle", 60.0)
    undo: str = ""
    only_undo: bool = False
    # webhook
    url_env: str = ""
    url: WebUrl = ""
    secret_env: str = ""
    # ssh
    host: str = ""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 22
    user: str = ""
    command: str = ""
    identity_file: str = ""
    known_hosts_file: str = ""
    # kubernetes
    api: WebUrl = ""
    namespace: str = "default"
    deployment: str = ""
    replicas: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    token_env: str = ""
    token_file: str = ""
    ca_file: str = ""
    # aws
    region: str = ""
    cluster: str = ""
    service: str = ""
    group: str = ""
    capacity: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
