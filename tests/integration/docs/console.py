"""Runs the ``console`` blocks of a page, in order, in one shell, and compares what they print with what the page says.

A line that begins with ``$ `` is a command; the lines after it are what it prints. ``…`` stands for any text. Blocks
whose first line is ``# name.ext`` are files, saved before anything runs. Ports are exchanged for free ones.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.integration.packaging.running import clean_environ
from tests.servers import free_port
from tests.unit.docs.pages import blocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENDS_WITHIN_S = 120
_MARK = "\x01"


class Step(NamedTuple):
    """A command and the output the page shows for it."""

    command: str
    expected: str


class Seen(NamedTuple):
    """A step and what it really printed."""

    step: Step
    printed: str


def with_free_ports(text: str, ports: Sequence[int]) -> str:
    """The page with each of these ports exchanged, wherever it is named."""
    free = {str(port): str(free_port()) for port in ports}
    return re.sub(r"(?<!\d)(" + "|".join(free) + r")(?!\d)", lambda found: free[found[1]], text)


def files(text: str) -> dict[str, str]:
    """The files a page wants saved, by name."""
    found = {}
    for block in blocks(text):
        named = re.match(r"# ([\w.-]+\.\w+)\n", block.text)
        if named and block.language != "console":
            found[named[1]] = block.text
    return found


def steps(text: str) -> list[Step]:
    """The commands of a page in order."""
    found: list[Step] = []
    for block in blocks(text):
        if block.language == "console":
            assert block.text.startswith("$ "), f"a console block begins with a command: {block.text[:60]!r}"
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, expected = part.partition("\n")
                found.append(Step(command, expected))
    return found


def run(page: str, folder: Path, environ: Mapping[str, str] | None = None) -> list[Seen]:
    """Save the page's files, run its commands in one bash, and end what they left behind."""
    for name, text in files(page).items():
        (folder / name).write_text(text)
    wanted = steps(page)
    mark = f"printf '{_MARK}'"  # the first one ends what bash itself has to say about having no terminal
    script = [mark, *(line for step in wanted for line in (step.command, mark))]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    out = folder / "printed"
    with out.open("wb") as printed:
        shell = subprocess.Popen(
            ["bash", "-m", "-c", "\n".join(script)],
            cwd=folder,
            env={**clean_environ(environ), "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            start_new_session=True,
        )
        try:
            shell.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            printed.write(f"(it did not end within {ENDS_WITHIN_S} s)".encode())
        finally:
            _end_session(shell.pid)
            shell.wait(10)
    pieces = out.read_text(errors="replace").split(_MARK)[1:]
    return [Seen(step, pieces[at] if at < len(pieces) else "(it never ran)") for at, step in enumerate(wanted)]


def _end_session(session: int) -> None:
    """End every process of the shell's own session: with job control each job has a group of its own."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == session:
                    os.kill(int(entry.name), signal.SIGTERM)
            except (ProcessLookupError, PermissionError):
                continue


def differs(seen: Seen) -> str:
    """What is printed instead of what the page says, or nothing. Runs of white space count as one space."""
    expected = [" ".join(line.split()) for line in seen.step.expected.splitlines()]
    printed = " ".join(seen.printed.split())
    pattern = r"\s?".join(r".*".join(re.escape(part) for part in line.split("…")) for line in expected if line)
    if re.fullmatch(pattern, printed, re.DOTALL) or (not pattern and not printed):
        return ""
    return f"$ {seen.step.command}\nthe page says:\n{seen.step.expected}\nit printed:\n{seen.printed}"
