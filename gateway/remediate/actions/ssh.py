"""A command on another machine by the system's ssh: a fixed list of arguments out of the configuration, no shell here.

Nothing of the traffic, the incident or a model is in the command. The host's key must be known already, nothing is
asked on a terminal, and what the command prints is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from gateway.errors import RemedyError, UnknownOutcomeError

if TYPE_CHECKING:
    from gateway.domain.plan import Action
    from gateway.domain.policy import OutsideCommand

_OUTPUT_BYTES = 2048
_CONNECT_S = 10
_SSH_FAILED = 255  # ssh(1): its own error; a command may exit so as well
_KEPT = ("PATH", "HOME", "SSH_AUTH_SOCK", "LANG")


class RunSsh:
    """Doer of ``kind = "ssh"``. ``program`` is what is run in place of the system's ssh."""

    def __init__(self, program: str = "ssh") -> None:
        self._program = program

    async def run(self, command: OutsideCommand, action: Action, now: float) -> str:  # noqa: ARG002 - the Doer's form
        """Run it; exit status 0 is done, any other but ssh's own 255 is not."""
        program = shutil.which(self._program)
        if program is None:
            raise RemedyError("there is no ssh on this machine", remedy="install openssh-client")
        child = await asyncio.create_subprocess_exec(
            program,
            *arguments(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(command.timeout_s):
                printed = await _printed(child)
                status = await child.wait()
        except TimeoutError as error:
            raise UnknownOutcomeError(f"{command.get('host')} was not done within {command.timeout_s:g} s") from error
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if status == _SSH_FAILED:
            raise UnknownOutcomeError(f"ssh to {command.get('host')} failed: {printed or 'it said nothing'}")
        if status != 0:
            raise RemedyError(f"the command on {command.get('host')} ended with {status}: {printed}")
        return f"The command ended with 0{f': {printed}' if printed else ''}."


def arguments(command: OutsideCommand) -> list[str]:
    """What ssh is told."""
    listed = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", f"ConnectTimeout={_CONNECT_S}"]
    if known := command.get("known_hosts_file"):
        listed += ["-o", f"UserKnownHostsFile={known}"]
    if identity := command.get("identity_file"):
        listed += ["-o", "IdentitiesOnly=yes", "-i", identity]
    if user := command.get("user"):
        listed += ["-l", user]
    return [*listed, "-p", command.get("port") or "22", "--", command.get("host"), command.get("command")]


async def _printed(child: asyncio.subprocess.Process) -> str:
    """The beginning of what it prints, as one clean line; the rest is read and let go of."""
    kept = b""
    if child.stdout is not None:
        while chunk := await child.stdout.read(4096):
            kept += chunk[: _OUTPUT_BYTES - len(kept)]
    text = kept.decode("utf-8", "replace")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:300]
