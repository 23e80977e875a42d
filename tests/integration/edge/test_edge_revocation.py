"""A revoked token, remembered or not, is refused as soon as the worker sees the snapshot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from gateway.config.checking import load
from gateway.config.publisher import Publisher
from gateway.config.snapshot_file import SnapshotWatcher
from gateway.domain.access import AuthMode
from gateway.settings import Settings
from tests.tokens import signed
from tests.unit.edge.edge_values import SECRET, exchange, secret, steps

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
[auth.jwt]
[[upstreams]]
name = "orders"
targets = ["http://127.0.0.1:9000"]
[[routes]]
name = "orders"
match = { path = "/*" }
upstream = "orders"
auth = "jwt"
"""


@pytest.mark.anyio
async def test_a_remembered_token_is_refused_once_its_id_is_revoked(tmp_path: Path) -> None:
    configuration = load(TEXT, "sentinel.toml", Settings.from_environ({"SENTINEL_JWT_SECRET": SECRET}))
    publisher = Publisher(tmp_path / "snapshot", configuration, clock=time.time)
    wired = steps(publisher.snapshot, secret=secret)
    watcher = SnapshotWatcher(tmp_path / "snapshot", on_change=wired.apply)
    watcher.first()
    tokens = {name: signed({"sub": "ana", "exp": time.time() + 60, "jti": name}, SECRET, "HS256") for name in "ab"}

    def taken(name: str) -> bool:
        made = exchange(wired)
        made.facts[b"authorization"] = f"Bearer {tokens[name]}".encode()
        return wired.runtime.authenticator.authenticate(made, AuthMode.JWT, time.time()) is None

    assert (taken("a"), taken("b")) == (True, True)
    publisher.revoke("a")
    assert await watcher.look()  # workers look twice a second
    assert (taken("a"), taken("b")) == (False, True)
