"""What a scenario is told, through one variable of its environment; its defaults suit ``locust -f`` by hand."""

from __future__ import annotations

import os
import time

import jwt
import msgspec

VARIABLE = "SENTINEL_LOADTEST"


class ScenarioSettings(msgspec.Struct, frozen=True):
    """Where to send what.

    ``secret`` signs a token for each user; without it ``token`` (may be empty) is everybody's. ``own`` says that the
    service behind is gateway.loadtest.origin, whose answers can be looked into. ``rate`` and ``burst`` are of the limit
    on ``limited_path``; ``exact``: one process alone counts it. ``tell_fd`` is where lines go; -1: nobody listens.
    """

    path: str = "/"
    limited_path: str = "/"
    echo_path: str = "/"
    websocket_path: str = "/"
    rate: float = 50.0
    burst: int = 100
    exact: bool = False
    own: bool = False
    token: str = ""
    secret: str = ""
    seconds: float = 10.0
    users: int = 20
    max_p99_ms: float = 1000.0
    tell_fd: int = -1

    def bearer(self, subject: str) -> dict[str, str]:
        """The header field that makes a user known as ``subject``; none where tokens are not used."""
        if self.secret:
            claims = {"sub": subject, "tenant": "loadtest", "exp": int(time.time()) + 3600}
            return {"Authorization": f"Bearer {jwt.encode(claims, self.secret, algorithm='HS256')}"}
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def from_environment() -> ScenarioSettings:
    """The settings this process was given, or the defaults. Raises msgspec.ValidationError on foreign content."""
    return msgspec.json.decode(os.environ.get(VARIABLE, "{}"), type=ScenarioSettings)
