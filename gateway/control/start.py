"""What control does once, before anything else runs."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from gateway import logs
from gateway.errors import ConfigError, StoreUnavailableError
from gateway.store import migrate

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.admin.ports import AdminPorts
    from gateway.identity.setup_link import SetupLink
    from gateway.store.engine import Store

_log = logs.get("control")


async def prepare_schema(store: Store, url: str) -> None:
    """Bring an embedded store up by itself; ask for ``sentinel migrate`` where the database is somebody's own.

    A database that is away is no reason not to start: control works from memory and journal until it is back.

    Raises:
        ConfigError: the schema is not the one this version works with.
    """
    try:
        if store.is_sqlite:
            await migrate.upgrade(url)
            return
        status = await migrate.status(url)
    except StoreUnavailableError as error:
        _log.error("store.away_at_start", reason=str(error))
        return
    if not status.is_current:
        raise ConfigError(
            f"the database's schema is at {status.current or 'nothing'}, this version needs {status.head}",
            remedy="sentinel migrate up",
        )


async def offer_setup(ports: AdminPorts, link: SetupLink, base_url: str) -> None:
    """While there is no user, print the one-time link that makes the first one."""
    try:
        if await ports.users.count():
            return
    except StoreUnavailableError as error:
        _log.warning("setup.not_offered", reason=str(error))
        return
    token = link.issue(now=ports.clock())
    print(f"First visit: {base_url}/dashboard/setup?token={token}", flush=True)  # noqa: T201 - for the person who starts it


def unix_listener(path: Path) -> socket.socket:
    """A listening Unix socket that only this user may open; one that a killed process left is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(128)
    listener.setblocking(False)
    return listener
