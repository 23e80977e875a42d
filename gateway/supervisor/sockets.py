"""What only one process of a node may hold: the run folder's lock and the listening sockets."""

from __future__ import annotations

import fcntl
import os
import socket
from typing import TYPE_CHECKING

from gateway.errors import SentinelError

if TYPE_CHECKING:
    from gateway.run_folder import RunFolder

BACKLOG = 2048  # connections that wait for a worker; the kernel may cap it lower (net.core.somaxconn)


class ServeError(SentinelError):
    """The service cannot start; the message says why and the remedy how to mend it."""


def lock(folder: RunFolder) -> int:
    """Take the run folder for this node, or say who should have it.

    Raises:
        ServeError: another supervisor holds it.
    """
    folder.make()
    fd = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise ServeError(
            f"{folder.path} is in use by another SentinelStack",
            remedy="stop the other one, or give this one a folder of its own: [server] run_dir",
        ) from error
    return fd


def listen(host: str, port: int, *, what: str) -> socket.socket:
    """A listening TCP socket that children inherit.

    Raises:
        ServeError: the address is taken or not ours; names the setting to change.
    """
    setting = "[server] host/port" if what == "data" else "[admin] bind"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise ServeError(
            f"cannot listen on {host}:{port} ({error.strerror or error})",
            remedy=f"free the address, or choose another one in {setting}",
        ) from error
    listener.listen(BACKLOG)
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener
