"""``sentinel restart``: new processes in place of the running ones, without a connection lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.cli import terminal
from gateway.cli.terminal import ConfigOption, JsonOption
from gateway.config import checking, reading
from gateway.run_folder import NodeState, RunFolder
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.run_folder import ProcessState

LOOK_S = 0.1
BEGIN_S = 5.0  # for the supervisor to take notice
LONGEST_S = 3600.0  # hundreds of workers, one after another


def restart(*, config: ConfigOption = "sentinel.toml", as_json: JsonOption = False) -> None:
    """Replace every worker, then control; nobody is cut off. Example: sentinel restart"""
    settings = Settings.from_environ(os.environ)
    text, _ = checking.read_file(Path(config))  # no file: `serve --upstream` runs with the defaults
    folder = RunFolder(Path(reading.read(text, config, settings.overrides).document.server.run_dir))
    before = _state(folder)
    if before is None or not folder.held():
        terminal.fail(
            f"no gateway runs in {folder.path}",
            "start it with `sentinel serve`, or name the right file with --config",
            code=terminal.NOT_RUNNING,
        )
    if before.restarting:
        terminal.fail("a restart is under way already")
    os.kill(before.pid, signal.SIGUSR2)
    after = _followed(folder, before, quiet=as_json)
    if as_json:
        terminal.print_json(msgspec.to_builtins(after))
    if after.problem:
        terminal.fail(f"{after.problem}; the processes before it were kept", "look into the gateway's log")
    if not as_json:
        terminal.good(f"{len(after.processes)} processes were replaced")


def _followed(folder: RunFolder, before: NodeState, *, quiet: bool) -> NodeState:
    """Watch the restart to its end, telling of each new process."""
    known = {process.pid for process in before.processes}
    begun = time.monotonic()
    while True:
        if time.monotonic() > begun + LONGEST_S:
            terminal.fail(f"the restart was not done within {LONGEST_S:.0f} s")
        time.sleep(LOOK_S)
        now = _state(folder)
        if now is None:
            continue
        if now.restarts == before.restarts and time.monotonic() > begun + BEGIN_S:
            terminal.fail(f"the supervisor (pid {now.pid}) did not begin to restart", "look into the gateway's log")
        for process in now.processes:
            if process.pid not in known and not quiet:
                terminal.good(f"{process.name} is now process {process.pid}")
            known.add(process.pid)
        if now.restarts > before.restarts and not now.restarting and (now.problem or _whole(now, before)):
            return now


def _whole(now: NodeState, before: NodeState) -> bool:
    """Whether every place is filled again, and by a new process."""

    def places(processes: tuple[ProcessState, ...]) -> list[str]:
        return sorted({process.name for process in processes})

    old = {process.pid for process in before.processes}
    return places(now.processes) == places(before.processes) and not any(one.pid in old for one in now.processes)


def _state(folder: RunFolder) -> NodeState | None:
    try:
        return msgspec.json.decode(folder.state.read_bytes(), type=NodeState)
    except (OSError, msgspec.DecodeError):
        return None
