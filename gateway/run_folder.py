"""The folder a node lives in while it runs: what lies where, and the node's own name."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import socket
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


class ProcessState(msgspec.Struct, frozen=True):
    """One process of the node. ``started_at`` is seconds since the epoch."""

    name: str
    pid: int
    started_at: float


class NodeState(msgspec.Struct, frozen=True):
    """What the supervisor says of itself: its children, and how the last rolling restart went."""

    pid: int
    processes: tuple[ProcessState, ...] = ()
    restarts: int = 0
    restarting: bool = False
    problem: str = ""  # why the last restart ended early
    stopping: bool = False


class RunFolder:
    """Paths below ``[server] run_dir``. Private to the user who runs the gateway (0700)."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.snapshot = self.path / "snapshot"  # what workers run on
        self.spool = self.path / "spool"  # records on their way up
        self.journal = self.path / "journal"  # what control could not save while the store was away
        self.workers = self.path / "workers"  # how many are alive, kept by the supervisor
        self.quotas = self.path / "quotas"  # how much of their quotas callers have used, where there is no Redis
        self.state = self.path / "state.json"  # a NodeState, kept by the supervisor
        self.lock = self.path / "lock"
        self.control_socket = self.path / "control.sock"  # the command line's: whoever may open it is an administrator
        self.admin_socket = self.path / "admin.sock"  # where workers forward admin paths to in shared mode

    def make(self) -> None:
        """Make it, private."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def held(self) -> bool:
        """Whether a supervisor or control holds the folder; the lock file alone may be left of one that was killed."""
        with contextlib.suppress(OSError), self.lock.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def write(self, path: Path, content: bytes) -> None:
        """Replace a file of this folder as a whole, so that nobody reads half of it."""
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_bytes(content)
        fresh.replace(path)

    def stopping(self) -> bool:
        """Whether the supervisor that is this process's parent has been told to stop."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            state = msgspec.json.decode(self.state.read_bytes(), type=NodeState)
            return state.stopping and state.pid == os.getppid()
        return False

    def node(self) -> str:
        """This node's name, made once: the host's, and chance, because hosts are cloned and containers renamed."""
        file = self.path / "node"
        with contextlib.suppress(FileNotFoundError):
            if name := file.read_text().strip():
                return name
        host = _NOT_IN_NAMES.sub("", socket.gethostname().lower())[:20] or "node"
        fresh = file.with_suffix(f".{secrets.token_hex(4)}")
        fresh.write_text(f"{host}{secrets.token_hex(3)}\n")
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(fresh)  # whoever is first names the node
        fresh.unlink()
        return file.read_text().strip()
