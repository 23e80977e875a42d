"""Where the supervisor's children begin: ``python -m gateway.entry edge|control …``. Not for people to type."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import setproctitle
import uvloop

from gateway import logs
from gateway.errors import ConfigError, SentinelError
from gateway.run_folder import RunFolder
from gateway.serving import has_parent
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

UNUSABLE = 78  # EX_CONFIG of sysexits.h: starting again cannot help


def main() -> None:
    """Become a worker or control, until SIGTERM or until the supervisor is gone."""
    parser = argparse.ArgumentParser(prog="gateway.entry")
    parser.add_argument("role", choices=["edge", "control"])
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--number", type=int, default=1)
    parser.add_argument("--fd", type=int, help="the listening socket, inherited")
    parser.add_argument("--ready-fd", type=int, help="a pipe to say on that it serves")
    parser.add_argument("--parent", type=int, help="the supervisor's pid")
    parser.add_argument("--config", default="")
    given = parser.parse_args()
    if not has_parent(given.parent):
        sys.exit("gateway.entry: the supervisor was gone before this process had begun")
    # Ctrl-C on a terminal reaches the whole group; the order of stopping is the supervisor's.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = Settings.from_environ(os.environ)
    listener = socket.socket(fileno=given.fd) if given.fd is not None else None
    try:
        if given.role == "edge":
            _be_worker(given, settings, listener)
        else:
            run_control(
                RunFolder(given.run_dir),
                settings,
                config_path=given.config,
                listener=listener,
                parent=given.parent,
                on_ready=lambda: _say_ready(given.ready_fd),
            )
    except ConfigError as error:
        _say(error)
        sys.exit(UNUSABLE)
    except SentinelError as error:
        _say(error)
        sys.exit(1)


def _be_worker(given: argparse.Namespace, settings: Settings, listener: socket.socket | None) -> None:
    from gateway.app.edge import edge

    if listener is None:
        sys.exit("gateway.entry edge needs --fd")
    name = f"worker {given.number}"
    setproctitle.setproctitle(f"sentinel: {name}")
    logs.configure(level=settings.overrides.get("SENTINEL_LOG_OUTPUT__LEVEL", "INFO"), process=name)
    uvloop.run(
        edge(
            RunFolder(given.run_dir),
            settings,
            listener,
            number=given.number,
            parent=given.parent,
            on_ready=lambda: _say_ready(given.ready_fd),
        )
    )


def _say_ready(fd: int | None) -> None:
    if fd is not None:
        os.write(fd, b"1")
        os.close(fd)


def run_control(
    folder: RunFolder,
    settings: Settings,
    *,
    config_path: str,
    listener: socket.socket | None = None,
    parent: int | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Be control until told to stop, or until the supervisor with pid ``parent`` is gone.

    Without a listener the admin plane is reached through the workers (``[admin] bind = "shared"``).
    """
    from gateway.app.control import control

    setproctitle.setproctitle("sentinel: control")
    logs.configure(level=settings.overrides.get("SENTINEL_LOG_OUTPUT__LEVEL", "INFO"), process="control")
    uvloop.run(control(folder, settings, listener, config_path=config_path, parent=parent, on_ready=on_ready))


def _say(error: SentinelError) -> None:
    lines = [f"✗ {error}", *(f"  {problem}" for problem in getattr(error, "problems", ()))]
    if error.remedy:
        lines.append(f"  → {error.remedy}")
    print("\n".join(lines), file=sys.stderr)  # noqa: T201 - the last word of a process that cannot start


if __name__ == "__main__":
    main()
